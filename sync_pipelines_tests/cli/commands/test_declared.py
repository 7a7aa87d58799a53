"""`connector apply`, `show`, `export`, `test` and `write-back` for declared sources."""

from __future__ import annotations

import pytest
import yaml

from sync_pipelines.demo.twin import Fault
from sync_pipelines.demo.twin.rest import RestEndpoint
from sync_pipelines_tests.declared_world import users


@pytest.fixture
def shop(world, tmp_path):
    """A connector file for the twin, which serves 12 users."""
    served = world.server.rest.add(RestEndpoint("/users", users(12), paging="page"))
    world.server.rest.add(RestEndpoint("/users/{id}", served.records))
    path = tmp_path / "shop.yaml"
    data = {
        "name": "shop",
        "kind": "rest",
        "base_url": world.server.url,
        "auth": {"type": "bearer", "token": "env:TWIN_TOKEN"},
        "endpoints": {
            "users": {
                "path": "/users",
                "key": ["id"],
                "pagination": {"type": "page", "size_param": "size"},
                "write_back": {"path": "/users/{id}", "columns": ["name"]},
            }
        },
    }
    path.write_text(yaml.safe_dump(data, sort_keys=False))
    return path


def test_apply_shows_the_plan_and_asks_before_it_stores(cli, shop, world):
    answer = cli("connector", "apply", str(shop), input="y\nn\n")
    assert answer.code == 2
    assert "columns inferred from a sample" in answer.stdout and "timestamptz" in answer.stdout
    assert world.sql("SELECT count(*) FROM bridge.connectors WHERE name = 'shop'") == [(0,)]
    answer = cli("connector", "apply", str(shop), input="y\ny\n")
    assert answer.code == 0, answer.text
    assert world.sql("SELECT kind FROM bridge.connectors WHERE name = 'shop'") == [("rest",)]


def test_apply_is_idempotent_and_a_plan_alone_stores_nothing(cli, shop, world):
    planned = cli("connector", "apply", str(shop), "--plan", "--yes", "--json")
    assert (planned.code, planned.json["applied"], planned.json["plan"]["added"]) == (
        0,
        False,
        ["users"],
    )
    assert world.sql("SELECT count(*) FROM bridge.connectors WHERE name = 'shop'") == [(0,)]
    assert cli("connector", "apply", str(shop), "--yes", "--json").json["applied"] is True
    again = cli("connector", "apply", str(shop), "--yes")
    assert again.code == 0 and "nothing to do" in again.stdout


def test_everything_works_for_a_declared_source(cli, shop, world):
    assert cli("connector", "apply", str(shop), "--yes").code == 0
    tested = cli("connector", "test", "shop", "--json")
    assert tested.code == 0 and {one["name"]: one["verdict"] for one in tested.json["checks"]} == {
        "secret": "PASSED",
        "users": "PASSED",
        "database": "PASSED",
    }
    assert cli("discover", "shop", "--json").json["reports"][0]["unchanged"] == ["users"]
    assert cli("sync", "shop/users", "--json").json["results"][0]["inserted"] == 12
    assert [one["path"] for one in cli("entities", "shop", "--json").json] == ["shop/users"]
    assert cli("audit", "shop/users", "--all").code == 0
    assert "/users" in cli("connector", "show", "shop").stdout
    assert cli("connector", "list").code == 0


def test_an_exported_file_applies_to_nothing_new(cli, shop, tmp_path):
    cli("connector", "apply", str(shop), "--yes")
    exported = tmp_path / "exported.yaml"
    exported.write_text(cli("connector", "export", "shop").stdout)
    answer = cli("connector", "apply", str(exported), "--yes")
    assert "nothing to do" in answer.stdout, answer.text
    assert cli("connector", "export", "erp").code == 2


