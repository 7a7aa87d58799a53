"""Peaks of memory for inputs that are small or large in the wrong place; each in a process of its own."""

from __future__ import annotations

import subprocess
import sys
import textwrap

_HEAD = """
import resource, tempfile
from pathlib import Path
from sync_pipelines.batches.decode import PageDecoder
from sync_pipelines.sources.declared.keeper import Keeper
from sync_pipelines.model.endpoint import Endpoint
from sync_pipelines_tests.batches.helpers import column, decode, entity_of, key
from sync_pipelines_tests.gate.helpers import dmn, levels, gate_of
ENTITY = entity_of(key("id", "BIGINT"), column("name"), column("extra", "JSON"))

def peak_bytes():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
"""
VALUE_BYTES = 120_000_000


def peak_of(script: str) -> int:
    """Bytes by which a script raises the peak of its process after `BEFORE` was taken."""
    text = _HEAD + textwrap.dedent(script) + "\nprint(peak_bytes() - BEFORE)\n"
    done = subprocess.run(
        [sys.executable, "-c", text], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    return int(done.stdout.splitlines()[-1])


def test_a_huge_value_goes_to_quarantine_without_being_copied() -> None:
    added = peak_of(
        f"""
        body = b'{{"rows":[{{"row_version":"5","data":{{"id":7,"name":"' + b"x" * {VALUE_BYTES} + b'"}}}}]}}'
        BEFORE = peak_bytes()
        page = decode(PageDecoder(ENTITY), 1, body)
        (reject,) = page.rejects
        assert (reject.business_key, reject.rowversion, reject.column) == (("7",), "5", "name")
        assert "too large" in reject.reason and len(reject.record) < 1000
        """
    )
    assert added < VALUE_BYTES / 4


def test_a_huge_value_of_a_declared_source_is_not_copied_either() -> None:
    added = peak_of(
        f"""
        endpoint = Endpoint.model_validate({{"path": "/items", "records": "$.data", "key": ["id"]}})
        body = b'{{"data":[{{"id":7,"name":{{"deep":"' + b"x" * {VALUE_BYTES} + b'"}}}}]}}'
        BEFORE = peak_bytes()
        kept = Keeper(endpoint, ["id", "name", "extra"]).keep(body)
        (reject,) = decode(PageDecoder(ENTITY), 1, kept.body).rejects
        assert reject.business_key == ("7",) and len(reject.record) < 1000
        """
    )
    assert added < VALUE_BYTES / 4


def test_a_page_that_is_read_record_by_record_holds_one_record_beside_it() -> None:
    added = peak_of(
        """
        row = b'{"row_version":"1","data":{"id":%d,"name":"\\\\u0000%s"}}'
        rows = [row % (place, b"x" * 15_000_000) for place in range(8)]
        body = b'{"rows":[' + b",".join(rows) + b"]}"
        del rows
        BEFORE = peak_bytes()
        assert len(PageDecoder(ENTITY).decode(1, body).rejects) == 8
        """
    )
    assert added < 3 * VALUE_BYTES  # the rejected records themselves are one of it


def test_a_cell_of_fifty_thousand_literals_is_cheap() -> None:
    added = peak_of(
        """
        cells = ",".join(f'"{number}"' for number in range(50_000))
        table = dmn(cells + ' | "PASS"', inputs="name:string", policy="FIRST", default='"FAIL"')
        BEFORE = peak_bytes()
        text = "decision: {file: d.dmn, verdicts: {PASS: pass, FAIL: reject}}"
        with tempfile.TemporaryDirectory() as folder:
            gate = gate_of(Path(folder), text, ENTITY, d_dmn=table)
        assert levels(gate, (1, "49999", None), (2, "50000", None), (3, None, None)) == ["pass", "reject", "reject"]
        """
    )
    assert added < 250_000_000
