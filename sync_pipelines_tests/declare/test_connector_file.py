"""Connector files: safe to read, and wrong ones say file, line, key and the nearest valid name."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync_pipelines.declare.connector_file import load_declaration, validate
from sync_pipelines.declare.inputs import fill_inputs
from sync_pipelines.declare.source_file import SourceFile, parse_yaml
from sync_pipelines.errors import SettingsError
from sync_pipelines.model.endpoint import IdList

GOOD = """\
name: shop
kind: rest
base_url: https://shop.example.com
auth:
  type: bearer
  token: env:SHOP_TOKEN
endpoints:
  users:
    path: /users
    key: [id]
    pagination:
      type: page
      size_param: size
"""


def complaint(text: str) -> str:
    file = parse_yaml(text.encode(), "shop.yaml")
    with pytest.raises(SettingsError) as caught:
        validate(fill_inputs(file, {}), file)
    assert caught.value.state == "Nothing was stored."
    return caught.value.what


def test_a_good_file_is_a_declaration():
    file = parse_yaml(GOOD.encode(), "shop.yaml")
    declaration = validate(file.data, file)
    assert declaration.endpoints["users"].pagination.type == "page"
    assert declaration.secrets == ["env:SHOP_TOKEN"]


@pytest.mark.parametrize(
    "old, new, said",
    [
        ("base_url", "base_ulr", ("shop.yaml:3: base_ulr", "did you mean base_url?")),
        (
            "size_param: size",
            "sise_param: size",
            ("shop.yaml:13: endpoints.users.pagination.sise_param", "did you mean size_param?"),
        ),
        ("token: env", "tokn: env", ("shop.yaml:6: auth.tokn", "did you mean token?")),
        ("path: /users", "path: users", ("shop.yaml:9: endpoints.users.path", "begins with one /")),
        ("path: /users", "path: //evil.example.com/users", ("shop.yaml:9",)),
        ("path: /users", "path: /a/../b", ("shop.yaml:9",)),
        ("path: /users", "path: /users/{id}", ("shop.yaml:8: endpoints.users", "ids")),
        ("kind: rest", "kind: rset", ("shop.yaml:2: kind", "did you mean rest")),
        (
            "type: page",
            "type: pages",
            ("shop.yaml:11: endpoints.users.pagination", "'link_header'"),
        ),
        ("env:SHOP_TOKEN", "canary-bare-secret", ("shop.yaml:6: auth.token", "env:NAME")),
        ("kind: rest", "kind: rest\ndestination: kafka", ("shop.yaml:3: destination",)),
        (
            "kind: rest",
            "kind: rest\ndestination: trino\ntrino:\n  hots: a",
            ("shop.yaml:5: trino.hots", "did you mean host?"),
        ),
        ("kind: rest", "kind: rest\ntrino: {password: canary}", ("shop.yaml:3: trino", "env:")),
        ("kind: rest", "kind: rest\ntrino: {port: many}", ("shop.yaml:3: trino", "port")),
        (
            "    key: [id]",
            "    key: [id]\n    strategy: rowversion",
            ("endpoints.users", "needs a `cursor`"),
        ),
        (
            "    key: [id]",
            "    key: [id]\n    ids: {param: ids}",
            ("shop.yaml:11: endpoints.users.ids", "`values` or from `table`"),
        ),
    ],
)
def test_a_wrong_file_says_where_and_what(old, new, said):
    message = complaint(GOOD.replace(old, new))
    for part in said:
        assert part in message
    assert "canary" not in message


@pytest.mark.parametrize(
    "text, said",
    [
        ("a: &x [1]\nb: *x\n", "shop.yaml:1: anchors"),
        ("a: !!python/object/apply:os.system [id]\n", "shop.yaml:1: tags"),
        ("a: 1\nb: 'x\x00y'\n", "shop.yaml:2: the character U+0000"),
        ("a: 1\nb: 2\na: 3\n", "shop.yaml:3: the key 'a' is there twice"),
        ("a: [1\n", "shop.yaml:2"),
        ("a: " + "[" * 60 + "]" * 60, "nested deeper than 30 levels"),
        ("a: " + "[" * 5000 + "]" * 5000, "shop.yaml"),
        ("? [1, 2]\n: 3\n", "shop.yaml:1"),
        ("<<: {a: 1}\n", "shop.yaml:1"),
        ("a: 1\n---\nb: 2\n", "shop.yaml:2"),
        ("a: \x01\n", "shop.yaml"),
    ],
)
def test_yaml_that_could_harm_or_mislead_is_refused(text, said):
    with pytest.raises(SettingsError) as caught:
        parse_yaml(text.encode(), "shop.yaml")
    assert said in caught.value.what


@given(
    st.binary(max_size=300)
    | st.text(alphabet="ab:- \n[]{}&*!|>'\"#%@,?0.1~<", max_size=120).map(str.encode)
)
def test_any_bytes_are_data_or_a_settings_error(content):
    try:
        file = parse_yaml(content, "x.yaml")
        validate(fill_inputs(file, {}), file)
    except SettingsError as error:
        assert error.state == "Nothing was stored."


def test_texts_of_texts_do_not_fill_the_memory():
    texts = ["  x0: {default: aaaaaaaaaa}"]
    for place in range(1, 14):
        tenfold = f"${{x{place - 1}}}" * 10
        texts.append(f"  x{place}: {{default: '{tenfold}'}}")
    file = parse_yaml("\n".join(["inputs:", *texts, "name: '${x13}'"]).encode(), "shop.yaml")
    with pytest.raises(SettingsError, match="inputs add more than 1000000 characters"):
        fill_inputs(file, {})
    file = parse_yaml(
        b"inputs:\n  x: {default: '" + b"a" * 1000 + b"'}\nnames: [" + b"'${x}', " * 2000 + b"]\n",
        "shop.yaml",
    )
    with pytest.raises(SettingsError, match="inputs add more than 1000000 characters"):
        fill_inputs(file, {})


@pytest.mark.parametrize(
    "table",
    [
        "pg_catalog.pg_authid.rolpassword",
        "PG_CATALOG.pg_authid.oid",
        "information_schema.tables.table_name",
    ],
)
def test_ids_are_not_read_from_the_tables_of_postgresql(table):
    with pytest.raises(ValueError, match="a table of yours"):
        IdList(table=table)


def test_a_file_that_is_not_there_names_the_shipped_ones():
    with pytest.raises(SettingsError, match="Did you mean processgit"):
        load_declaration("procesgit")


def test_a_base_url_may_come_from_the_environment(monkeypatch, tmp_path):
    path = tmp_path / "shop.yaml"
    path.write_text(GOOD.replace("https://shop.example.com", "env:SHOP_URL"))
    with pytest.raises(SettingsError, match="SHOP_URL is not set"):
        load_declaration(str(path))
    monkeypatch.setenv("SHOP_URL", "https://other.example.com")
    assert load_declaration(str(path)).base_url == "https://other.example.com"


def test_unknown_inputs_name_the_nearest():
    with pytest.raises(SettingsError, match="did you mean batch_size"):
        load_declaration("user_data_sync", {"batchsize": "5"})


def test_numbers_and_dates_of_yaml_stay_texts():
    assert parse_yaml(
        b"a: 1.10\nb: 2024-01-01\nc: 5\nd: true\ne: ~\nf: 007\ng: 1:30\n", "x"
    ).data == {
        "a": "1.10",
        "b": "2024-01-01",
        "c": 5,
        "d": True,
        "e": None,
        "f": "007",
        "g": "1:30",
    }


def test_a_file_cannot_smuggle_in_internal_keys():
    data = {"name": "a", "kind": "rest", "base_url": "http://a", "endpoints": {}, "overrides": {}}
    with pytest.raises(SettingsError, match="unknown key"):
        validate(data, SourceFile("x.yaml", data))


def test_a_secret_in_the_place_of_a_type_is_not_shown():
    data = {
        "name": "a",
        "kind": "rest",
        "base_url": "http://a",
        "auth": {"type": "canary-17"},
        "endpoints": {"users": {"path": "/u"}},
    }
    with pytest.raises(SettingsError, match="not known") as refused:
        validate(data, SourceFile("x.yaml", data))
    assert "canary" not in str(refused.value)


@pytest.mark.parametrize(("chosen", "expected"), [("s", {"s": 1, "b": 2}), ("b", None), ("", None)])
def test_an_input_may_be_a_name_but_not_that_of_another(chosen, expected):
    file = parse_yaml(b"inputs: {p: {default: s}}\nparams: {'${p}': 1, b: 2}", "f")
    if expected is None:
        with pytest.raises(SettingsError, match="becomes no name of its own"):
            fill_inputs(file, {"p": chosen})
    else:
        assert fill_inputs(file, {"p": chosen}) == {"params": expected}


@pytest.mark.parametrize("token_url", ["http://[x", "https://host:99999/t", "https://:80/t"])
def test_a_token_endpoint_that_is_no_address_is_refused_by_the_file(token_url: str) -> None:
    auth = {
        "type": "oauth2",
        "token_url": token_url,
        "client_id": "env:ID",
        "client_secret": "env:KEY",
    }
    data = {
        "name": "a",
        "kind": "rest",
        "base_url": "http://a",
        "auth": auth,
        "endpoints": {"users": {"path": "/u"}},
    }
    with pytest.raises(SettingsError, match="token_url: this is no address"):
        validate(data, SourceFile("a.yaml", data))
