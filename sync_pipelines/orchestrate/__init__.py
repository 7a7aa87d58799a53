"""Dagster definitions, executor and instance: the only place that imports Dagster."""
