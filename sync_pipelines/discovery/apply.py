"""Bring the catalog to what a source describes; nothing is ever dropped."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import psycopg
from psycopg.rows import tuple_row

from sync_pipelines.catalog.database import Database
from sync_pipelines.catalog.entities import insert_entity, mark_entity, update_definition
from sync_pipelines.destinations.postgres.aside import set_aside
from sync_pipelines.destinations.registry import open_destination
from sync_pipelines.discovery.drift import Verdict, diff_entity
from sync_pipelines.discovery.report import DiscoveryReport
from sync_pipelines.errors import SyncError
from sync_pipelines.model.entity import Connector, Entity, EntityStatus
from sync_pipelines.sources.registry import source_kind

VANISHED_REASON = "The source does not list it any more; the table is kept."


@dataclass(frozen=True)
class Offer:
    """What a source offers, by slug.

    Attributes:
        entities: those that can be used.
        errors: what is wrong with the others.
        left_out: why what the source has is no entity.
    """

    entities: Mapping[str, Entity]
    errors: Mapping[str, SyncError]
    left_out: Mapping[str, str]


@dataclass(frozen=True)
class CatalogUpdate:
    """Brings the entities of one connector to what its source offers.

    Attributes:
        database: where the catalog is.
        connection: with the lock of the connector's entities, in a transaction.
        connector: whose entities.
        report: gets what changed.
    """

    database: Database
    connection: psycopg.Connection[Any]
    connector: Connector
    report: DiscoveryReport

    def apply(
        self,
        stored: Mapping[str, Entity],
        offer: Offer,
        accept: Collection[str],
    ) -> dict[str, SyncError]:
        """Bring the catalog to each entity that the source offers, and mark those that it does not.

        Args:
            stored: entities of the catalog, by slug.
            offer: what the source offers.
            accept: slugs whose breaking changes are accepted.

        Returns:
            The errors of the offer, and of the entities that could not be stored.
        """
        errors = dict(offer.errors)
        for slug, entity in offer.entities.items():
            known = stored.get(slug)
            try:
                with self.connection.transaction():
                    self._apply_one(known, entity, is_accepted=slug in accept)
            except SyncError as error:
                errors[slug] = error
        for slug, entity in stored.items():
            if slug not in offer.entities:
                left_out = offer.left_out.get(slug)
                self._mark_missing(entity, errors.get(slug), left_out)
        return errors

    def _apply_one(
        self,
        stored: Entity | None,
        entity: Entity,
        *,
        is_accepted: bool,
    ) -> None:
        slug = entity.slug
        if stored is None:
            insert_entity(self.connection, self.connector, entity)
            self.report.added.append(slug)
            return
        if not source_kind(self.connector).is_declared:
            entity = keep_coercions(stored, entity)
        drift = diff_entity(stored, entity)
        if drift.verdict is Verdict.DECIDE and not is_accepted:
            reason = f"The source changed: {drift.plan}."
            mark_entity(
                self.connection,
                stored,
                EntityStatus.ACTION_REQUIRED,
                reason,
            )
            self.report.stopped[slug] = drift.plan
            return
        if is_accepted:
            self._start_over(stored, entity)
        is_active = stored.status is EntityStatus.ACTIVE
        if drift.verdict is Verdict.SAME and is_active and not is_accepted:
            self.report.unchanged.append(slug)
            return
        update_definition(
            self.connection,
            stored,
            entity,
            read_everything_again=drift.read_everything_again or is_accepted,
        )
        if stored.status is EntityStatus.VANISHED:
            self.report.returned.append(slug)
        elif drift.plan:
            self.report.changed[slug] = drift.plan
        else:
            self.report.unchanged.append(slug)

    def _start_over(self, stored: Entity, entity: Entity) -> None:
        """Set the table aside and forget the position, so that everything is read into a new one."""
        kept = self._set_aside(stored, entity)
        self.connection.execute(
            """
            UPDATE entities SET last_rowversion = NULL, seen_rowversion = NULL, cursor_marks = '[]', row_count = NULL,
                full_refresh_pending = true
            WHERE uid = %s
            """,
            [stored.uid],
        )
        # What is still bad comes again when everything is read; keys of the old table mean nothing in the new one.
        self.connection.execute(
            "UPDATE quarantine SET resolved_at = now(), resolution = 'rebuilt' WHERE entity_uid = %s"
            " AND resolved_at IS NULL",
            [stored.uid],
        )
        if kept:
            self.report.set_aside[stored.slug] = kept

    def _set_aside(self, stored: Entity, entity: Entity) -> str | None:
        """Where the old table is kept; None where there was none."""
        suffix = f"{datetime.now(UTC):%Y%m%d%H%M%S}"
        if stored.destination != "postgres":
            # A rename is a commit by itself there, and a repeated one finds nothing.
            destination = open_destination(self.database, self.connector, stored)
            return destination.set_aside(stored, suffix)
        # In the same transaction as the catalog.
        columns = stored.masked_columns(entity.columns)
        successor = replace(stored, columns=columns)
        with self.connection.cursor(row_factory=tuple_row) as cursor:
            aside = set_aside(cursor, stored, suffix, successor)
        if aside is None:
            return None
        if aside.followers:
            self.report.followers[stored.slug] = aside.followers
        if aside.to_do:
            self.report.to_do[stored.slug] = aside.to_do
        return aside.kept_as

    def _mark_missing(
        self,
        entity: Entity,
        error: SyncError | None,
        left_out: str | None,
    ) -> None:
        if error is not None:
            reason = f"Its description is not usable: {error.what}"
            mark_entity(
                self.connection,
                entity,
                EntityStatus.ACTION_REQUIRED,
                reason,
            )
        elif entity.status is not EntityStatus.VANISHED:
            reason = _vanished_reason(left_out)
            mark_entity(self.connection, entity, EntityStatus.VANISHED, reason)
            self.report.vanished.append(entity.slug)


def keep_coercions(stored: Entity, entity: Entity) -> Entity:
    """What a person allows of the columns of a source that describes itself (`entity set --coerce`) outlives a
    discovery.
    """
    words = {column.name: column.coerce for column in stored.coerced}
    columns = []
    for column in entity.columns:
        coerce = "" if column.is_business_key else words.get(column.name, "")
        columns.append(replace(column, coerce=coerce))
    return replace(entity, columns=tuple(columns))


def _vanished_reason(left_out: str | None) -> str:
    if left_out is None:
        return VANISHED_REASON
    return f"Its OpenAPI document is read without it, and the table is kept: {left_out}"
