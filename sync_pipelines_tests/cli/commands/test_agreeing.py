"""What a connector file would use is listed before anything is asked, and asked for before it is used."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import yaml

from sync_pipelines.catalog.connectors import get_connector

CANARY = "canary-9e41bb7c02a64d1f"


@pytest.fixture
def stranger():
    """A server that keeps what it was asked, with which headers."""
    heard: list[tuple[str, dict[str, str]]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            heard.append((self.path, dict(self.headers)))
            body = b'[{"id": 1, "name": "a"}]'
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET

        def log_message(self, *_) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.heard, server.url = heard, f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.setenv("VICTIM_KEY", CANARY)

    def write(base_url: str, **more):
        data = {
            "name": "gift",
            "kind": "rest",
            "base_url": base_url,
            "auth": {"type": "bearer", "token": "env:VICTIM_KEY"},
            "endpoints": {"users": {"path": "/users", "key": ["id"]}},
            **more,
        }
        path = tmp_path / "gift.yaml"
        path.write_text(yaml.safe_dump(data, sort_keys=False))
        return str(path)

    return write


def uses(answer) -> dict[str, str]:
    return {use["name"]: f"{use['what']}: {use['why']}" for use in answer.json["usage"]["uses"]}


def test_a_plan_asks_nobody_and_reads_no_secret_before_somebody_agreed(
    cli, world, file, stranger, monkeypatch
):
    path = file(stranger.url)
    monkeypatch.delenv("VICTIM_KEY")  # a plan that resolved it would fail
    for arguments in (("--plan",), ("--plan", "--json")):
        answer = cli("connector", "apply", path, *arguments)
        assert answer.code == 3, answer.text
        assert stranger.url in answer.text
        assert "VICTIM_KEY" in answer.text
        assert "Nothing was asked" in answer.text.replace("\n", " ")
    assert stranger.heard == []
    assert world.sql("SELECT count(*) FROM bridge.connectors WHERE name = 'gift'") == [(0,)]


def test_saying_no_sends_nothing_and_saying_yes_is_remembered(cli, world, file, stranger):
    path = file(stranger.url)
    refused = cli("connector", "apply", path, input="n\n")
    assert (refused.code, stranger.heard) == (2, [])
    assert "What gift would use" in refused.stdout
    agreed = cli("connector", "apply", path, "--yes")
    assert agreed.code == 0, agreed.text
    assert "--yes agrees to all of this" in agreed.stderr
    assert stranger.heard[0][1]["Authorization"] == f"Bearer {CANARY}"
    assert get_connector(world.database, "gift").agreed["secrets"] == [
        ["env:VICTIM_KEY", stranger.url]
    ]
    # The same again needs no second word.
    assert cli("connector", "apply", path, "--plan").code == 0


def test_a_changed_address_or_secret_asks_again(cli, file, stranger, monkeypatch):
    assert cli("connector", "apply", file(stranger.url), "--yes").code == 0
    heard = len(stranger.heard)
    moved = stranger.url.replace("127.0.0.1", "localhost")
    assert cli("connector", "apply", file(moved), "--plan", "--infer-again").code == 3
    monkeypatch.setenv("OTHER_KEY", CANARY + "2")
    assert (
        cli(
            "connector",
            "apply",
            file(stranger.url, auth={"type": "bearer", "token": "env:OTHER_KEY"}),
            "--plan",
            "--infer-again",
        ).code
        == 3
    )
    assert len(stranger.heard) == heard
    monkeypatch.setenv("SECRET_ORIGINS", f"VICTIM_KEY={moved}")
    assert cli("connector", "apply", file(moved), "--plan", "--infer-again").code == 0, (
        "automation names it in the environment"
    )
    assert len(stranger.heard) > heard
    refused = cli("connector", "apply", file(stranger.url), "--yes", "--infer-again")
    assert refused.code == 3 and "SECRET_ORIGINS" in refused.stderr


def test_everything_that_a_file_would_use_is_listed(cli, world, file, tmp_path):
    columns = [{"name": "id", "type": "bigint", "key": True}]
    path = file(
        "https://api.example.com/v1",
        destination="trino",
        trino={
            "host": "lake.example.com",
            "port": 8443,
            "password": "env:LAKE_KEY",
            "staging_url": "s3://bucket/x",
        },
        auth={
            "type": "oauth2",
            "token_url": "http://login.example.com/t",
            "client_id": "env:CLIENT",
            "client_secret": "env:CLIENT_KEY",
        },
        endpoints={
            "Users": {"path": "/users", "columns": columns},
            "details": {
                "path": "/details/{id}",
                "columns": [dict(columns[0])],
                "key": ["id"],
                "ids": {"table": "hr.staff.social_security_number"},
            },
        },
    )
    cli(
        "alerts",
        "webhook",
        "add",
        "https://hooks.example.com/T0/secret-path",
        "--secret",
        "env:HOOK_KEY",
    )
    answer = cli("connector", "apply", path, "--plan", "--json")
    assert answer.code == 0, answer.text
    used = uses(answer)
    assert "base URL" in used["https://api.example.com/v1"]
    assert (
        "env:CLIENT, env:CLIENT_KEY" in used["http://login.example.com/t"]
        and "plain http" in used["http://login.example.com/t"]
    )
    assert "env:LAKE_KEY" in used["lake.example.com:8443"]
    assert "AWS_SECRET_ACCESS_KEY" in used["s3://bucket/x"]
    assert used["https://hooks.example.com/…"].startswith("address: webhook")
    assert {"CLIENT", "CLIENT_KEY", "LAKE_KEY"} <= used.keys()
    assert "sent to trino://lake.example.com:8443" in used["LAKE_KEY"]
    assert {"gift.users", "gift.details"} <= used.keys()
    assert "sent to the base URL" in used["hr.staff.social_security_number"]


@pytest.mark.parametrize(
    "value",
    [
        CANARY,
        f"https://hooks.example.com/services/{CANARY}",
        f"https://user:{CANARY}@example.com",
        f"https://x.example/?key={CANARY}",
        f"postgresql://u:{CANARY}@db/x",
    ],
)
def test_a_base_url_from_the_environment_shows_no_secret(cli, world, file, value, monkeypatch):
    monkeypatch.setenv("SOME_VALUE", value)
    for arguments in (("--plan",), ("--yes",), ("--plan", "--json"), ("--plan", "--yes")):
        answer = cli("connector", "apply", file("env:SOME_VALUE"), *arguments)
        assert answer.code == 2, answer.text
        assert CANARY not in answer.text and "SOME_VALUE" in answer.text
    assert world.sql("SELECT count(*) FROM bridge.connectors WHERE name = 'gift'") == [(0,)]


def test_a_base_url_from_the_environment_is_shown_by_its_origin(
    cli, world, file, stranger, monkeypatch
):
    monkeypatch.setenv("CRM_URL", stranger.url + "/tenant-7")
    answer = cli("connector", "apply", file("env:CRM_URL"), "--plan")
    assert answer.code == 3
    assert stranger.url in answer.stdout and "tenant-7" not in answer.text
    assert stranger.heard == []


@pytest.mark.parametrize(
    "url",
    [
        "http://10.0.0.5",
        "http://169.254.169.254",
        "http://2130706433",
        "http://0x7f.1:80",
        "http://[::ffff:10.0.0.1]",
    ],
)
def test_yes_does_not_agree_to_what_is_not_public(cli, world, file, url):
    for command in (
        ("connector", "apply", file(url), "--yes"),
        ("connector", "add", "gift", url, "--token", "env:VICTIM_KEY"),
    ):
        answer = cli(*command)
        assert answer.code == 3, answer.text
        assert "not public" in answer.stderr or "four decimal" in answer.stderr
    assert world.sql("SELECT count(*) FROM bridge.connectors WHERE name = 'gift'") == [(0,)]


def test_a_private_address_is_named_with_the_connector(cli, world):
    refused = cli("connector", "add", "intranet", "http://10.0.0.5")
    assert "connector add intranet http://10.0.0.5 --allow-private" in refused.stderr, (
        "it is not stored, so it cannot be set"
    )
    assert "Nothing was published" not in refused.stderr
    added = cli(
        "connector",
        "add",
        "intranet",
        "http://10.0.0.5",
        "--token",
        "env:TWIN_TOKEN",
        "--allow-private",
    )
    assert added.code == 0, added.text
    assert "plain http" in added.stderr
    assert get_connector(world.database, "intranet").agreed["private"] == ["http://10.0.0.5:80"]
    assert (
        cli("connector", "add", "named", "https://erp.intern", "--token", "env:TWIN_TOKEN").code
        == 0
    )
    assert cli("connector", "set", "named", "--allow-private").code == 0
    agreed = get_connector(world.database, "named").agreed
    assert (agreed["private"], agreed["secrets"]) == (
        ["https://erp.intern:443"],
        [["env:TWIN_TOKEN", "https://erp.intern:443"]],
    )


def test_a_webhook_is_https_beyond_this_machine_and_public_unless_named(cli, monkeypatch):
    add = ("alerts", "webhook", "add")
    plain = cli(*add, "http://hooks.example.com/x", "--secret", "env:HOOK_KEY")
    assert plain.code == 2 and "https" in plain.stderr
    monkeypatch.setenv("HOOK_KEY", "whsec_" + "QUJD" * 12)
    assert cli(*add, "https://10.0.0.5/x", "--secret", "env:HOOK_KEY", "--name", "a").code == 3
    assert (
        cli(
            *add, "https://10.0.0.5/x", "--secret", "env:HOOK_KEY", "--name", "a", "--allow-private"
        ).code
        == 0
    )
    monkeypatch.setenv("PLAIN_HOOK", "http://hooks.example.com/secret-path-55aa")
    assert cli(*add, "env:PLAIN_HOOK", "--secret", "env:HOOK_KEY", "--name", "b").code == 0
    monkeypatch.setenv("METADATA_HOOK", "https://169.254.169.254/secret-path-55aa")
    assert cli(*add, "env:METADATA_HOOK", "--secret", "env:HOOK_KEY", "--name", "c").code == 0
    for name, word in (("b", "https"), ("c", "not public")):
        tested = cli("alerts", "test", name, "--json")
        assert tested.code == 1
        assert word in tested.json[0]["error"] and "secret-path" not in tested.text
