"""A secret goes where a person agreed that it goes, and nowhere else."""

from __future__ import annotations

import dataclasses

import pytest

from sync_pipelines.catalog.connectors import add_connector, change_connector, get_connector
from sync_pipelines.declare.plan import as_connector
from sync_pipelines.destinations.trino.options import TrinoSettings, resolve_options
from sync_pipelines.errors import GuardError
from sync_pipelines.model.declaration import Declaration
from sync_pipelines.model.limits import HttpLimits
from sync_pipelines.network.outbound import agree, of_connector, wanted_secrets
from sync_pipelines.settings import Settings
from sync_pipelines.sources.http.auth import make_authentication
from sync_pipelines.sources.http.connector_session import open_session

CANARY = "canary-1f0c9a7be2d84c55"
PLAIN = Settings(_env_file=None)


def connector_with(auth: dict, base_url: str = "https://crm.example.com/v1", **more):
    endpoint = {"path": "/users", "columns": [{"name": "id", "type": "bigint", "key": True}]}
    data = {
        "name": "crm",
        "kind": "rest",
        "base_url": base_url,
        "auth": auth,
        "endpoints": {"users": endpoint},
        **more,
    }
    return as_connector(Declaration.model_validate(data))


AUTHS = [
    {"type": "bearer", "token": "env:CRM_KEY"},
    {"type": "api_key", "key": "env:CRM_KEY", "header": "X-Key"},
    {"type": "api_key", "key": "env:CRM_KEY", "query": "key"},
    {"type": "basic", "username": "env:CRM_KEY", "password": "env:CRM_KEY"},
    {
        "type": "oauth2",
        "token_url": "https://login.example.com/token",
        "client_id": "env:CRM_KEY",
        "client_secret": "env:CRM_KEY",
    },
]


