"""Ask a code server whether the definitions behind it answer; `python -m sync_pipelines.supervise.ping --port 4000`.

`dagster code-server` is a proxy: its own health check says that the proxy serves, also when the inner server, which
holds the definitions, is gone. The call `Ping` is passed on to the inner server. It is made here without importing
Dagster, because a health check that takes three CPU seconds every ten is a third of a core.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from enum import StrEnum

import grpc

from sync_pipelines.secrets import printable

PING_SECONDS = 10.0
# The message PingRequest with "ping" as its first field, `echo`.
_REQUEST = b"\x0a\x04ping"
_METHOD = "/api.DagsterApi/Ping"


class Pulse(StrEnum):
    """How a code server took a ping."""

    ALIVE = "alive"
    SLOW = "slow"
    DEAD = "dead"


@dataclass(frozen=True)
class Answer:
    """What a ping found.

    Attributes:
        pulse: SLOW when nothing came in time, DEAD when the answer was an error or nobody listens.
        reason: why it is not alive, in words of gRPC; empty otherwise.
    """

    pulse: Pulse
    reason: str = ""


def ping(target: str, seconds: float = PING_SECONDS) -> Answer:
    """Ask the inner server behind the code server at `target`, `host:port` or `unix:/path`.

    Never raises for a dead one.
    """
    with grpc.insecure_channel(target) as channel:
        call = channel.unary_unary(
            _METHOD, request_serializer=_as_it_is, response_deserializer=_as_it_is
        )
        try:
            call(_REQUEST, timeout=seconds)
        except grpc.RpcError as error:
            code = error.code()
            pulse = Pulse.SLOW if code is grpc.StatusCode.DEADLINE_EXCEEDED else Pulse.DEAD
            first_line = (error.details() or "no details").splitlines()[0]
            return Answer(pulse, f"{code.name}: {printable(first_line, 300)}")
    return Answer(Pulse.ALIVE)


def _as_it_is(message: bytes) -> bytes:
    return message


def target_of(
    *,
    host: str = "localhost",
    port: int | None = None,
    socket: str | None = None,
) -> str:
    """The address of a code server as gRPC names it."""
    return f"unix:{socket}" if socket else f"{host}:{port}"


def main(arguments: list[str] | None = None) -> int:
    """Exit code 0 when the definitions answer, 1 with the reason on stderr when they do not."""
    parser = argparse.ArgumentParser(
        prog="python -m sync_pipelines.supervise.ping", description="Do the definitions answer?"
    )
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--port", type=int, help="port of the code server")
    where.add_argument("--socket", help="socket of the code server")
    parser.add_argument("--host", default="localhost", help="its host (localhost)")
    parser.add_argument(
        "--seconds",
        type=float,
        default=PING_SECONDS,
        help=f"how long to wait for the answer ({PING_SECONDS:g})",
    )
    chosen = parser.parse_args(arguments)
    answer = ping(
        target_of(
            host=chosen.host,
            port=chosen.port,
            socket=chosen.socket,
        ),
        chosen.seconds,
    )
    if answer.pulse is Pulse.ALIVE:
        return 0
    sys.stderr.write(f"The definitions do not answer: {answer.reason}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
