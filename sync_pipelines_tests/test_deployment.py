"""The files that a container engine would read: valid, and every path in them exists."""

from __future__ import annotations

import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml

from sync_pipelines.cli.shell.homes import DAGSTER_PATIENCE
from sync_pipelines.demo.trino_server import TRINO_VERSION
from sync_pipelines.destinations.trino.options import TrinoSettings
from sync_pipelines.orchestrate.instance_storage import (
    CATALOG,
    HOME_VARIABLE,
    URL_VARIABLE,
    psycopg2_url,
)
from sync_pipelines.settings import Settings

PROJECT = Path(__file__).parents[1]
COMPOSE = yaml.safe_load((PROJECT / "docker-compose.yml").read_text())
OURS = {name: service for name, service in COMPOSE["services"].items() if "build" in service}
COMMANDS = [service["command"] for service in OURS.values()] + [
    service["healthcheck"]["test"][1:] for service in OURS.values() if "healthcheck" in service
]


def plain(text: str) -> str:
    """The text with each variable replaced by its default."""
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text)


def test_compose_names_only_services_volumes_and_files_that_exist() -> None:
    compose = yaml.safe_load((PROJECT / "docker-compose.yml").read_text())
    services, volumes = compose["services"], compose["volumes"]
    assert {"postgres", "code", "webserver", "daemon"} <= services.keys()
    for service in services.values():
        assert set(service.get("depends_on", {})) <= services.keys()
        for volume in service.get("volumes", []):
            source = plain(volume).split(":")[0]
            assert (PROJECT / source).is_dir() if source.startswith(".") else source in volumes
        assert service.get("build", {"context": "."})["context"] == "."


def test_every_image_has_a_tag_and_a_digest_and_is_named_in_one_place() -> None:
    images = COMPOSE["x-images"]
    assert {
        service["image"] for service in COMPOSE["services"].values() if "build" not in service
    } == set(images.values()) - {images["base"]}
    assert {service["build"]["args"]["BASE_IMAGE"] for service in OURS.values()} == {images["base"]}
    [fallback] = re.findall(
        r"^ARG BASE_IMAGE=(.+)$", (PROJECT / "Dockerfile").read_text(), re.MULTILINE
    )
    assert fallback == images["base"]
    for name, image in images.items():
        # docs/security.md says why.
        digest = "" if name == "iceberg-rest" else "@sha256:[0-9a-f]{64}"
        assert re.fullmatch(rf"[a-z/-]+:(?!latest)[\w.-]+{digest}", image), image
    text = (PROJECT / "docker-compose.yml").read_text()
    assert [image for image in images.values() if text.count(image) != 1] == []


SECRET_NAMES = re.compile(r"PASSWORD|SECRET|TOKEN|ACCESS_KEY(?!_ID)")


def test_no_password_has_a_default() -> None:
    values = [
        (name, value)
        for service in COMPOSE["services"].values()
        for name, value in service.get("environment", {}).items()
        if SECRET_NAMES.search(name)
    ]
    assert len(values) >= 5
    assert [
        name for name, value in values if not re.fullmatch(r"\$\{\w+(:-|:\?[^}]+)\}", value)
    ] == []
    for line in (PROJECT / ".env.example").read_text().splitlines():
        name, equals, value = line.lstrip("#").partition("=")
        assert not (
            equals and SECRET_NAMES.search(name) and re.fullmatch(r"\w+", name) and value
        ), line
    for name in re.findall(
        r"^(?:ENV|ARG) (.+)$", (PROJECT / "Dockerfile").read_text(), re.MULTILINE
    ):
        assert not SECRET_NAMES.search(name)


def test_a_storage_without_a_password_does_not_start_and_says_why() -> None:
    shell, option, script = COMPOSE["services"]["storage"]["entrypoint"]
    refused = subprocess.run(
        [shell, option, script.replace("$$", "$")],
        env={},
        capture_output=True,
        text=True,
        timeout=20,
    )
    assert (refused.returncode, refused.stderr) == (64, "set STORAGE_PASSWORD in .env\n")


def test_every_file_that_the_image_copies_exists() -> None:
    copied = re.findall(r"^COPY (.+) \S+$", (PROJECT / "Dockerfile").read_text(), re.MULTILINE)
    assert copied
    for sources in copied:
        for source in sources.split():
            assert (PROJECT / source).exists(), source


def test_workspaces_load_the_one_code_location() -> None:
    local = yaml.safe_load((PROJECT / "workspace.yaml").read_text())
    [location] = local["load_from"]
    assert location["python_module"]["module_name"] == "sync_pipelines.definitions"
    deployed = yaml.safe_load((PROJECT / "deploy/workspace.yaml").read_text())
    compose = yaml.safe_load((PROJECT / "docker-compose.yml").read_text())
    [server] = deployed["load_from"]
    assert server["grpc_server"]["host"] in compose["services"]
    assert str(server["grpc_server"]["port"]) in compose["services"]["code"]["command"]


