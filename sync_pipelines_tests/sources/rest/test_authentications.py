"""Every authentication works on every page, and no secret shows."""

from __future__ import annotations

import pytest

from sync_pipelines.demo.twin import Fault
from sync_pipelines.errors import (
    AuthenticationError,
    SecretMissingError,
    SourceBusyError,
)
from sync_pipelines_tests.sources.rest.paged import start

AUTHENTICATIONS = {
    "none": None,
    "bearer": {"type": "bearer", "token": "env:SHOP_TOKEN"},
    "api_key_header": {"type": "api_key", "key": "env:SHOP_KEY", "header": "X-API-Key"},
    "api_key_query": {"type": "api_key", "key": "env:SHOP_KEY", "query": "api_key"},
    "basic": {"type": "basic", "username": "env:SHOP_USER", "password": "env:SHOP_PASSWORD"},
    "oauth2": {
        "type": "oauth2",
        "client_id": "env:SHOP_CLIENT",
        "client_secret": "env:SHOP_SECRET",
    },
}


CANARIES = {
    "SHOP_TOKEN": "canary-token-17",
    "SHOP_KEY": "canary/key+18",
    "SHOP_USER": "canary-user-19",
    "SHOP_PASSWORD": "canary-password-20",
    "SHOP_CLIENT": "canary-client-21",
    "SHOP_SECRET": "canary&secret=22",
}


def credentials(world, monkeypatch, kind, **changes):
    """The declaration's auth, with the twin and the environment agreeing on the secrets."""
    for name, value in CANARIES.items():
        monkeypatch.setenv(name, value)
    world.server.token, world.rest.api_key = CANARIES["SHOP_TOKEN"], CANARIES["SHOP_KEY"]
    world.rest.user, world.rest.password = CANARIES["SHOP_USER"], CANARIES["SHOP_PASSWORD"]
    world.rest.client = (CANARIES["SHOP_CLIENT"], CANARIES["SHOP_SECRET"])
    auth = AUTHENTICATIONS[kind]
    if kind == "oauth2":
        auth = {**auth, "token_url": f"{world.server.url}/oauth/token", **changes}
    return auth


@pytest.mark.parametrize("kind", AUTHENTICATIONS)
@pytest.mark.parametrize("paging", ["page", "next_link"])
def test_every_authentication_is_accepted_on_every_page(declared, monkeypatch, kind, paging):
    auth = credentials(declared, monkeypatch, kind)
    _, endpoint = start(declared, paging, auth=kind)
    declared.apply_endpoint(auth=auth, **endpoint)
    assert declared.sync("users").ledger.inserted == 25


@pytest.mark.parametrize("kind", [kind for kind in AUTHENTICATIONS if kind != "none"])
def test_a_refused_secret_is_an_error_that_shows_nothing_of_it(declared, monkeypatch, caplog, kind):
    auth = credentials(declared, monkeypatch, kind)
    start(declared, "page", auth=kind)
    declared.apply_endpoint(auth=auth)
    for name in CANARIES:
        monkeypatch.setenv(name, CANARIES[name] + "-wrong")
    error = declared.fails(AuthenticationError, "users")
    shown = [
        str(error),
        caplog.text,
        str(declared.runs("users")),
        str(declared.sql("SELECT * FROM bridge.connectors, bridge.errors")),
    ]
    for text in shown:
        assert "canary" not in text
    declared.faults.add(Fault(kind="rest", times=None, echo_authorization=True))
    assert "canary" not in str(declared.fails((AuthenticationError, SourceBusyError), "users"))


def test_a_missing_secret_is_named(declared, monkeypatch):
    start(declared, "page")
    declared.apply_endpoint(auth={"type": "bearer", "token": "env:NOT_SET_ANYWHERE"})
    assert "NOT_SET_ANYWHERE" in declared.fails(SecretMissingError, "users").what


@pytest.mark.parametrize("send", ["body", "header"])
def test_one_oauth_token_serves_many_requests(declared, monkeypatch, send):
    auth = credentials(declared, monkeypatch, "oauth2", send=send)
    _, endpoint = start(declared, "page", auth="oauth2")
    declared.apply_endpoint(auth=auth, **endpoint)
    declared.sync("users")
    assert len(declared.rest.issued) == 1


def test_an_oauth_token_that_ends_while_reading_is_fetched_anew(declared, monkeypatch):
    auth = credentials(declared, monkeypatch, "oauth2")
    _, endpoint = start(declared, "page", auth="oauth2")
    declared.apply_endpoint(auth=auth, **endpoint)

    def revoke(request):
        if (
            request.query.get("page") == "2"
            and "done" not in request.query
            and len(declared.rest.issued) == 1
            and not revoked
        ):
            revoked.append(1)
            declared.rest.revoke_tokens()

    revoked = []
    declared.faults.on_request = revoke
    assert declared.sync("users").ledger.inserted == 25
    assert revoked and len(declared.requests("/oauth/token")) == 2


def test_a_short_lived_oauth_token_is_renewed_before_it_ends(declared, monkeypatch):
    from sync_pipelines.model.authentication import OAuth2Auth
    from sync_pipelines.model.limits import HttpLimits
    from sync_pipelines.secrets import resolve_secret
    from sync_pipelines.sources.http.auth import ClientCredentials

    auth = credentials(declared, monkeypatch, "oauth2")
    now = [0.0]
    source = ClientCredentials(
        OAuth2Auth(**auth), HttpLimits(), resolve_secret, clock=lambda: now[0]
    )
    declared.rest.lifetime_seconds = 100
    first = source.headers()
    now[0] = 69
    assert source.headers() == first
    now[0] = 71
    assert source.headers() != first
