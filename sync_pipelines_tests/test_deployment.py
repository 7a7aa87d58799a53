"""The files that a container engine would read: valid, and every path in them exists."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

PROJECT = Path(__file__).parents[1]


def test_compose_names_only_services_volumes_and_files_that_exist() -> None:
    compose = yaml.safe_load((PROJECT / "docker-compose.yml").read_text())
    services, volumes = compose["services"], compose["volumes"]
    assert {"postgres", "code", "webserver", "daemon"} <= services.keys()
    for service in services.values():
        assert set(service.get("depends_on", {})) <= services.keys()
        for volume in service.get("volumes", []):
            assert volume.split(":")[0] in volumes
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
