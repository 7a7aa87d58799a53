"""The gates that come with a shipped connector."""

from __future__ import annotations

from sync_pipelines.declare.shipped_gates import apply_gates, plan_gates


def install_gate(world, name):
    apply_gates(plan_gates(name, name, world.settings.gates), world.settings.gates / name)