@pytest.mark.parametrize(
    "auth", AUTHS, ids=lambda auth: f"{auth['type']}-{'query' if 'query' in auth else ''}"
)
def test_credentials_of_every_kind_stay_where_nobody_agreed(
    auth: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CRM_KEY", CANARY)
    connector = connector_with(auth)
    declared = Declaration.model_validate(connector.declaration).auth

    def sent(outbound) -> str:
        made = make_authentication(declared, connector.base_url, HttpLimits(tries=1), outbound)
        return str(made.headers()) + str(made.query())

    with pytest.raises(
        GuardError, match="Nobody agreed that the secret env:CRM_KEY goes to https://"
    ) as caught:
        sent(of_connector(dataclasses.replace(connector, agreed={}), PLAIN))
    assert CANARY not in str(caught.value)
    if auth["type"] != "oauth2":
        agreed = dataclasses.replace(connector, agreed=agree(connector, PLAIN))
        assert CANARY in sent(of_connector(agreed, PLAIN)) or auth["type"] == "basic"
        moved = dataclasses.replace(agreed, base_url="https://crm.example.com:8443/v1")
        with pytest.raises(GuardError, match=":8443"):
            make_authentication(
                declared, moved.base_url, HttpLimits(tries=1), of_connector(moved, PLAIN)
            ).headers()
            make_authentication(
                declared, moved.base_url, HttpLimits(tries=1), of_connector(moved, PLAIN)
            ).query()


def test_a_client_of_oauth_goes_to_its_token_endpoint_only() -> None:
    assert wanted_secrets(connector_with(AUTHS[-1])) == {
        ("env:CRM_KEY", "https://login.example.com:443")
    }


def test_secret_origins_is_the_only_way_for_what_it_names() -> None:
    bound = Settings(
        _env_file=None,
        secret_origins="CRM_KEY=https://crm.example.com, env:CRM_KEY=https://eu.crm.example.com:443/",
    )
    good, evil = connector_with(AUTHS[0]), connector_with(AUTHS[0], "https://evil.example")
    of_connector(dataclasses.replace(good, agreed={}), bound).check_secret(
        "env:CRM_KEY", good.base_url
    )
    assert agree(good, bound)["secrets"] == [["env:CRM_KEY", "https://crm.example.com:443"]]
    with pytest.raises(
        GuardError,
        match=r"SECRET_ORIGINS lets the secret env:CRM_KEY go to https://crm.example.com:443, https://eu",
    ):
        agree(evil, bound)
    with pytest.raises(GuardError, match="SECRET_ORIGINS"):
        of_connector(evil, bound).check_secret("env:CRM_KEY", evil.base_url)


@pytest.mark.parametrize(
    "name",
    [
        "POSTGRES_PASSWORD",
        "POSTGRES_URL",
        "DB_PASSWORD",
        "AWS_SECRET_ACCESS_KEY",
        "SYNC_PIPELINES_DAGSTER_URL",
        "TRINO_PASSWORD",
    ],
)
def test_what_opens_our_own_stores_goes_to_no_source(name: str) -> None:
    connector = connector_with({"type": "bearer", "token": f"env:{name}"})
    with pytest.raises(GuardError, match="own stores"):
        agree(connector, PLAIN)
    assert agree(
        connector, Settings(_env_file=None, secret_origins=f"{name}=https://crm.example.com")
    )


@pytest.mark.parametrize(
    "url",
    [
        "http://10.0.0.5",
        "http://169.254.169.254/latest",
        "http://[fd00::1]:8080",
        "http://100.64.1.1",
    ],
)
def test_a_private_address_has_to_be_named(url: str) -> None:
    connector = connector_with(AUTHS[0], url)
    with pytest.raises(GuardError, match="not public"):
        agree(connector, PLAIN)
    agreed = agree(connector, PLAIN, allow_private=True)
    assert agreed["private"]
    assert {"by", "at"} <= agreed.keys()
    # What was agreed for an address stays with it, and is not taken to another.
    assert agree(dataclasses.replace(connector, agreed=agreed), PLAIN) == agreed
    with pytest.raises(GuardError, match="not public"):
        agree(dataclasses.replace(connector, agreed=agreed, base_url="http://10.0.0.6"), PLAIN)


def test_a_token_endpoint_is_looked_at_like_a_source() -> None:
    auth = {**AUTHS[-1], "token_url": "http://169.254.169.254/token"}
    with pytest.raises(GuardError, match=r"169\.254\.169\.254"):
        agree(connector_with(auth), PLAIN)


def test_a_catalog_that_somebody_changed_sends_no_secret(world) -> None:
    world.add_items(1)
    asked = len(world.server.requests) if hasattr(world.server, "requests") else None
    connector = get_connector(world.database, "erp")
    assert connector.agreed["secrets"] == [["env:TWIN_TOKEN", world.server.url]]
    assert connector.agreed["private"] == [world.server.url]
    world.sql(
        "UPDATE bridge.connectors SET base_url = replace(base_url, '127.0.0.1', 'localhost') WHERE name = 'erp'"
    )
    with pytest.raises(GuardError, match="Nobody agreed"):
        open_session(get_connector(world.database, "erp"), world.settings).get("/api/v1/apis")
    world.sql("UPDATE bridge.connectors SET auth_token = NULL WHERE name = 'erp'")
    with pytest.raises(GuardError, match="not public"):
        open_session(get_connector(world.database, "erp"), world.settings).get("/api/v1/apis")
    assert asked is None or len(world.server.requests) == asked
    again = add_connector(world.database, "erp", world.server.url, "env:TWIN_TOKEN")
    assert again.agreed["secrets"] == connector.agreed["secrets"]
    changed = change_connector(world.database, again, agreed={**again.agreed, "private": []})
    assert changed.agreed["private"] == []


@pytest.mark.parametrize(
    "own",
    [
        {"host": "evil.example"},
        {"port": 9443},
        {"verify": "false"},
        {"scheme": "https", "host": "trino.example.com", "port": 444},
    ],
)
def test_no_credentials_of_the_process_go_to_another_trino(own: dict) -> None:
    process = TrinoSettings(
        _env_file=None,
        host="trino.example.com",
        port=8443,
        password=CANARY,
        certificate="/c.pem",
        certificate_key="/k.pem",
    )
    assert resolve_options({}, process).password.get_secret_value() == CANARY
    assert (
        resolve_options({"catalog": "lake", "host": "trino.example.com"}, process).password
        is not None
    )
    elsewhere = resolve_options(own, process)
    assert (
        elsewhere.password,
        elsewhere.access_token,
        elsewhere.certificate,
        elsewhere.certificate_key,
    ) == (None,) * 4


def test_a_secret_for_trino_is_bound_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAKE_PASSWORD", CANARY)
    reach = {"host": "lake.example.com", "port": 8443, "password": "env:LAKE_PASSWORD"}
    connector = connector_with(AUTHS[0], destination="trino", trino=reach)
    own = dataclasses.replace(
        connector, destination_settings={**reach, "password": "env:TRINO_PASSWORD"}
    )
    assert agree(own, PLAIN), "a file may name it for Trino, and a person agree"
    assert ("env:LAKE_PASSWORD", "trino://lake.example.com:8443") in wanted_secrets(connector)
    agreed = dataclasses.replace(connector, agreed=agree(connector, PLAIN))
    none = TrinoSettings(_env_file=None, host=None)
    assert (
        resolve_options(reach, none, of_connector(agreed, PLAIN)).password.get_secret_value()
        == CANARY
    )
    with pytest.raises(GuardError, match=r"trino://evil\.example:8443"):
        resolve_options({**reach, "host": "evil.example"}, none, of_connector(agreed, PLAIN))
