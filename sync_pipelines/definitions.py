"""What Dagster loads: see `sync_pipelines.orchestrate`."""

from sync_pipelines.orchestrate.location import build_definitions

defs = build_definitions()
