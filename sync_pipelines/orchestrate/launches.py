"""Between Dagster's runs and the ticks of `schedule`: which runs there are, and how planned ones are asked for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime
from functools import partial
from pathlib import Path
from uuid import UUID

import dagster as dg
from dagster import DagsterRunStatus
from dagster._core.storage.dagster_run import FINISHED_STATUSES, NOT_FINISHED_STATUSES

from sync_pipelines.downstream.sql_model import load_models
from sync_pipelines.model.due import Kind, PlannedRun
from sync_pipelines.model.entity import Entity
from sync_pipelines.model.names import asset_name_for
from sync_pipelines.orchestrate.assets import CONNECTOR_TAG, KIND_TAG, LEASE_TAG, asset_key
from sync_pipelines.orchestrate.jobs import SYNC_ALL, SyncJob, sync_job_name, syncable_entities
from sync_pipelines.orchestrate.snapshot import CatalogView
from sync_pipelines.schedule.tick import Ending, Situation, Tick

_MAX_RUNS = 1000
_KINDS = frozenset(Kind)
# A run that was created and never submitted must not keep its entities for ever.
_UNFINISHED = [
    status for status in NOT_FINISHED_STATUSES if status is not DagsterRunStatus.NOT_STARTED
]
_ENDINGS = {DagsterRunStatus.SUCCESS: Ending.SUCCEEDED, DagsterRunStatus.CANCELED: Ending.CANCELED}

ModelReads = dict[dg.AssetKey, AbstractSet[dg.AssetKey]]
"""The keys that a SQL model reads, by the key of the model."""


def connector_launches(
    view: CatalogView,
    models: Sequence[dg.AssetsDefinition],
    jobs: Sequence[SyncJob],
    folder: Path,
) -> list[Launches]:
    """One for each connector; a SQL model goes with the connector that provides everything it reads.

    A run takes part of the connector's job, so that what the job leaves out, a vanished entity for example, is never
    started. `folder` is where the files of the models are.
    """
    syncable = syncable_entities(view)
    by_name = {job.name: job for job in jobs}
    names = sorted(view.base_urls)
    launches = []
    for name in names:
        entities = syncable.get(name, [])
        one = Launches(
            connector=name,
            entities=entities,
            models=_models_of(entities, models),
            job=by_name.get(sync_job_name(name)),
            folder=folder,
        )
        launches.append(one)
    return launches


def _models_of(entities: Sequence[Entity], models: Sequence[dg.AssetsDefinition]) -> ModelReads:
    """The models that read nothing else than these entities and each other."""
    provided = {asset_key(entity) for entity in entities}
    found: ModelReads = {}
    for model in models:
        reads = model.asset_deps
        if all(upstream <= provided for upstream in reads.values()):
            found |= reads
            provided |= model.keys
    return found


def _usable_models(folder: Path) -> set[dg.AssetKey]:
    """Keys of the models whose files are in the folder now and can be used."""
    models, _ = load_models(folder)
    return {dg.AssetKey([model.schema, model.name]) for model in models}


class Launches:
    """Turns the ticks of one connector into run requests.

    Args:
        connector: its name.
        entities: those of its entities that its job syncs.
        models: the SQL models that this connector provides for, in order of their dependencies.
        job: its job `sync_<connector>`, which every run belongs to; None when there is nothing to sync.
        folder: where the models are.
    """

    def __init__(
        self,
        connector: str,
        entities: Sequence[Entity],
        models: ModelReads,
        job: SyncJob | None,
        folder: Path,
    ) -> None:
        self.connector = connector
        self.job = job
        self._keys: dict[str, dg.AssetKey] = {}
        self._slugs: dict[str, str] = {}
        for entity in entities:
            self._keys[entity.slug] = asset_key(entity)
            self._slugs[asset_name_for(entity.slug)] = entity.slug
        self._models = models
        self._folder = folder

    def situation(self, instance: dg.DagsterInstance) -> Situation:
        """What the instance knows of this connector's runs now."""
        unfinished = dg.RunsFilter(statuses=_UNFINISHED)
        kinds: list[Kind] = []
        queued: dict[str, datetime] = {}
        for record in instance.get_run_records(unfinished, limit=_MAX_RUNS):
            run = record.dagster_run
            kind = self._leased_kind(run)
            if kind is not None:
                kinds.append(kind)
            for slug in self._slugs_of(run):
                queued[slug] = record.create_timestamp
        return Situation(
            known=tuple(self._keys),
            unfinished=kinds,
            queued=queued,
            endings=partial(_endings, instance),
        )

    def _leased_kind(self, run: dg.DagsterRun) -> Kind | None:
        """The kind of a run that a tick of this connector started; None for any other run."""
        tags = run.tags
        if tags.get(CONNECTOR_TAG) != self.connector:
            return None
        if LEASE_TAG not in tags:
            return None
        kind = tags.get(KIND_TAG, Kind.REGULAR)
        return Kind(kind) if kind in _KINDS else None

    def _slugs_of(self, run: dg.DagsterRun) -> Iterable[str]:
        """Entities of this connector in a run, whoever started it."""
        if not run.asset_selection:
            takes_all = run.job_name in (sync_job_name(self.connector), SYNC_ALL)
            return self._keys if takes_all else ()
        slugs = []
        for key in run.asset_selection:
            slug = self._slugs.get(key.path[-1])
            if slug is not None and key.path[0] == self.connector:
                slugs.append(slug)
        return slugs

    def requests(self, tick: Tick) -> list[dg.RunRequest]:
        """The runs of a tick, each with the models that read what it brings."""
        return [self.request(lease, run) for lease, run in tick.runs]

    def request(self, lease: UUID, run: PlannedRun) -> dg.RunRequest:
        """One run, with the models that read what it brings, as far as their files are still there."""
        selected = [self._keys[entity.slug] for entity in run.entities]
        usable = _usable_models(self._folder) if self._models else set()
        for model, reads in self._models.items():
            # The run loads the files anew: one that was deleted or renamed meanwhile would fail it.
            if model in usable and not reads.isdisjoint(selected):
                selected.append(model)
        # The connector's tag comes with its job, and Dagster's own tags name the sensor or schedule.
        tags = {LEASE_TAG: str(lease)}
        if run.kind is not Kind.REGULAR:
            tags[KIND_TAG] = run.kind.value
        return dg.RunRequest(
            run_key=str(lease),
            asset_selection=selected,
            tags=tags,
        )


def _endings(instance: dg.DagsterInstance, leases: Sequence[UUID]) -> dict[UUID, Ending]:
    """How the runs of some leases ended, or that they did not."""
    texts = [str(lease) for lease in leases]
    with_lease = dg.RunsFilter(tags={LEASE_TAG: texts})
    records = instance.get_run_records(with_lease)
    endings: dict[UUID, Ending] = {}
    # From the oldest on: a retry of a crashed run counts more than that run.
    for record in reversed(records):
        run = record.dagster_run
        if run.status is not DagsterRunStatus.NOT_STARTED:
            lease = UUID(run.tags[LEASE_TAG])
            endings[lease] = _ending(run.status)
    return endings


def _ending(status: DagsterRunStatus) -> Ending:
    if status not in FINISHED_STATUSES:
        return Ending.UNFINISHED
    return _ENDINGS.get(status, Ending.FAILED)
