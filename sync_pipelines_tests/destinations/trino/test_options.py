"""How Trino is reached: what is refused before anything is stored, what is sent, and that no secret is shown."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.fs as pa_fs
import pytest
import trino

from sync_pipelines.catalog.connectors import get_connector
from sync_pipelines.catalog.database import Database
from sync_pipelines.declare.register import register_connector as add_connector
from sync_pipelines.destinations.trino.adapter import TrinoDestination
from sync_pipelines.destinations.trino.options import TrinoOptions, TrinoSettings, resolve_options
from sync_pipelines.destinations.trino.session import Session
from sync_pipelines.destinations.trino.staging import TEXT, Field, Staging
from sync_pipelines.errors import DatabaseUnavailableError, SecretMissingError, SettingsError
from sync_pipelines.network.outbound import trino_origin
from sync_pipelines.secrets import redact
from sync_pipelines.settings import Settings
from sync_pipelines_tests.trino import TrinoPlace, TrinoWorld
from sync_pipelines_tests.world import item

NONE = TrinoSettings(_env_file=None)


def options(**given: Any) -> TrinoOptions:
    return resolve_options({"host": "trino.example.com", **given}, NONE)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"hots": "x"}, "hots"),
        ({"port": 0}, "port"),
        ({"password": "hunter2"}, "env:NAME"),
        ({"password": "env:TRINO_PASS", "scheme": "http"}, "in the clear"),
        ({"password": "env:TRINO_PASS", "access_token": "env:TRINO_PASS"}, "not both"),
        ({"certificate": "/c.pem"}, "certificate_key"),
        ({"roles": "admin"}, "roles takes name=value"),
        ({"session_properties": "a=1,b"}, "session_properties takes name=value"),
    ],
)
def test_what_cannot_work_is_refused_with_its_name_and_without_its_value(
    given: dict[str, Any], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRINO_PASS", "a-secret-word")
    with pytest.raises(SettingsError) as caught:
        options(**given)
    assert words in str(caught.value)
    assert "hunter2" not in str(caught.value)
    assert "a-secret-word" not in str(caught.value)


def test_no_trino_is_named(world: Any) -> None:
    with pytest.raises(SettingsError, match="TRINO_HOST"):
        resolve_options({}, NONE)


def test_a_bare_password_is_never_stored(database: Database) -> None:
    with pytest.raises(SettingsError):
        add_connector(
            database,
            "erp",
            "http://127.0.0.1:1",
            destination="trino",
            destination_settings={"password": "hunter2"},
        )
    reach = {"host": "x", "password": "env:TRINO_PASS"}
    add_connector(
        database, "erp", "http://127.0.0.1:1", destination="trino", destination_settings=reach
    )
    connector = get_connector(database, "erp")
    assert (connector.destination, connector.destination_settings) == ("trino", reach)
    with pytest.raises(SecretMissingError, match="TRINO_PASS"):
        TrinoDestination(database, connector)
    # Registering it again without a word about Trino keeps what is known.
    assert add_connector(database, "erp", "http://127.0.0.1:2").destination_settings == reach


def test_a_connector_wins_over_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TRINO_HOST", "from-environment")
    monkeypatch.setenv("TRINO_CATALOG", "lake")
    assert (
        resolve_options({}).host,
        resolve_options({"host": "own"}).host,
        resolve_options({}).catalog,
    ) == (
        "from-environment",
        "own",
        "lake",
    )


def test_credentials_choose_https_and_the_way_to_log_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRINO_PASS", "a-secret-word")
    ways = {
        trino.auth.BasicAuthentication: {"password": "env:TRINO_PASS"},
        trino.auth.JWTAuthentication: {"access_token": "env:TRINO_PASS"},
        trino.auth.CertificateAuthentication: {
            "certificate": "/c.pem",
            "certificate_key": "/k.pem",
        },
    }
    for kind, given in ways.items():
        session = Session(options(**given))
        connection = session.connection()
        assert isinstance(connection.auth, kind)
        assert connection.http_scheme == "https"
        assert "a-secret-word" not in repr(session) + repr(session.options) + redact(
            "a-secret-word"
        )
    assert Session(options()).connection().http_scheme == "http"
    assert Session(options(port=8443)).connection().http_scheme == "https"


def test_verification_roles_and_timeouts_reach_the_client() -> None:
    connection = Session(
        options(verify="/ca.pem", roles="hive=admin", request_timeout_seconds=7)
    ).connection()
    assert connection._http_session.verify == "/ca.pem"
    assert Session(options(verify="false")).connection()._http_session.verify is False
    assert connection._client_session.roles == {"hive": "ROLE{admin}"}
    assert (connection.request_timeout, connection.max_attempts) == (7, 1)


def test_trino_sees_who_asks_and_under_which_properties(
    database: Database, settings: Settings, trino_place: TrinoPlace
) -> None:
    reach = {"client_tags": "nightly, erp", "session_properties": "query_max_run_time=7m"}
    with TrinoWorld.open_in(database, settings, trino_place, **reach) as world:
        assert ["query_max_run_time", "7m"] in [
            row[:2] for row in world.trino.query("SHOW SESSION LIKE 'query_max_run_time'")
        ]
        rows = world.trino.query(
            "SELECT source FROM system.runtime.queries WHERE query LIKE 'SHOW SESSION LIKE %max_run_time%'"
        )
        assert ["sync_pipelines"] in rows


def test_a_trino_that_is_away_makes_a_run_fail_that_may_be_tried_again(
    database: Database, settings: Settings, trino_place: TrinoPlace
) -> None:
    with TrinoWorld.open_in(database, settings, trino_place) as world:
        table = world.add_items(5)
        world.sync()
        reach = {**trino_place.options, "port": 1}
        add_connector(
            database, "erp", world.server.url, "env:TWIN_TOKEN", destination_settings=reach
        )
        table.put(item(9))
        with pytest.raises(DatabaseUnavailableError, match="cannot be reached"):
            world.sync()
        assert world.runs()[0]["status"] == "failed"
        add_connector(
            database,
            "erp",
            world.server.url,
            "env:TWIN_TOKEN",
            destination_settings=trino_place.options,
        )
        assert world.sync().ledger.inserted == 1


def test_staging_may_be_a_bucket_of_any_s3_compatible_store() -> None:
    filesystem, folder = pa_fs.FileSystem.from_uri(
        "s3://lake/staging?endpoint_override=storage:9000&scheme=http&region=us-east-1"
    )
    assert (filesystem.type_name, filesystem.region, folder) == ("s3", "us-east-1", "lake/staging")


@pytest.mark.parametrize(
    ("reach", "origin"),
    [
        ({"host": "trino.intern"}, "trino://trino.intern:8080"),
        ({"host": "fd00::1", "port": 443}, "trino://[fd00::1]:443"),
        ({"host": "https://Trino.intern:8443", "port": 443}, "trino://trino.intern:8443"),
        ({"host": "https://trino.intern", "port": 443}, "trino://trino.intern:443"),
    ],
)
def test_a_secret_is_bound_to_the_trino_that_its_client_asks(
    reach: dict[str, Any], origin: str
) -> None:
    assert trino_origin(reach) == origin


@pytest.mark.parametrize("host", ["trino.intern/x", "https://", "http://[x"])
def test_a_host_that_is_none_is_refused_with_words(host: str, database: Database) -> None:
    with pytest.raises(SettingsError, match="is no host of a Trino"):
        add_connector(
            database,
            "erp",
            "http://127.0.0.1:1",
            destination_settings={"host": host, "password": "env:TRINO_KEY"},
        )


def test_a_staging_storage_that_fails_is_a_passing_trouble(monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        def open_output_stream(self, path: str) -> Any:
            raise OSError("503 Slow Down")

    reach = SimpleNamespace(inline_rows=1, staging_url="s3://lake/staging")
    session: Any = SimpleNamespace(options=reach)
    staging = Staging(session, "iceberg", "e1")
    monkeypatch.setattr(Staging, "_open_folder", lambda self, part: (Full(), "folder"))
    with pytest.raises(DatabaseUnavailableError, match="503 Slow Down"):
        staging.relation("records", pa.table({"c0": ["a", "b"]}), [Field("c0", TEXT)])
