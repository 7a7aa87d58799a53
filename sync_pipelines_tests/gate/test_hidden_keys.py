"""A business key is hidden as the table holds it, and a key of another shape is refused rather than shown in part."""

from __future__ import annotations

import pytest

from sync_pipelines.gate.masks import Masks
from sync_pipelines_tests.batches.helpers import entity_of, key

ENTITY = entity_of(key("tenant", "INTEGER"), key("email"))
MASKS = Masks(ENTITY, {"email": b"k" * 16})


def test_only_the_hashed_part_of_a_key_is_hashed() -> None:
    hidden = MASKS.hide_key(("5", "bob@example.com"))
    assert hidden is not None
    tenant, email = hidden
    assert tenant == "5"
    assert len(email) == 64
    assert "bob" not in email


@pytest.mark.parametrize("other", [("5",), ("5", "a", "bob@example.com"), ()])
def test_a_key_of_another_declaration_is_refused(other: tuple[str, ...]) -> None:
    """Parts beyond the declared ones stayed in clear once."""
    with pytest.raises(ValueError, match="zip"):
        MASKS.hide_key(other)


def test_no_key_stays_no_key() -> None:
    assert MASKS.hide_key(None) is None
