"""The name under which a table is kept whose name another one takes."""

from __future__ import annotations

from collections.abc import Callable


def free_name(
    table: str,
    suffix: str,
    is_taken: Callable[[str], bool],
    shorten: Callable[[str], str] = str,
) -> str:
    """A name for a table that is set aside; numbered where that of its suffix is taken.

    Args:
        table: the name that it has.
        suffix: of the new name.
        is_taken: whether there is a table of a name in its schema.
        shorten: makes a name fit the destination.
    """
    wanted = shorten(f"{table}__{suffix}")
    name = wanted
    number = 1
    while is_taken(name):
        number += 1
        name = shorten(f"{wanted}_{number}")
    return name
