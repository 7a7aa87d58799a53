"""The dead-man's switch: a file and an address that hear something while all works, so that a monitor elsewhere notices
silence.
"""

from __future__ import annotations

import json
import logging
import os
from datetime import UTC, datetime
from pathlib import Path

from sync_pipelines.network.outbound import Outbound
from sync_pipelines.observe.webhooks import call_address
from sync_pipelines.settings import Settings

logger = logging.getLogger(__name__)

FILE_NAME = "heartbeat.json"


def sign_file(settings: Settings) -> Path:
    """The file whose age a monitor watches: ALERT_HEARTBEAT_FILE, or `heartbeat.json` in the home."""
    return settings.alerts.alert_heartbeat_file or settings.home / FILE_NAME


def give_sign_of_life(
    settings: Settings,
    looker: str,
    open_incidents: int,
) -> None:
    """Write the file anew, and call ALERT_HEARTBEAT_URL when it is set; an address that does not answer is logged.

    Raises:
        OSError: the file cannot be written.
    """
    path = sign_file(settings)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    partial.write_text(
        json.dumps(
            {
                "at": datetime.now(UTC).isoformat(),
                "looker": looker,
                "open_incidents": open_incidents,
            }
        )
        + "\n"
    )
    partial.replace(path)
    if settings.alerts.alert_heartbeat_url is None:
        return
    error = call_address(
        settings.alerts.alert_heartbeat_url.get_secret_value(),
        settings.alerts.alert_webhook_timeout_seconds,
        Outbound().with_settings(settings),
    )
    if error is not None:
        logger.warning("ALERT_HEARTBEAT_URL was not called: %s", error)
