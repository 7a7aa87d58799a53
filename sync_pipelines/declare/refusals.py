"""The refusal of a connector file, and the nearest valid name in it."""

from __future__ import annotations

import difflib

from sync_pipelines.errors import SettingsError


def refused(what: str) -> SettingsError:
    """The error for a connector file that cannot be used."""
    return SettingsError(what, state="Nothing was stored.")


def nearest(name: str, names: list[str]) -> str:
    """A question for the most similar of the valid names, or all of them where none is similar."""
    distinct = list(dict.fromkeys(names))
    near = difflib.get_close_matches(name, distinct, 1, 0.5)
    if near:
        return f"did you mean {near[0]}?"
    if not distinct:
        return "none is known"
    return f"known: {', '.join(distinct)}"
