"""PostgreSQL beyond this machine is spoken to over TLS with a verified certificate, unless somebody says otherwise."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from urllib.parse import quote

import psycopg
from psycopg.conninfo import conninfo_to_dict

from sync_pipelines.network.addresses import is_loopback_host

DEFAULT_SSLMODE = "verify-full"
WAY_OUT = (
    "give its CA with POSTGRES_SSLROOTCERT=/path/ca.pem (or system), or say what the way there needs:"
    " POSTGRES_SSLMODE=verify-ca, require or disable (in POSTGRES_URL and SYNC_PIPELINES_DAGSTER_URL: ?sslmode=…)"
)
_DRIVER = re.compile(r"^(postgres(?:ql)?)\+\w+://")
_TLS_TROUBLE = re.compile(
    r"root certificate file|certificate verify failed|does not support SSL|does not match host name|server"
    r" certificate|weak sslmode",
    re.IGNORECASE,
)


def is_local(conninfo: Mapping[str, object], environ: Mapping[str, str] | None = None) -> bool:
    """The server is on this machine: a socket, or loopback; of several hosts, all of them."""
    environ = os.environ if environ is None else environ
    hosts = str(
        conninfo.get("hostaddr")
        or conninfo.get("host")
        or environ.get("PGHOSTADDR")
        or environ.get("PGHOST")
        or ""
    )
    return all(
        not host or host.startswith(("/", "@")) or is_loopback_host(host)
        for host in hosts.split(",")
    )


def with_verified_tls(
    url: str,
    *,
    rootcert: str | None = None,
    environ: Mapping[str, str] | None = None,
) -> str:
    """A libpq URL or conninfo with `sslmode=verify-full`, where the server is elsewhere and no mode is given.

    Args:
        url: as given, possibly with a driver of SQLAlchemy; what cannot be read is returned as it is, for libpq to
            refuse.
        rootcert: the CA's file, or `system`; used where the URL names none.
        environ: of this process when None; PGSSLMODE counts as given.
    """
    environ = os.environ if environ is None else environ
    try:
        known = conninfo_to_dict(_DRIVER.sub(r"\1://", url))
    except psycopg.Error:
        return url
    wanted: dict[str, str] = {}
    if not (is_local(known, environ) or "sslmode" in known or environ.get("PGSSLMODE")):
        wanted["sslmode"] = DEFAULT_SSLMODE
    if rootcert is not None and "sslrootcert" not in known and not is_local(known, environ):
        wanted["sslrootcert"] = rootcert
    if not wanted:
        return url
    if "://" not in url:
        return psycopg.conninfo.make_conninfo(url, **wanted)
    head, question, query = url.partition("?")
    joined = "&".join(
        [
            *([query] if question and query else []),
            *(f"{name}={quote(value)}" for name, value in wanted.items()),
        ]
    )
    return f"{head}?{joined}"


def is_tls_trouble(message: str) -> bool:
    """A refused connection whose reason is the certificate, or that there is none."""
    return _TLS_TROUBLE.search(message) is not None
