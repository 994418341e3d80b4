"""Two servers at a tracker on loopback: what one of them had is measured by the other."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from tests.support.layers import Layer
from tests.tuning.kernels import WRONG, add_call, trial_of
from tvm_tiny.errors import TargetError
from tvm_tiny.schedules.candidates import candidates
from tvm_tiny.schedules.dialect import call_of
from tvm_tiny.targets.target import resolve
from tvm_tiny.tuning import wire
from tvm_tiny.tuning.candidate_server import CandidateServer
from tvm_tiny.tuning.fleet import RemoteBench
from tvm_tiny.tuning.measure import Bench
from tvm_tiny.tuning.trial import Trial

CORE, KEY = "cortex-m7", "test-key"
LAYERS = ("conv1x1 4x4x8->8", "conv3x3 5x5x4->8", "dw3x3 5x5x8", "fc 16->8")


@pytest.fixture(scope="module")
def tracker() -> Iterator[int]:
    """Run TVM's tracker, and give its port."""
    from tvm.rpc.tracker import Tracker

    running = Tracker(host="127.0.0.1", port=19190, port_end=19290)
    yield int(running.port)
    running.terminate()


@pytest.fixture
def servers(tracker: int) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Run two servers in processes of their own."""
    program = "from tvm_tiny.cli import main; main()"
    asked = ("--board", "mps2-an500", "--tracker", f"127.0.0.1:{tracker}", "--key", KEY)
    command = [sys.executable, "-c", program, "rpc-server", *asked]
    started = [subprocess.Popen(command, start_new_session=True) for _ in range(2)]
    yield started
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def trials() -> list[Trial]:
    """Return enough trials for several batches, some of them bad."""
    calls = [call_of(Layer.parse(name).call()) for name in LAYERS]
    features = resolve(CORE).core.features
    good = [Trial(c, candidate, CORE) for c in calls for candidate in candidates(c, features)]
    return [*good, *(trial_of(code, CORE) for code in WRONG.values()), *good, *good]


def kill_one(servers: list[subprocess.Popen[bytes]], tracker: int) -> None:
    """Kill the first server when both are at work."""
    from tvm.rpc.base import TrackerCode

    deadline = time.monotonic() + 30
    with wire.connect_to_tracker(("127.0.0.1", tracker), 5) as line:
        while time.monotonic() < deadline:
            _, summary = wire.tell_tracker(line, TrackerCode.SUMMARY)
            queue = summary["queue_info"].get(f"{KEY}/{CORE}")
            if len(summary["server_info"]) == 2 and queue and queue["free"] == 0:
                break
            time.sleep(0.05)
    os.killpg(servers[0].pid, signal.SIGKILL)


@pytest.mark.qemu
def test_a_fleet_gives_the_same_when_a_server_dies(
    tracker: int, servers: list[subprocess.Popen[bytes]]
) -> None:
    asked = trials()
    with Bench(CORE) as bench:
        expected = bench.measure(asked)
    killer = threading.Thread(target=kill_one, args=(servers, tracker))
    killer.start()
    with RemoteBench(CORE, f"127.0.0.1:{tracker}", KEY) as bench:
        found = bench.measure(asked)
        killer.join()
        again = bench.measure(asked[:3])
    assert found == expected and again == expected[:3]
    assert servers[0].wait(5) == -signal.SIGKILL and servers[1].poll() is None


@pytest.mark.slow
def test_without_a_server_of_the_key_there_is_an_error(tracker: int) -> None:
    trial = Trial(add_call(), candidates(add_call())[0], CORE)
    with RemoteBench(CORE, ("127.0.0.1", tracker), "nobody", patience_s=0.5) as bench:
        with pytest.raises(TargetError, match="no server was free"):
            bench.measure([trial])


def test_servers_listen_on_loopback_and_take_only_batches() -> None:
    server = CandidateServer(resolve(CORE), ("127.0.0.1", 1), KEY)
    assert server._listening.getsockname()[0] == "127.0.0.1"
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.sendall(b"\x04\x00\x00\x00\x93\x01\x02\x03")
        with pytest.raises(OSError, match="no batch"):
            wire.receive_batch(theirs)
        ours.sendall((wire.MOST_BYTES + 1).to_bytes(4, "little"))
        with pytest.raises(OSError, match="too long"):
            wire.receive_batch(theirs)
    server.close()


def test_addresses() -> None:
    assert wire.parse_address("localhost:9190") == ("localhost", 9190)
    for text in ("localhost", ":9190", "host:port"):
        with pytest.raises(TargetError, match="HOST:PORT"):
            wire.parse_address(text)
