"""The limit of a container counts, not the cores of its host."""

from __future__ import annotations

import os

import pytest

from sync_pipelines.supervise.cores import usable_cores


@pytest.mark.parametrize(
    ("limit", "cores"), [("50000 100000", 1), ("100000 100000", 1), ("150000 100000", 2)]
)
def test_a_container_may_use_what_its_limit_allows(tmp_path, monkeypatch, limit, cores) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)))
    (tmp_path / "cpu.max").write_text(limit)
    assert usable_cores(tmp_path / "cpu.max") == cores


@pytest.mark.parametrize("limit", ["max 100000", "", "nonsense"])
def test_without_a_limit_the_bound_cores_count(tmp_path, monkeypatch, limit) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 5, 6})
    (tmp_path / "cpu.max").write_text(limit)
    assert usable_cores(tmp_path / "cpu.max") == 3
    assert usable_cores(tmp_path / "absent") == 3
