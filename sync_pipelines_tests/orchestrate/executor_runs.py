"""Runs of assets, started as the run worker does."""

import dagster as dg
from dagster._core.definitions.job_base import InMemoryJob
from dagster._core.execution.api import execute_run_iterator

from sync_pipelines.orchestrate.threaded import threaded_executor


class Run:
    """One finished run: its status and events."""

    def __init__(self, instance, assets, threads=4, executor_def=threaded_executor, **config):
        definitions = dg.Definitions(assets=assets, executor=executor_def)
        job = definitions.resolve_implicit_global_asset_job_def()
        settings = {"execution": {"config": {"max_concurrent": threads, **config}}}
        run = instance.create_run_for_job(job, run_config=settings)
        self.id = run.run_id
        self.events = list(execute_run_iterator(InMemoryJob(job), run, instance))
        self.status = instance.get_run_by_id(run.run_id).status

    def steps(self, event_type):
        return [event.step_key for event in self.events if event.event_type_value == event_type]

    def failure(self, step):
        (event,) = (e for e in self.events if e.step_key == step and e.is_step_failure)
        return event.step_failure_data.error


def entity(name, sync=lambda: None, **options):
    """An asset of an op of its own, as each entity is one."""

    @dg.multi_asset(name=name, specs=[dg.AssetSpec(name)], **options)
    def asset():
        sync()
        yield dg.MaterializeResult(asset_key=name)

    return asset