def test_secrets_never_show(cli, shop, world):
    cli("connector", "apply", str(shop), "--yes")
    world.faults.add(Fault(kind="rest", times=None, echo_authorization=True))
    for command in (
        ("connector", "show", "shop"),
        ("connector", "show", "shop", "--json"),
        ("connector", "export", "shop"),
        ("connector", "list", "--json"),
        ("connector", "test", "shop"),
        ("sync", "shop/users"),
        ("runs", "shop/users", "--json"),
        ("connector", "apply", str(shop), "--infer-again"),
    ):
        answer = cli(*command)
        assert world.server.token not in answer.text, command


def test_a_wrong_file_is_a_usage_error_with_its_place(cli, shop):
    shop.write_text(shop.read_text().replace("size_param", "sise_param"))
    answer = cli("connector", "apply", str(shop))
    assert answer.code == 2
    assert "sise_param" in answer.stderr and "did you mean size_param" in answer.stderr.replace(
        "\n", " "
    )


def test_an_endpoint_that_cannot_be_used_is_left_out_and_asks_for_a_decision(cli, shop):
    data = yaml.safe_load(shop.read_text())
    data["endpoints"]["broken"] = {
        "path": "/broken",
        "columns": [{"name": "a", "type": "nothing", "key": True}],
    }
    shop.write_text(yaml.safe_dump(data))
    answer = cli("connector", "apply", str(shop), "--yes")
    assert answer.code == 3 and "left out" in answer.stdout
    assert cli("sync", "shop/users").code == 0


def test_a_source_that_is_down_is_named_when_columns_must_be_inferred(cli, shop, world):
    world.server.stop()
    answer = cli("connector", "apply", str(shop), "--yes")
    assert answer.code == 1 and "does not answer" in answer.stderr
    assert world.sql("SELECT count(*) FROM bridge.connectors WHERE name = 'shop'") == [(0,)]
    world.server.start()


def test_write_back_shows_the_change_asks_and_sends_it(cli, shop, world):
    cli("connector", "apply", str(shop), "--yes")
    cli("sync", "shop/users")
    refused = cli("write-back", "shop/users", "3", "--set", "name=Ada", input="n\n")
    assert refused.code == 2 and world.server.rest.written == []
    sent = cli("write-back", "shop/users", "3", "--set", "name=Ada", "--yes", "--json")
    assert sent.code == 0 and sent.json["changes"] == {"name": ["user 3", "Ada"]}
    assert world.server.rest.endpoints["/users"].records[2]["name"] == "Ada"
    assert (
        cli("write-back", "shop/users", "3", "--set", "name=Ada", "--yes", "--json").json["sent"]
        is False
    )
    assert cli("write-back", "shop/users", "3", "--null", "name", "--yes", "--json").json[
        "changes"
    ] == {"name": ["Ada", None]}
    assert world.server.rest.endpoints["/users"].records[2]["name"] is None
    assert cli("write-back", "shop/users", "3", "--yes").code == 2
    assert cli("write-back", "shop/users", "999", "--set", "name=x", "--yes").code == 2
    assert len(world.server.rest.written) == 2


def test_an_apismith_source_is_never_written_to(cli, world):
    world.add_items(3)
    world.sync()
    answer = cli("write-back", "erp/items", "A00001", "--set", "item_description=x", "--yes")
    assert answer.code == 3 and "declares no write_back" in answer.stderr


def processgit_record(number, **changes):
    return {
        "external_id": f"C-{number}",
        "full_name": "Ada",
        "contact_email": "ada@example.com",
        "created_date": "2024-01-01T00:00:00Z",
        "record_type": "customer",
        "quality_score": 90,
        **changes,
    }


