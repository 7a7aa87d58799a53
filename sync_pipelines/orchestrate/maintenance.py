"""The job `maintain_trino` and its schedule; there when some entity's table is in Trino."""

import dagster as dg

from sync_pipelines.destinations.registry import kind_of
from sync_pipelines.errors import EntityBusyError, SyncError
from sync_pipelines.model.entity import Entity
from sync_pipelines.orchestrate.resources import Bridge
from sync_pipelines.orchestrate.snapshot import CatalogView
from sync_pipelines.secrets import redact

JOB = "maintain_trino"


def maintenance(
    view: CatalogView,
) -> tuple[list[dg.JobDefinition], list[dg.ScheduleDefinition]]:
    """Job and schedule; nothing when no table is in Trino."""
    destinations = {entity.destination for entity in view.entities}
    # Asked once for each destination: Trino reads its settings to answer.
    crons = {name: kind_of(name).maintenance_cron for name in destinations}
    entities = [entity for entity in view.entities if crons[entity.destination] is not None]
    if not entities:
        return [], []
    job = _job(entities)
    schedule = dg.ScheduleDefinition(
        name=f"{JOB}_schedule",
        job=job,
        cron_schedule=crons[entities[0].destination],
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Looks after the Iceberg tables; those that need nothing cost two small queries.",
    )
    return [job], [schedule]


def _job(entities: list[Entity]) -> dg.JobDefinition:
    @dg.op(
        name="maintain_iceberg_tables",
        description="Join small files, expire snapshots and remove orphans where due.",
    )
    def maintain(context: dg.OpExecutionContext, bridge: Bridge) -> None:
        database = bridge.database()
        failures = []
        done = 0
        busy = 0
        steps = 0
        for entity in entities:
            try:
                upkeep = kind_of(entity.destination).maintain(database, entity, 1)
            except EntityBusyError:
                busy += 1
                context.log.info("%s is being synced; it is looked after next time", entity.path)
                continue
            except SyncError as error:
                failures.append(redact(str(error)))
                context.log.error("%s: %s", entity.path, failures[-1])
                continue
            if upkeep is not None:
                done += 1
                steps += len(upkeep.steps)
                context.log.info(
                    "%s: %s, %s -> %s",
                    upkeep.entity,
                    ", ".join(upkeep.steps) or "nothing due",
                    upkeep.before,
                    upkeep.after,
                )
        counts = {
            "tables": done,
            "steps": steps,
            "busy": busy,
            "failed": len(failures),
        }
        context.add_output_metadata(counts)
        if failures:
            raise dg.Failure(
                f"{len(failures)} of {len(entities)} tables could not be maintained, the first: {failures[0]}"
            )

    @dg.job(
        name=JOB,
        description="Maintenance of the Iceberg tables behind Trino; thresholds are TRINO_MAINTENANCE_….",
    )
    def maintain_trino() -> None:
        maintain()

    return maintain_trino
