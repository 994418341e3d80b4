"""Whole runs of `tvm-tiny tune` in processes of their own: killed and resumed, and by a fleet."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.shared import shared_path
from tvm_tiny.targets.target import resolve
from tvm_tiny.tuning.database import RECORDS, Database, Version

pytestmark = [pytest.mark.qemu, pytest.mark.slow]
pytest.importorskip("xgboost")
CORE, KEY = "cortex-m7", "runs"
PROGRAM = (sys.executable, "-c", "from tvm_tiny.cli import main; main()")
PATIENCE_S = 300.0
FOUND = ("key", "point", "best", "default", "costs")


def tuning(folder: Path, *options: str) -> list[str]:
    """Return the command line that tunes the model into a folder."""
    model = str(shared_path("models", "mlperf_tiny", "kws01_dscnn_int8.tflite"))
    where = ("--target", CORE, "--database", str(folder), "--seed", "3", "--trials", "6")
    return [*PROGRAM, "tune", model, *where, "--json", str(folder) + ".json", *options]


def run(folder: Path, *options: str) -> dict[str, Any]:
    """Tune, and return what was found."""
    subprocess.run(tuning(folder, *options), check=True, capture_output=True, timeout=PATIENCE_S)
    found: dict[str, Any] = json.loads(Path(str(folder) + ".json").read_text())
    return found


def results(found: dict[str, Any]) -> list[list[Any]]:
    """Return of each layer what must be the same in all runs."""
    return [[task[name] for name in FOUND] for task in found["tasks"]]


def lines(folder: Path) -> list[str]:
    """Return the finished lines of a database's records."""
    path = folder / RECORDS
    return path.read_text().splitlines(keepends=True) if path.exists() else []


def wait_until(is_true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not is_true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A run that nothing disturbs."""
    return run(tmp_path_factory.mktemp("whole") / "database")


def test_a_killed_process_goes_on_where_it_was(whole: dict[str, Any], tmp_path: Path) -> None:
    folder = tmp_path / "database"
    process = subprocess.Popen(tuning(folder), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_until(lambda: len(lines(folder)) > 7)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    kept = [line for line in lines(folder) if line.endswith("\n")]
    resumed = run(folder)
    assert results(resumed) == results(whole)
    assert 0 < len(kept) < whole["measured"]
    assert resumed["reused"] == len(kept)
    assert resumed["measured"] == whole["measured"] - len(kept)
    after = lines(folder)
    assert after[: len(kept)] == kept and len(after) == whole["measured"]
    known = Database(folder)
    version = Version.of(resolve(CORE))
    points = [known.known(task["key"], version) for task in whole["tasks"]]
    assert sum(map(len, points)) == len(after)  # no point has two lines


@pytest.fixture(scope="module")
def tracker() -> Iterator[int]:
    """Run TVM's tracker, and give its port."""
    from tvm.rpc.tracker import Tracker

    running = Tracker(host="127.0.0.1", port=19300, port_end=19400)
    yield int(running.port)
    running.terminate()


@pytest.fixture
def servers(tracker: int) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Run two servers in processes of their own."""
    asked = ("--board", "mps2-an500", "--tracker", f"127.0.0.1:{tracker}", "--key", KEY)
    command = [*PROGRAM, "rpc-server", *asked]
    started = [subprocess.Popen(command, start_new_session=True) for _ in range(2)]
    yield started
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def test_a_fleet_comes_to_the_same_when_a_server_dies(
    whole: dict[str, Any],
    tracker: int,
    servers: list[subprocess.Popen[bytes]],
    tmp_path: Path,
) -> None:
    folder = tmp_path / "database"
    options = ("--tracker", f"127.0.0.1:{tracker}", "--key", KEY)
    process = subprocess.Popen(tuning(folder, *options), stdout=subprocess.DEVNULL)
    wait_until(lambda: len(lines(folder)) > 4 or process.poll() is not None)
    os.killpg(servers[0].pid, signal.SIGKILL)
    assert process.wait(PATIENCE_S) == 0
    assert servers[0].wait(5) == -signal.SIGKILL and servers[1].poll() is None
    found = json.loads(Path(str(folder) + ".json").read_text())
    assert results(found) == results(whole)
    assert found["measured"] == whole["measured"] == len(lines(folder))
