"""dlt's configuration of the destination; connection and staging come from the plan's `TrinoOptions`."""

from __future__ import annotations

import dataclasses
from typing import Final

from dlt.common.configuration import configspec
from dlt.common.destination.client import DestinationClientDwhConfiguration


@configspec
class TrinoClientConfiguration(DestinationClientDwhConfiguration):
    """Holds no secret: dlt writes configurations to its working folder and traces."""

    destination_type: Final[str] = dataclasses.field(default="trino", init=False, repr=False, compare=False)  # type: ignore[misc]
