"""The configuration files of a small Trino: one node, Iceberg and Hive on the local disk."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

ICEBERG_CATALOG = "iceberg"
HIVE_CATALOG = "hive"


@dataclass(frozen=True)
class ServerOptions:
    """How a server is set up.

    Attributes:
        heap_mb: most memory of Java's heap.
        quick_start: compile less; starts faster and computes slower, right for tests and wrong for benchmarks.
    """

    heap_mb: int = 512
    quick_start: bool = False


def write_layout(root: Path, home: Path, port: int, options: ServerOptions) -> Path:
    """Write the configuration below `root` and return its folder.

    Args:
        root: of this server; its tables are in `root/lake`.
        home: the installed Trino.
        port: free port of HTTP.
        options: memory and speed.
    """
    etc = root / "etc"
    lake = root / "lake"
    for folder in (etc / "catalog", lake, root / "data"):
        folder.mkdir(parents=True, exist_ok=True)
    files = {
        "node.properties": [
            "node.environment=local",
            "node.id=local",
            "node.bind-ip=127.0.0.1",
            "node.internal-address=127.0.0.1",
            f"node.data-dir={root / 'data'}",
        ],
        "log.properties": ["io.trino=WARN", "io.airlift=WARN", "org.apache=ERROR"],
        "config.properties": [
            "coordinator=true",
            "node-scheduler.include-coordinator=true",
            f"http-server.http.port={port}",
            f"discovery.uri=http://127.0.0.1:{port}",
            f"plugin.dir={home / 'plugin'}",
            f"catalog.config-dir={etc / 'catalog'}",
            f"query.max-memory-per-node={options.heap_mb * 6 // 10}MB",
            f"memory.heap-headroom-per-node={options.heap_mb // 8}MB",
            # Ended queries stay in memory so long, with plan and text; the default of 15 minutes fills a small heap.
            "query.min-expire-age=5m",
        ],
        # A file metastore: every commit is one atomic replacement of a file, under the lock of the one coordinator.
        f"catalog/{ICEBERG_CATALOG}.properties": [
            "connector.name=iceberg",
            "iceberg.catalog.type=TESTING_FILE_METASTORE",
            "hive.metastore.catalog.dir=local:///iceberg",
            "fs.native-local.enabled=true",
            f"local.location={lake}",
            "iceberg.unique-table-location=true",
        ],
        f"catalog/{HIVE_CATALOG}.properties": [
            "connector.name=hive",
            "hive.metastore=file",
            "hive.metastore.catalog.dir=local:///hive",
            "fs.native-local.enabled=true",
            f"local.location={lake}",
            "hive.security=allow-all",
            "hive.non-managed-table-writes-enabled=true",
            "hive.timestamp-precision=MICROSECONDS",
        ],
        "jvm.config": jvm_options(options),
    }
    for name, lines in files.items():
        (etc / name).write_text("\n".join(lines) + "\n")
    return etc


def jvm_options(options: ServerOptions) -> list[str]:
    """Java's options; without --add-modules=jdk.incubator.vector, which the wheel's JDK does not have."""
    return [
        f"-Xmx{options.heap_mb}m",
        "-XX:+ExitOnOutOfMemoryError",
        "-XX:ReservedCodeCacheSize=160M",
        "-XX:+UseSerialGC" if options.quick_start else "-XX:+UseG1GC",
        *(["-XX:TieredStopAtLevel=1"] if options.quick_start else []),
        "-Djdk.attach.allowAttachSelf=true",
        "-Dfile.encoding=UTF-8",
        "-Duser.timezone=UTC",
        "--sun-misc-unsafe-memory-access=allow",
        "--enable-native-access=ALL-UNNAMED",
    ]
