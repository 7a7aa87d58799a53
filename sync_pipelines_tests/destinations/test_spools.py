"""Working folders of runs: private, in the home, and gone as soon as their process is."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

from sync_pipelines.destinations.spools import FOLDER, RunFolder, sweep_spools, working_folder

_HOLDING = """
import sys, time
from pathlib import Path
from sync_pipelines.destinations.spools import working_folder
with working_folder(Path(sys.argv[1])) as folder:
    (folder / "spool_0.parquet").write_bytes(b"records")
    print(folder, flush=True)
    time.sleep(600)
"""


def folders(home: Path) -> list[Path]:
    return sorted((home / FOLDER).glob("run_*"))


def test_a_folder_of_a_killed_process_is_swept_by_the_next_run_and_one_of_a_living_process_stays(
    tmp_path: Path,
) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", _HOLDING, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    left = Path(holder.stdout.readline().strip())
    with working_folder(tmp_path) as own:
        assert folders(tmp_path) == sorted([left, own])
        os.kill(holder.pid, signal.SIGKILL)
        holder.wait()
        holder.stdout.close()
        assert sweep_spools(tmp_path) == 1
        assert folders(tmp_path) == [own]
    assert folders(tmp_path) == []


def test_two_runs_of_one_process_do_not_sweep_each_other(tmp_path: Path) -> None:
    with working_folder(tmp_path) as one, working_folder(tmp_path) as other:
        assert folders(tmp_path) == sorted([one, other])


def test_only_the_owner_can_look_into_a_working_folder(tmp_path: Path) -> None:
    with working_folder(tmp_path / "home") as folder:
        for path in (folder, folder.parent, folder.parent.parent):
            assert stat.S_IMODE(path.stat().st_mode) == 0o700


def test_a_home_without_spools_has_nothing_to_sweep(tmp_path: Path) -> None:
    assert sweep_spools(tmp_path) == 0


def test_a_run_that_needs_no_folder_sweeps_those_of_processes_that_died(tmp_path: Path) -> None:
    with working_folder(tmp_path):
        pass
    left = tmp_path / FOLDER / "run_of_a_killed_process"
    left.mkdir()
    with RunFolder(tmp_path):
        assert folders(tmp_path) == []
