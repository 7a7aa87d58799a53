"""What `up` shows of the logs of its processes."""

from __future__ import annotations

from sync_pipelines.cli.shell.problems import REPEAT_SECONDS, Problems

RUN = "0b9d1c1e-5f0e-4e6b-9a53-0a4c6c1d2e3f"
OF_DAGSTER = "- dagster - ERROR -"
OF_THE_STEP = f"{OF_DAGSTER} sync_erp - {RUN} - 4711 - erp__items - STEP_FAILURE -"
OF_THE_RUN = f"{OF_DAGSTER} sync_erp - {RUN} - 4711 - RUN_FAILURE -"
STEP_FAILED = f"""\
2026-01-01 00:00:00 +0000 {OF_THE_STEP} Execution of step "erp__items" failed.

dagster._core.definitions.events.Failure: The source did not answer.

Stack Trace:
  File "x.py", line 3, in compute
    raise _failure(error) from None
Traceback (most recent call last):
  File "y.py", line 1
sync_pipelines.errors.SourceUnreachableError: refused
2026-01-01 00:00:01 +0000 {OF_THE_RUN} Execution of run for "sync_erp" failed.
2026-01-01 00:00:02 +0000 - dagster - INFO - nothing
""".splitlines()
INCIDENT = (
    "2026-01-01 00:00:30,123 ERROR    sync_pipelines.observe.evaluate:"
    " Incident opened: The source is unreachable: erp."
)


def test_a_dead_source_is_one_line_however_many_steps_fail() -> None:
    lines = [line for _ in range(13) for line in STEP_FAILED]
    assert list(Problems().of([*lines, INCIDENT, *lines])) == [INCIDENT]


def test_an_incident_is_shown_once_until_it_is_over_whichever_process_tells_of_it() -> None:
    shown: set[str] = set()
    alerts, code_server = Problems(shown), Problems(shown)
    opened = (
        "Incident opened: A table is not fresh: erp/table_{number}."
        " It was last synced {age} min ago. Next: sync-pipelines runs"
    )
    of_dagster = "2026-01-01 00:00:30 +0000 - dagster - ERROR - __repository__ - alerts - " + opened
    of_ours = "2026-01-01 00:00:30,123 ERROR    sync_pipelines.observe.evaluate: " + opened
    over = (
        "2026-01-01 00:01:30,123 WARNING  sync_pipelines.observe.evaluate:"
        " Incident over: A table is not fresh: erp/table_1."
    )
    assert list(alerts.of([of_ours.format(number=1, age=3)])) == [of_ours.format(number=1, age=3)]
    assert list(code_server.of([of_dagster.format(number=1, age=4)])) == []
    assert list(code_server.of([of_dagster.format(number=2, age=4)])) == [
        of_dagster.format(number=2, age=4)
    ], "another table"
    assert list(
        alerts.of([over, of_ours.format(number=1, age=3), of_ours.format(number=2, age=5)])
    ) == [of_ours.format(number=1, age=3)]


def test_the_same_trouble_comes_again_after_a_while_with_its_number() -> None:
    now = [0.0]
    problems = Problems(clock=lambda: now[0])
    tick = "2026-01-01 00:00:{second:02d} +0000 - dagster.daemon - ERROR - no connection after {second} s"
    assert len(list(problems.of(tick.format(second=second) for second in range(40)))) == 1
    now[0] = REPEAT_SECONDS
    [again] = problems.of([tick.format(second=50)])
    assert again.endswith("(39 more like it since the last one)")
    assert (
        len(
            list(
                problems.of(
                    ["2026-01-01 00:00:51 +0000 - dagster.daemon - ERROR - quite another thing"]
                )
            )
        )
        == 1
    )


def test_of_a_traceback_outside_of_any_record_the_last_line_counts() -> None:
    text = [
        "Traceback (most recent call last):",
        '  File "a.py", line 1',
        "    x()",
        "ModuleNotFoundError: No module named 'x'",
        "and so on",
    ]
    assert list(Problems().of(text)) == ["ModuleNotFoundError: No module named 'x'"]


def test_an_error_of_a_command_is_shown() -> None:
    assert list(
        Problems().of(["Looking.", "Error: The database does not answer.", "Where: x"])
    ) == ["Error: The database does not answer."]
