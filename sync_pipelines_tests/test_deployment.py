"""The files that a container engine would read: valid, and every path in them exists."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from sync_pipelines.load.trino.options import TrinoSettings
from sync_pipelines.trino_server import TRINO_VERSION

PROJECT = Path(__file__).parents[1]


def test_compose_names_only_services_volumes_and_files_that_exist() -> None:
    compose = yaml.safe_load((PROJECT / "docker-compose.yml").read_text())
    services, volumes = compose["services"], compose["volumes"]
    assert {"postgres", "code", "webserver", "daemon"} <= services.keys()
    for service in services.values():
        assert set(service.get("depends_on", {})) <= services.keys()
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert (PROJECT / source).is_dir() if source.startswith(".") else source in volumes
        assert service.get("build", ".") == "."


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
    for name in ("code", "webserver"):
        port = services[name]["command"][services[name]["command"].index("-p") + 1]
        assert port in " ".join(services[name]["healthcheck"]["test"])


def test_trino_and_what_it_needs_start_only_with_their_profile() -> None:
    services = yaml.safe_load((PROJECT / "docker-compose.yml").read_text())["services"]
    profile = {name for name, service in services.items() if service.get("profiles") == ["trino"]}
    assert profile == {"trino", "iceberg-rest", "storage", "bucket"}
    for name in services.keys() - profile:
        assert not set(services[name].get("depends_on", {})) & profile
    assert services["trino"]["image"] == f"trinodb/trino:{TRINO_VERSION}"
    assert all(port.startswith("127.0.0.1:") for name in profile for port in services[name].get("ports", []))


def test_the_catalogs_of_trino_name_services_and_variables_of_the_compose_file() -> None:
    services = yaml.safe_load((PROJECT / "docker-compose.yml").read_text())["services"]
    for name, connector in (("iceberg", "iceberg"), (TrinoSettings(_env_file=None).staging_catalog, "hive")):
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
