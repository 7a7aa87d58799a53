"""The job client: stages the rejects of a package, and publishes the run when dlt makes the load visible.

No table of dlt's own is made in Trino, where each would cost a commit a run: schema versions are of no use to a
staging that is made anew, and the load package is known by its id in the run's row of the control database.
"""

from __future__ import annotations

from collections.abc import Iterable
from types import TracebackType

from dlt.common.destination.client import HasFollowupJobs, JobClientBase, LoadJob, PreparedTableSchema, RunnableLoadJob
from dlt.destinations.exceptions import DatabaseTerminalException

from sync_pipelines.books.publish_plan import plan_of


class StageJob(RunnableLoadJob, HasFollowupJobs):
    """A file of rejects goes next to the quarantine; the publish step reads the records from the spool."""

    def __init__(self, file_path: str) -> None:
        super().__init__(file_path)
        self._job_client: TrinoClient = None  # type: ignore[assignment]

    def run(self) -> None:
        """Failures are kept for the runner and end the load."""
        plan = plan_of(self._job_client.schema.name)
        try:
            if self.load_table_name != plan.entity.records_table:
                plan.destination.stage_rejects(self._file_path, plan.entity)
        except Exception as error:
            plan.errors.append(error)
            raise DatabaseTerminalException(error) from error


class TrinoClient(JobClientBase):
    """Stages with dlt's machinery, publishes with ours."""

    def initialize_storage(self, truncate_tables: Iterable[str] | None = None) -> None:
        """Nothing: `prepare` made the schema."""

    def is_storage_initialized(self) -> bool:
        """True."""
        return True

    def drop_storage(self) -> None:
        """Nothing: a destination that drops data is none of ours."""

    def create_load_job(
        self, table: PreparedTableSchema, file_path: str, load_id: str, restore: bool = False
    ) -> LoadJob:
        """A job that stages the file."""
        return StageJob(file_path)

    def complete_load(self, load_id: str) -> None:
        """Publish the plan; a package that is published already is not published again."""
        plan = plan_of(self.schema.name)
        if plan.outcome is not None:
            return
        plan.details["load_id"] = load_id
        try:
            plan.outcome = plan.destination.publish(plan)
        except Exception as error:
            plan.errors.append(error)
            raise

    def __enter__(self) -> TrinoClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass
