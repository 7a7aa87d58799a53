"""What a discovery found."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

Listed = dict[str, tuple[str, ...]]
"""Several texts of each entity, by its slug."""


@dataclass
class DiscoveryReport:
    """What a discovery found, by slug; words for `changed`, `stopped` and `invalid`.

    Attributes:
        set_aside: where an old table is kept.
        followers: views and the like that read the new table in its place.
        to_do: statements for a person, once the new table is filled.
    """

    connector: str
    added: list[str] = field(default_factory=list)
    changed: dict[str, str] = field(default_factory=dict)
    unchanged: list[str] = field(default_factory=list)
    returned: list[str] = field(default_factory=list)
    vanished: list[str] = field(default_factory=list)
    stopped: dict[str, str] = field(default_factory=dict)
    invalid: dict[str, str] = field(default_factory=dict)
    set_aside: dict[str, str] = field(default_factory=dict)
    followers: Listed = field(default_factory=dict)
    to_do: Listed = field(default_factory=dict)

    @property
    def needs_action(self) -> bool:
        """Some entity cannot be synced until a person decides."""
        return bool(self.stopped or self.invalid)

    def as_dict(self) -> dict[str, Any]:
        """The report as JSON-ready data."""
        return dict(vars(self))
