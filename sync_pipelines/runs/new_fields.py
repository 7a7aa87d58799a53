"""Fields that records carry and nobody declared: followed where the source describes them, else named in a warning."""

from __future__ import annotations

from dataclasses import replace

from sync_pipelines.catalog.connectors import get_connector
from sync_pipelines.catalog.entities import get_entity
from sync_pipelines.destinations.registry import open_destination
from sync_pipelines.discovery.follow import follow_fields
from sync_pipelines.errors import SyncError
from sync_pipelines.gate.opened import newly_masked
from sync_pipelines.model.run import Mode
from sync_pipelines.runs.prepared_gate import prepare_gate
from sync_pipelines.runs.run import Run
from sync_pipelines.sources.registry import source_kind

SHOWN_FIELDS = 20
FOLLOWED_AT_MOST = 3  # reads of one run; what comes after is left to the discovery


class FieldsFollowedError(SyncError):
    """Ends an attempt: the catalog has columns now for fields that its records carry."""


def with_new_columns(run: Run) -> Run:
    """The run anew, with the entity as the catalog has it now.

    It reads everything, so that every row gets its values.
    """
    entity = get_entity(run.database, run.connector.name, run.entity.slug)
    connector = get_connector(run.database, run.connector.name)
    gate = prepare_gate(run.database, run.settings, entity)
    run.held.execute(
        "UPDATE sync_runs SET mode = 'full', rowversion_start = NULL WHERE uid = %s", [run.uid]
    )
    return replace(
        run,
        destination=open_destination(run.database, connector, entity),
        connector=connector,
        entity=entity,
        gate=gate,
        mode=Mode.FULL,
        remask=newly_masked(entity, gate),
        table_changes=(),
        warnings=[],
        followed=run.followed + 1,
        waits_for=None,
    )


def notice_fields(run: Run, names: set[str]) -> None:
    """Ask the source's description for fields that nobody declared; fields of the last run are left to the discovery.

    Raises:
        FieldsFollowedError: the catalog has columns for some of them now.
    """
    new = frozenset(names) - run.asked_for
    run.asked_for |= new
    known = set(run.last_details.get("undeclared", ()))
    if run.released or run.followed >= FOLLOWED_AT_MOST or new <= known:
        return
    run.waits_for = follow_fields(run.database, run.connector, run.entity, set(new), run.settings)
    if run.waits_for is None:
        raise FieldsFollowedError(f"{run.entity.path} has new columns.")


def warn_of_undeclared(run: Run, names: set[str]) -> None:
    """Name the fields that are not stored in the run's warnings."""
    kind = source_kind(run.connector)
    if not names or run.released or kind.words_for(run.connector, run.entity.slug).chooses_fields:
        return
    shown = sorted(names)[:SHOWN_FIELDS]
    if len(names) > SHOWN_FIELDS:
        shown.append("…")
    reason = run.waits_for or kind.waits_for(run.connector)
    run.warnings.append(f"fields that nobody declares are not stored: {', '.join(shown)}; {reason}")
