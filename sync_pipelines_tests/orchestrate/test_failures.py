"""A step that fails shows our sentence, and no stack of Dagster's: the class that does it is internal to Dagster."""

import dagster as dg

from sync_pipelines.errors import SourceUnreachableError
from sync_pipelines.orchestrate.failures import StepRetry, failure_of


def test_a_failed_step_shows_our_sentence_without_a_stack() -> None:
    failed = run(retries=0)
    [failure] = failed.get_step_failure_events()
    error = failure.step_failure_data.error
    assert error.stack == [], "the page of the run begins with the sentence"
    assert "The source did not answer." in error.message
    metadata = failure.step_failure_data.user_failure_data.metadata
    assert (metadata["code"].value, metadata["where_connector"].value) == (
        "source_unreachable",
        "erp",
    )


def test_a_step_that_is_tried_again_shows_why_without_a_stack() -> None:
    failed = run(retries=1)
    [again] = [event for event in failed.all_events if event.is_step_up_for_retry]
    assert "The source did not answer." in again.event_specific_data.error.message
    assert again.event_specific_data.error.stack == []


def run(retries: int) -> dg.ExecuteInProcessResult:
    @dg.op
    def step(context: dg.OpExecutionContext) -> None:
        error = SourceUnreachableError("The source did not answer", where={"connector": "erp"})
        failure = failure_of(error)
        if context.retry_number < retries:
            raise StepRetry(failure, retries, 0)
        raise failure from None

    @dg.job
    def job() -> None:
        step()

    return job.execute_in_process(raise_on_error=False)
