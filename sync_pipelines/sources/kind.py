"""What a kind of source knows, so that nothing outside its folder asks which kind a connector is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from sync_pipelines.catalog.database import Database
from sync_pipelines.errors import SettingsError
from sync_pipelines.model.check import Check
from sync_pipelines.model.declaration import Declaration
from sync_pipelines.model.endpoint import WriteBack
from sync_pipelines.model.entity import Connector
from sync_pipelines.settings import Settings
from sync_pipelines.sources.context import ReadContext
from sync_pipelines.sources.http.guarded import GuardedSession
from sync_pipelines.sources.source import Source

Problem = tuple[tuple[str, ...], str]
"""A place in a connector file, and what is wrong there."""


class Description(NamedTuple):
    """What a source offers.

    Attributes:
        apis: the descriptions of its entities, in the words of `/api/v1/apis`.
        declaration: as it is now; None where the source describes itself.
        left_out: by slug, why what the source has is no entity.
    """

    apis: list[Any]
    declaration: Declaration | None = None
    left_out: dict[str, str] = {}


@dataclass(frozen=True)
class EntityWords:
    """What a person says of an entity beside its columns.

    Attributes:
        cursor_name: how messages call the rowversion.
        metrics: name -> figure of a run.
        chooses_fields: fields that it does not name are left out on purpose.
    """

    cursor_name: str = "row_version"
    metrics: dict[str, str] = field(default_factory=dict)
    chooses_fields: bool = False


@dataclass(frozen=True)
class Resolved:
    """A declaration with what only the source could say of its endpoints.

    Attributes:
        skipped: what cannot become an entity, with the reason.
        left_out: the same reasons by the slug that it would have.
    """

    declaration: Declaration
    skipped: dict[str, str] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)


class Prober(ABC):
    """Looks whether entities of one connector have anything new, one request each.

    Attributes:
        max_connections: requests at a time.
        requests_per_second: the rate limit; None = there is none.
    """

    max_connections: int
    requests_per_second: float | None

    @abstractmethod
    def can_probe(self, slug: str) -> bool:
        """Whether the first record decides for all: the source sorts by the cursor."""

    @abstractmethod
    def first_after(
        self,
        slug: str,
        seen: str,
        patience_seconds: float | None = None,
    ) -> str | None:
        """The rowversion of the first record after `seen`, UNVERSIONED when it has none, None when there is no record.

        `patience_seconds` is how long to wait for a turn of the rate limit; None = as long as it takes.

        Raises:
            SyncError: from the session, or an answer that is no page.
        """


class SourceKind(ABC):
    """One kind of source.

    Attributes:
        title: what a connector of this kind is called.
        is_declared: a connector file declares its entities; otherwise the source describes itself.
        endpoint_keys: keys of an endpoint, beyond those that every declared kind takes, that this one takes.
        connector_keys: the same of the file itself.
    """

    title: str = "a declared connector"
    is_declared: bool = True
    endpoint_keys: frozenset[str] = frozenset()
    connector_keys: frozenset[str] = frozenset()

    @abstractmethod
    def describe(
        self,
        connector: Connector,
        settings: Settings,
        database: Database | None,
    ) -> Description:
        """What the source offers. A rate limit is shared with other processes through `database`, if one is given.

        Raises:
            SyncError: the source does not answer, or answers something else.
        """

    @abstractmethod
    def open(self, context: ReadContext) -> Source:
        """The source of one entity.

        Raises:
            ConfigurationError: the declaration cannot be used, or the cursor, which is kept in clear, is masked.
        """

    @abstractmethod
    def test(self, connector: Connector, settings: Settings) -> list[Check]:
        """Distinguish: missing secret, unreachable source, refused token, wrong shape."""

    @abstractmethod
    def waits_for(self, connector: Connector) -> str:
        """What a field that nobody declared waits for, in words."""

    def open_prober(
        self,
        connector: Connector,
        settings: Settings,
        database: Database,
        *,
        seconds: float,
    ) -> Prober | None:
        """What probes a connector, with so many seconds for a request; None where no probe is possible."""
        return None

    def words_for(self, connector: Connector, slug: str) -> EntityWords:
        """What a person says of an entity beside its columns."""
        return EntityWords()

    def write_back_for(self, connector: Connector, slug: str) -> WriteBack | None:
        """What a person may change of an entity's records at the source; None where nothing may be."""
        return None

    def check_declaration(self, declaration: Declaration) -> Iterable[Problem]:
        """Place in a connector file and reason of everything in it that this kind cannot use."""
        return ()

    def resolve(self, declaration: Declaration, session: GuardedSession) -> Resolved:
        """A declaration with what only the source can say of its endpoints.

        Raises:
            SyncError: the source does not say it.
        """
        return Resolved(declaration)

    def sample(
        self,
        declaration: Declaration,
        slug: str,
        session: GuardedSession,
        settings: Settings,
    ) -> bytes:
        """One answer of an endpoint, not larger than a sample needs.

        Raises:
            SyncError: there is none.
        """
        raise SettingsError(
            "A source that describes itself has no samples.", state="Nothing was stored."
        )
