"""PostgreSQL beyond this machine is verified unless somebody says otherwise, and a refusal says what to do."""

from __future__ import annotations

import socket
import threading

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from sync_pipelines.catalog.database import open_database
from sync_pipelines.catalog.tls import with_verified_tls
from sync_pipelines.errors import DatabaseRefusedError
from sync_pipelines.orchestrate.instance_storage import named_url, psycopg2_url
from sync_pipelines.settings import Settings


@pytest.mark.parametrize(
    ("url", "sslmode"),
    [
        ("postgresql://u:p%40@db.example/b", "verify-full"),
        ("postgres://u@10.0.0.5:6543/b?connect_timeout=3", "verify-full"),
        ("postgresql+psycopg2://u@db.example/b", "verify-full"),
        ("host=db.example dbname=b password='a b'", "verify-full"),
        ("postgresql://u@localhost,db.example/b", "verify-full"),
        ("postgresql:///b?host=db.example", "verify-full"),
        ("postgresql://u@localhost/b?hostaddr=10.0.0.5", "verify-full"),
        ("postgresql://u@db.example/b?sslmode=require", "require"),
        ("postgresql://u@db.example/b?sslmode=disable", "disable"),
        ("postgresql://u@localhost/b", None),
        ("postgresql://u@127.0.0.1:5433,[::1]/b", None),
        ("postgresql:///b?host=/var/run/postgresql", None),
        ("postgresql:///b", None),
    ],
)
def test_a_server_beyond_this_machine_is_verified_unless_its_address_says_otherwise(
    url: str, sslmode: str | None
) -> None:
    made = conninfo_to_dict(with_verified_tls(url, environ={}).replace("+psycopg2", ""))
    assert made.get("sslmode") == sslmode
    before = conninfo_to_dict(url.replace("+psycopg2", ""))
    assert {name: value for name, value in made.items() if name != "sslmode"} == {
        name: value for name, value in before.items() if name != "sslmode"
    }


def test_what_the_environment_of_libpq_says_counts() -> None:
    url = "postgresql://u@db.example/b"
    assert with_verified_tls(url, environ={"PGSSLMODE": "require"}) == url
    assert "verify-full" in with_verified_tls("postgresql:///b", environ={"PGHOST": "db.example"})
    assert (
        conninfo_to_dict(with_verified_tls(url, rootcert="/etc/my ca.pem", environ={}))[
            "sslrootcert"
        ]
        == "/etc/my ca.pem"
    )
    assert with_verified_tls("postgresql://[bad", environ={}) == "postgresql://[bad"


def test_catalog_targets_and_dagsters_storage_are_verified(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PGSSLMODE", raising=False)
    whole = Settings(_env_file=None, postgres_url="postgresql://u:p@db.example/b")
    parts = Settings(_env_file=None, postgres_host="db.example", postgres_password="p")
    for settings in (whole, parts):
        assert conninfo_to_dict(open_database(settings).url)["sslmode"] == "verify-full"
    lax = Settings(_env_file=None, postgres_host="db.example", postgres_sslmode="prefer")
    assert conninfo_to_dict(open_database(lax).url)["sslmode"] == "prefer"
    assert "sslmode=verify-full" in psycopg2_url(named_url("postgresql://u:p@db.example/dagster"))


@pytest.fixture
def without_tls():
    """A server that answers libpq's question for TLS with no."""
    listener = socket.create_server(("127.0.0.1", 0))

    def answer() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                connection.recv(8)
                connection.sendall(b"N")

    threading.Thread(target=answer, daemon=True).start()
    yield listener.getsockname()[1]
    listener.close()


def test_a_server_without_tls_is_refused_for_good_with_the_way_out(
    without_tls: int, tmp_path
) -> None:
    port = without_tls
    for more in ("sslrootcert=system", f"sslrootcert={tmp_path / 'none.pem'}"):
        settings = Settings(
            _env_file=None,
            postgres_url=f"postgresql://u:canary@127.0.0.1:{port}/b?sslmode=verify-full&{more}",
        )
        with (
            pytest.raises(DatabaseRefusedError, match="certificate") as caught,
            open_database(settings).connect(),
        ):
            pass
        assert (
            "POSTGRES_SSLROOTCERT" in caught.value.next_command
            and "?sslmode=" in caught.value.next_command
        )
        assert "canary" not in str(caught.value)
        assert isinstance(caught.value.__cause__, psycopg.OperationalError)