def test_no_healthcheck_port_differs_from_its_command() -> None:
    services = yaml.safe_load((PROJECT / "docker-compose.yml").read_text())["services"]
    for name, option in (
        ("code", "--port"),
        ("webserver", "--port"),
        ("webserver-read-only", "--port"),
    ):
        port = services[name]["command"][services[name]["command"].index(option) + 1]
        assert port in " ".join(services[name]["healthcheck"]["test"])


def test_only_a_ui_that_changes_nothing_leaves_this_host() -> None:
    published = {
        name: service["ports"]
        for name, service in COMPOSE["services"].items()
        if "ports" in service
    }
    beyond = {
        name
        for name, ports in published.items()
        if not all(port.startswith("127.0.0.1:") for port in ports)
    }
    assert beyond == {"webserver-read-only"}
    assert "--read-only" in OURS["webserver-read-only"]["command"]
    assert all("dagster-webserver" not in command for command in COMMANDS)
    assert "dagster-webserver" not in (PROJECT / "Dockerfile").read_text()


@cache
def help_of(*words: str) -> str:
    """What an installed command says of itself; fails for a subcommand that does not exist."""
    command = (
        Path(sys.executable) if words[0] == "python" else Path(sys.executable).with_name(words[0])
    )
    assert command.exists(), words
    printed = subprocess.run(
        [command, *words[1:], "--help"], capture_output=True, text=True, timeout=120
    )
    assert printed.returncode == 0, printed.stderr
    return printed.stdout


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_and_option_exists_in_what_the_image_installs(command: list[str]) -> None:
    if command[0] == "python" and command[1] == "-c":
        compile(command[2], "docker-compose.yml", "exec")
        return
    if command[0] == "python":
        assert command[1] == "-m"
        assert (PROJECT / f"{command[2].replace('.', '/')}.py").exists()
    start = 3 if command[0] == "python" else 0
    first_option = next(
        (place for place, word in enumerate(command) if place >= start and word.startswith("-")),
        len(command),
    )
    printed = help_of(*command[:first_option])
    for word in command[first_option:]:
        assert not word.startswith("-") or re.search(rf"(^|[\s,]){re.escape(word)}\b", printed), (
            word
        )
        if word.endswith(".yaml"):
            assert (PROJECT / "deploy" / word).exists()
        if word.startswith("sync_pipelines."):
            assert (PROJECT / f"{word.replace('.', '/')}.py").exists()


def test_every_variable_of_compose_and_image_is_one_that_somebody_reads() -> None:
    known = {
        alias.upper() for field in Settings.model_fields.values() for alias in aliases(field)
    } | {
        *(name.upper() for name in Settings.model_fields),
        HOME_VARIABLE,
        "PYTHONUNBUFFERED",
        "PYTHONDONTWRITEBYTECODE",
        *(f"TRINO_{name.upper()}" for name in TrinoSettings.model_fields),
        *DAGSTER_PATIENCE,
        # Read by the client of the storage, pyarrow.fs.
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
    }
    named = {name for service in OURS.values() for name in service["environment"]}
    named |= set(
        re.findall(
            r"([A-Z_]+)=",
            " ".join(re.findall(r"^ENV (.+)$", (PROJECT / "Dockerfile").read_text(), re.MULTILINE)),
        )
    )
    assert named
    assert {name for name in named if name.upper() not in known} == set()


def aliases(field) -> list[str]:
    """The names that a setting has in the environment."""
    alias = field.validation_alias
    return (
        []
        if alias is None
        else [alias]
        if isinstance(alias, str)
        else [str(choice) for choice in alias.choices]
    )


def test_every_setting_is_listed_for_people() -> None:
    listed = set(
        re.findall(r"^#?([A-Za-z_]+)=", (PROJECT / ".env.example").read_text(), re.MULTILINE)
    )
    for name, field in Settings.model_fields.items():
        assert {*aliases(field), name.upper()} & listed, f"{name} is missing in .env.example"


def test_storage_and_web_server_of_compose_are_where_it_says() -> None:
    environment = OURS["code"]["environment"]
    fallback = re.fullmatch(r"\$\{SYNC_PIPELINES_DAGSTER_URL:-(.+)\}", environment[URL_VARIABLE])[1]
    assert fallback == CATALOG or psycopg2_url(fallback)
    webserver = urlsplit(environment["DAGSTER_WEBSERVER_URL"])
    assert webserver.hostname in COMPOSE["services"]
    assert str(webserver.port) in OURS["webserver"]["command"]
    assert environment["POSTGRES_HOST"] in COMPOSE["services"]


def test_every_service_that_stays_has_a_healthcheck_and_waits_for_what_it_needs() -> None:
    for name, service in COMPOSE["services"].items():
        if service.get("restart") != "no":
            assert service["healthcheck"]["test"][0] == "CMD", name
        for other, condition in service.get("depends_on", {}).items():
            ends = COMPOSE["services"][other].get("restart") == "no"
            assert condition["condition"] == (
                "service_completed_successfully" if ends else "service_healthy"
            )