def test_a_shipped_connector_brings_its_gate_once(cli, world, monkeypatch, tmp_path):
    monkeypatch.setenv("API_TOKEN", world.server.token)
    monkeypatch.setenv("SYNC_PIPELINES_GATES", str(tmp_path / "gates"))
    records = [
        processgit_record(1),
        processgit_record(2, quality_score=79.5),
        processgit_record(3, quality_score=49),
        processgit_record(4, contact_email=None),
        processgit_record(5, created_date=None, record_type="transaction", quality_score=80),
    ]
    world.server.rest.add(
        RestEndpoint("/api/v1/data", records, key="external_id", paging="page", envelope="data")
    )
    apply = ("connector", "apply", "processgit", "--base-url", world.server.url)
    planned = cli(*apply, "--plan", "--json")
    assert [path.rpartition("/")[2] for path in planned.json["plan"]["gates"]] == [
        "customers.yaml",
        "decisions.dmn.xml",
    ]
    assert not (tmp_path / "gates").exists()
    assert cli(*apply, "--yes").code == 0
    file = tmp_path / "gates" / "processgit" / "customers.yaml"
    checked = cli("gate", "check")
    assert checked.code == 0, checked.text
    result = cli("sync", "processgit/customers", "--json").json["results"][0]
    assert (result["inserted"], result["quarantined"]) == (3, 2)
    rows = world.sql(
        'SELECT "customerId", _bridge_review IS NOT NULL FROM processgit.customers ORDER BY 1'
    )
    assert rows == [("C-1", False), ("C-2", True), ("C-5", False)]
    reasons = dict(world.sql("SELECT business_key->>0, reason FROM bridge.quarantine"))
    assert "decisions.dmn.xml" in reasons["C-3"] or "Validate record" in reasons["C-3"]
    assert "email" in reasons["C-4"]
    file.write_text(file.read_text() + "# mine\n")
    assert cli(*apply, "--yes").code == 0
    assert file.read_text().endswith("# mine\n"), "what a person changed stays"


def test_a_copied_connector_brings_its_gate_along_or_is_refused(cli, world, monkeypatch, tmp_path):
    monkeypatch.setenv("API_TOKEN", world.server.token)
    monkeypatch.setenv("SYNC_PIPELINES_GATES", str(tmp_path / "gates"))
    records = [processgit_record(1), processgit_record(2, quality_score=10)]
    world.server.rest.add(
        RestEndpoint("/api/v1/data", records, key="external_id", paging="page", envelope=None)
    )
    copied = tmp_path / "mine"
    assert cli("connector", "copy", "processgit", str(copied)).code == 0
    names = {str(path.relative_to(copied)) for path in copied.rglob("*") if path.is_file()}
    assert names == {
        "processgit.yaml",
        "processgit/resources/mappings.yaml",
        "processgit/metadata/ownership.yaml",
        "processgit/config/secrets.example.env",
        "processgit/envrc-template",
        "gates/processgit/customers.yaml",
        "gates/processgit/dmn/decisions.dmn.xml",
    }
    assert "is there already" in cli("connector", "copy", "processgit", str(copied)).stderr
    alone = tmp_path / "alone" / "processgit.yaml"
    alone.parent.mkdir()
    alone.write_bytes((copied / "processgit.yaml").read_bytes())
    answer = cli("connector", "apply", str(alone), "--base-url", world.server.url, "--yes")
    assert answer.code != 0 and "mappings.yaml is not beside the file" in answer.text
    (copied / "gates").rename(tmp_path / "elsewhere")
    apply = (
        "connector",
        "apply",
        str(copied / "processgit.yaml"),
        "--base-url",
        world.server.url,
        "--yes",
    )
    answer = cli(*apply)
    assert answer.code != 0 and "gates/processgit is not beside the file" in answer.text
    assert world.sql("SELECT count(*) FROM bridge.connectors WHERE name = 'processgit'") == [(0,)]
    (tmp_path / "elsewhere").rename(copied / "gates")
    assert cli(*apply).code == 0
    result = cli("sync", "processgit/customers", "--json").json["results"][0]
    assert (result["inserted"], result["quarantined"]) == (1, 1), (
        "a bare list is read, and the gate judges"
    )
