"""The twin: a source API to be trusted for nothing but its own log of the truth.

It speaks the S2 contract over real HTTP, misbehaves on command, and knows at
any moment what a faithful copy of its tables has to look like. It runs on
its own: no other part of the project is imported here.
"""

from sync_pipelines.demo.twin.faults import Fault, FaultPlan, RequestInfo
from sync_pipelines.demo.twin.proxy import TcpProxy
from sync_pipelines.demo.twin.rowversions import (
    HexRowversions,
    IntegerRowversions,
    IsoRowversions,
    TimestampRowversions,
)
from sync_pipelines.demo.twin.server import TwinServer
from sync_pipelines.demo.twin.store import (
    NULL_ROWVERSION,
    LogEntry,
    Pending,
    TwinColumn,
    TwinStore,
    TwinTable,
    canonical_line,
    truth_digest,
)

__all__ = [
    "NULL_ROWVERSION",
    "Fault",
    "FaultPlan",
    "HexRowversions",
    "IntegerRowversions",
    "IsoRowversions",
    "LogEntry",
    "Pending",
    "RequestInfo",
    "TcpProxy",
    "TimestampRowversions",
    "TwinColumn",
    "TwinServer",
    "TwinStore",
    "TwinTable",
    "canonical_line",
    "truth_digest",
]
