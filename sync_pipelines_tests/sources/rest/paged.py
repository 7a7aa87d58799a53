"""A list of users in the twin, paged in each of the declared ways."""

from __future__ import annotations

import json

from sync_pipelines.demo.twin import Fault

PAGINATIONS = {
    "none": {"type": "none"},
    "page": {"type": "page", "size_param": "size", "size": 10},
    "offset": {"type": "offset", "size": 10},
    "cursor": {"type": "cursor", "cursor_path": "$.meta.next", "size_param": "size", "size": 10},
    "link_header": {"type": "link_header", "size_param": "size", "size": 10},
    "next_link": {"type": "next_link", "next_path": "$.next", "size_param": "size", "size": 10},
}


ENVELOPED = ("cursor", "next_link")


def start(world, paging, count=25, auth="bearer", **options):
    served = world.serve(count, paging=paging, auth=auth, **options)
    return served, {
        "pagination": PAGINATIONS[paging],
        "records": "$.items" if paging in ENVELOPED else "$",
    }


def answering(world, records, headers=None, **beside):
    """Every request is answered by these records with something beside them."""
    body = json.dumps({"items": records, **beside}).encode()
    world.serve(0)
    world.faults.add(Fault(kind="rest", times=None, body=body, headers=headers or {}))
