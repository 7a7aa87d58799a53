"""Rows of `bridge.heartbeats`: when each of those who look for incidents was last heard of, and since when without a
gap.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

import psycopg

# A gap is a pause between two looks of more than so many seconds, and of more than so many times the pause before it: a
# paused machine, a sleeping laptop, a program that was not running. Whoever looks every five minutes is not resumed
# every five minutes.
GAP_SECONDS = 90
GAP_FACTOR = 3


class Looker(StrEnum):
    """Who looks for incidents: the sensor in Dagster, `alerts watch` beside it, or `alerts run` by cron or by hand."""

    DAGSTER = "dagster"
    WATCH = "watch"
    CRON = "cron"


@dataclass(frozen=True)
class Heartbeat:
    """One looker.

    Attributes:
        last_at: its last look.
        resumed_at: the end of its last gap, or its first look when others had looked before; None when it never had
            one.
    """

    looker: str
    last_at: datetime
    resumed_at: datetime | None


def beat(connection: psycopg.Connection[Any], looker: Looker) -> None:
    """Write down that a looker looks now, on the caller's transaction."""
    connection.execute(
        """
        INSERT INTO heartbeats (looker, resumed_at) SELECT %(looker)s, (SELECT now() FROM heartbeats LIMIT 1)
        ON CONFLICT (looker) DO UPDATE SET
            last_at = clock_timestamp(),
            pause_seconds = extract(epoch FROM clock_timestamp() - heartbeats.last_at),
            resumed_at = CASE WHEN extract(epoch FROM clock_timestamp() - heartbeats.last_at)
                > greatest(%(gap)s, %(factor)s * heartbeats.pause_seconds) THEN clock_timestamp() ELSE
                    heartbeats.resumed_at END
        """,
        {"looker": looker, "gap": GAP_SECONDS, "factor": GAP_FACTOR},
    )


def read_heartbeats(connection: psycopg.Connection[Any]) -> tuple[Heartbeat, ...]:
    """All lookers that were ever heard of."""
    return tuple(
        Heartbeat(**row)
        for row in connection.execute(
            "SELECT looker, last_at, resumed_at FROM heartbeats ORDER BY looker"
        )
    )