def test_trino_and_what_it_needs_start_only_with_their_profile() -> None:
    services = yaml.safe_load((PROJECT / "docker-compose.yml").read_text())["services"]
    profile = {name for name, service in services.items() if service.get("profiles") == ["trino"]}
    assert profile == {"trino", "iceberg-rest", "iceberg-volume", "storage", "bucket"}
    for name in services.keys() - profile:
        assert not set(services[name].get("depends_on", {})) & profile
    assert services["trino"]["image"].startswith(f"trinodb/trino:{TRINO_VERSION}@")
    assert all(
        port.startswith("127.0.0.1:")
        for name in profile
        for port in services[name].get("ports", [])
    )


def test_the_catalogs_of_trino_name_services_and_variables_of_the_compose_file() -> None:
    services = yaml.safe_load((PROJECT / "docker-compose.yml").read_text())["services"]
    for name, connector in (
        ("iceberg", "iceberg"),
        (TrinoSettings(_env_file=None).staging_catalog, "hive"),
    ):
        text = (PROJECT / "deploy/trino/catalog" / f"{name}.properties").read_text()
        lines = [line for line in text.splitlines() if line and not line.startswith("#")]
        known = dict(line.split("=", 1) for line in lines)
        assert known["connector.name"] == connector
        for value in known.values():
            if value.startswith("http://"):
                assert value.removeprefix("http://").split(":")[0] in services
            for variable in re.findall(r"\$\{ENV:(\w+)\}", value):
                assert variable in services["trino"]["environment"]
        assert not any("key=" in line and "${ENV:" not in line for line in lines)


def test_containers_wait_for_the_code_server_as_long_as_up_does() -> None:
    for service in OURS.values():
        assert {name: service["environment"][name] for name in DAGSTER_PATIENCE} == DAGSTER_PATIENCE


def test_no_container_has_more_rights_than_it_needs() -> None:
    for name, service in COMPOSE["services"].items():
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["mem_limit"] and service["pids_limit"], name
    for name in (*OURS, "postgres"):
        assert COMPOSE["services"][name]["read_only"] is True
        assert "/tmp" in COMPOSE["services"][name]["tmpfs"]
    assert not any("cap_add" in service for service in OURS.values())


def test_what_our_containers_write_is_in_volumes_that_their_user_owns() -> None:
    image = (PROJECT / "Dockerfile").read_text()
    [owned] = re.findall(r"chown -R sync (.+)$", image, re.MULTILINE)
    folders = [
        f"/opt/sync_pipelines/{folder}" if not folder.startswith("/") else folder
        for folder in owned.split()
    ]
    for service in OURS.values():
        for volume in service["volumes"]:
            target, _, mode = plain(volume).partition(":")[2].partition(":")
            assert mode == "ro" or any(
                target == folder or target.startswith(f"{folder}/") for folder in folders
            ), volume
    assert re.search(r"--uid \d{5}\b", image)
    assert image.rindex("USER sync") > image.rindex("RUN ")


def test_gates_and_models_of_a_person_can_be_mounted() -> None:
    for service in OURS.values():
        targets = [plain(volume).split(":")[1] for volume in service["volumes"]]
        assert (
            f"{service['environment'].get('SYNC_PIPELINES_HOME', '/var/lib/sync_pipelines')}/gates"
            in targets
        )
        assert "/opt/sync_pipelines/dbt_like_sql" in targets


def test_the_engine_is_sent_what_the_image_copies_and_nothing_else() -> None:
    lines = [
        line
        for line in (PROJECT / ".dockerignore").read_text().splitlines()
        if line and not line.startswith("#")
    ]
    assert lines[0] == "*"
    allowed = {line[1:] for line in lines if line.startswith("!")}
    copied = " ".join(
        re.findall(r"^COPY (.+) \S+$", (PROJECT / "Dockerfile").read_text(), re.MULTILINE)
    ).split()
    assert {source.removeprefix("./").split("/")[0] for source in copied} == allowed


def test_health_checks_are_cheap_and_the_database_is_asked_by_tcp() -> None:
    for name, service in OURS.items():
        if "healthcheck" in service:
            assert service["healthcheck"]["test"][1] == "python", (
                f"{name}: a command of Dagster imports all of it"
            )
            assert int(service["healthcheck"]["interval"].removesuffix("s")) >= 30, name
    assert "-h" in COMPOSE["services"]["postgres"]["healthcheck"]["test"]
    assert "--wait" in OURS["migrate"]["command"]


@pytest.mark.parametrize(
    "module",
    [
        "sync_pipelines.supervise.ping",
        "sync_pipelines.supervise.daemon",
        "sync_pipelines.supervise.code_server",
    ],
)
def test_what_supervises_imports_no_dagster(module: str) -> None:
    code = f"import sys, {module}; sys.exit('dagster' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=120).returncode == 0
