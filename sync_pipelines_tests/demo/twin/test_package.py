"""What the twin is as a package: independent, exported, and able to speak TLS."""

import ast
import shutil
import ssl
import subprocess
import time
import urllib.request
from pathlib import Path

import pytest

import sync_pipelines.demo.twin as twin_package
from sync_pipelines.demo.twin import TwinServer, TwinStore

from .helpers import TOKEN

SOURCES = sorted(Path(twin_package.__file__).parent.glob("*.py"))


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_module_imports_nothing_of_the_project_but_the_twin(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0
            assert not node.module.startswith("sync_pipelines") or node.module.startswith(
                "sync_pipelines.demo.twin"
            )
        elif isinstance(node, ast.Import):
            assert not any(alias.name.startswith("sync_pipelines") for alias in node.names)


def test_everything_exported_exists():
    assert twin_package.__all__ == sorted(
        twin_package.__all__, key=lambda name: (not name.isupper(), name)
    )
    assert all(getattr(twin_package, name) for name in twin_package.__all__)


def test_a_server_starts_and_stops_in_a_blink():
    started = time.perf_counter()
    for _ in range(5):
        with TwinServer(TwinStore(), TOKEN):
            pass
    assert time.perf_counter() - started < 1


@pytest.mark.skipif(
    shutil.which("openssl") is None, reason="needs the openssl program to make a certificate"
)
def test_self_signed_twin_is_refused_by_a_careful_caller(tmp_path):
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    request = "openssl req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=elsewhere"
    subprocess.run(
        [*request.split(), "-keyout", key, "-out", certificate], check=True, capture_output=True
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with TwinServer(TwinStore(), TOKEN, ssl_context=context) as twin:
        assert twin.url.startswith("https://")
        with pytest.raises(OSError, match="CERTIFICATE_VERIFY_FAILED"):
            urllib.request.urlopen(f"{twin.url}/_twin/health", timeout=5)
        careless = ssl._create_unverified_context()
        assert (
            urllib.request.urlopen(f"{twin.url}/_twin/health", timeout=5, context=careless).status
            == 200
        )
