"""Errors: what happened, where, in what state we are, and what to type next."""

from __future__ import annotations

import inspect
import json
import re
from pathlib import Path

import pytest

from sync_pipelines import errors
from sync_pipelines.errors import (
    UNPUBLISHED,
    BrokenPageError,
    FatalError,
    RecordError,
    RetriableError,
    SettingsError,
    SyncError,
)

CLASSES = [
    one for _, one in inspect.getmembers(errors, inspect.isclass) if issubclass(one, SyncError)
]
TREE = re.findall(r"^[ │├└─]*?(\w+Error)\b", errors.__doc__ or "", re.MULTILINE)


def test_every_class_is_once_in_the_tree_of_the_docstring() -> None:
    assert sorted(TREE) == sorted(one.__name__ for one in CLASSES)


def test_the_tree_of_the_docstring_is_the_tree_of_the_classes() -> None:
    parents: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        if found := re.match(r"^([ │├└─]*)(\w+Error)\b", line):
            depth = len(found[1]) // 4
            parents[depth:] = [found[2]]
            if depth:
                assert getattr(errors, found[2]).__base__.__name__ == parents[depth - 1], line


@pytest.mark.parametrize("error_class", CLASSES)
def test_every_class_is_explained_and_tells_what_where_state_and_next(
    error_class: type[SyncError],
) -> None:
    assert error_class.__doc__
    error = error_class(
        "It broke.",
        where={"connector": "erp", "page": 7},
        state="All is as before.",
        next_command="do it",
    )
    assert str(error) == "It broke. Where: connector erp, page 7. All is as before. Next: do it"
    assert error.exit_code in (1, 2, 3)
    details = json.loads(json.dumps(error.details()))
    assert details["error"] == error_class.__name__
    assert details["where"] == {"connector": "erp", "page": "7"}
    assert details["retriable"] == issubclass(error_class, RetriableError)


def test_only_a_run_says_that_nothing_was_published() -> None:
    """Other commands, such as `connector add` or `test`, never were going to publish anything."""
    assert str(BrokenPageError("Cut.")) == "Cut."
    assert (
        str(BrokenPageError("Cut.").leaves(UNPUBLISHED))
        == "Cut. Nothing was published: table and cursor are as before."
    )
    assert BrokenPageError("Cut.", state="All is well.").leaves(UNPUBLISHED).state == "All is well."
    assert str(RecordError("Bad.")) == "Bad. The record is in quarantine; the others passed."
    assert str(SettingsError("Bad.", state="")) == "Bad."


def test_sentences_that_are_joined_end_with_a_full_stop() -> None:
    assert (
        str(BrokenPageError("It broke", state="All is as before", next_command="do it"))
        == "It broke. All is as before. Next: do it"
    )
    assert str(BrokenPageError("Did it break?")) == "Did it break?"


def test_an_outer_caller_adds_places_and_does_not_overwrite_them() -> None:
    error = FatalError("Lost.", where={"page": 7})
    assert error.at(entity="items", page=9) is error
    assert error.where == {"entity": "items", "page": 7}


def test_the_places_of_one_error_are_not_those_of_another() -> None:
    where = {"page": 1}
    first, second = FatalError("a", where=where), FatalError("b", where=where)
    first.at(entity="x")
    assert (second.where, where) == ({"page": 1}, {"page": 1})


def test_a_record_error_names_its_column() -> None:
    assert RecordError("Bad.", column="weight").column == "weight"
    assert RecordError("Bad.").column is None


def test_an_error_never_belongs_to_two_kinds_of_recovery() -> None:
    roots = [
        errors.RetriableError,
        errors.ConfigurationError,
        errors.RecordError,
        errors.FatalError,
    ]
    for error_class in CLASSES:
        if error_class is not SyncError:
            assert sum(issubclass(error_class, root) for root in roots) == 1


def test_every_error_has_a_code_of_its_own() -> None:
    codes = [vars(error_class).get("code") for error_class in CLASSES]
    assert None not in codes
    assert len(set(codes)) == len(codes)


def test_an_error_says_whether_the_source_answered_and_with_which_status() -> None:
    assert errors.SourceUnreachableError("No.").answered is False
    assert errors.SourceBusyError("No.", status=503).details()["status"] == 503
    assert errors.SourceBusyError("No.", status=503).answered is False
    assert errors.IncompleteAnswerError("Few.").answered is True
    assert errors.GuardError("Large.", answered=True).details()["answered"] is True
    assert errors.DatabaseUnavailableError("Gone.").answered is None


def test_what_an_answer_holds_is_kept_apart_from_what_is_wrong_with_it() -> None:
    error = BrokenPageError("The answer is cut", excerpt='{"rows"')
    assert error.what == 'The answer is cut; it begins: {"rows"'
    assert (error.without_excerpt, error.excerpt) == ("The answer is cut", '{"rows"')


def test_no_name_or_text_of_an_error_is_compared() -> None:
    compared = re.compile(
        r"__name__ (==|!=|in) |error_kind\b.*(==|ANY)|details->>'error'.*(=|ANY)"
        r"|\bin (error|trouble|loss|failure)\.what|(error|trouble|loss)\.what\.(split|partition|startswith)"
    )
    found = [
        f"{path}:{number}"
        for path in sorted(Path(errors.__file__).parent.rglob("*.py"))
        if "migrations" not in path.parts
        for number, line in enumerate(path.read_text().splitlines(), start=1)
        if "__main__" not in line and compared.search(line.replace("details->>'error' AS", ""))
    ]
    assert found == []
