"""Answers that were kept are no use to a run that would refuse them again."""

from __future__ import annotations

import json

from sync_pipelines.demo.twin import Fault
from sync_pipelines.errors import BrokenPageError, SourceContractError
from sync_pipelines.model.run import RunStatus
from sync_pipelines_tests.declared_world import users

PAGE = {"type": "page", "size_param": "size", "size": 10}


def test_answers_that_were_refused_are_not_gone_on_with(declared):
    served = declared.serve(25, paging="page")
    declared.apply_endpoint(resume_seconds=3600, pagination=PAGE)
    declared.faults.add(Fault(kind="rest", times=2, body=json.dumps(users(10)).encode()))
    assert "looping" in declared.fails(SourceContractError, "users").what
    assert declared.sync("users").ledger.inserted == 25
    every = list(served.records)
    del served.records[1:]
    declared.sync("users", status=RunStatus.INCOMPLETE)
    served.records[:] = every
    assert declared.sync("users").ledger.unchanged == 25


def test_a_page_that_was_empty_once_is_not_kept(declared):
    declared.serve(25, paging="page")
    declared.apply_endpoint(resume_seconds=3600, pagination=PAGE)
    declared.faults.add(Fault(kind="rest", nth=2, body=b"[]"))
    declared.fails(BrokenPageError, "users")
    assert declared.sync("users").ledger.inserted == 25
