"""Content hashes: different rows never share one, the same row always has the same."""

from __future__ import annotations

import hashlib

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync_pipelines.batches.hashing import content_hashes

TRICKY = st.text(st.sampled_from("\x1e\x1f012a"), max_size=4)
CELLS = st.none() | TRICKY


def hash_of(*cells: str | None) -> str:
    return content_hashes([pa.array([cell], pa.string()) for cell in cells])[0].as_py()


@given(st.lists(CELLS, min_size=1, max_size=4), st.lists(CELLS, min_size=1, max_size=4))
def test_rows_share_a_hash_only_when_they_are_equal(
    left: list[str | None], right: list[str | None]
) -> None:
    assert (hash_of(*left) == hash_of(*right)) == (left == right)


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (("a", None), (None, "a")),
        (("", None), (None, "")),
        ((None,), ("",)),
        ((None,), ("\x1e2",)),
        (("a\x1fb", "c"), ("a", "b\x1fc")),
        (("\x1e",), ("\x1e0",)),
        (("\x1f",), ("\x1e1",)),
        (("a ",), ("a",)),
        (("é",), ("e\u0301",)),
    ],
)
def test_rows_that_read_alike_have_different_hashes(
    left: tuple[str | None, ...], right: tuple[str | None, ...]
) -> None:
    assert hash_of(*left) != hash_of(*right)


@given(st.lists(CELLS, max_size=6), st.integers(0, 6))
def test_a_hash_does_not_depend_on_the_neighbours_or_on_chunks(
    cells: list[str | None], cut: int
) -> None:
    array = pa.array(cells, pa.string())
    chunked = pa.chunked_array([array[:cut], array[cut:]], pa.string())
    together = content_hashes([chunked, chunked]).to_pylist()
    assert together == [hash_of(cell, cell) for cell in cells]


def test_the_form_of_the_hash_is_fixed_for_all_versions() -> None:
    columns = [pa.array([1], pa.int64()), pa.array(["a"]), pa.array([None], pa.string())]
    assert (
        content_hashes(columns)[0].as_py()
        == hashlib.md5(b"1\x1fa\x1f\x1e2", usedforsecurity=False).hexdigest()
    )
