"""A real Trino on this machine, for demo, tests and benchmarks: fetched by Maven, run on a JDK from a wheel."""

from sync_pipelines.demo.trino_server.artifacts import TRINO_VERSION, install_trino
from sync_pipelines.demo.trino_server.layout import ServerOptions
from sync_pipelines.demo.trino_server.process import RunningTrino, TrinoProcess

__all__ = ["TRINO_VERSION", "RunningTrino", "ServerOptions", "TrinoProcess", "install_trino"]
