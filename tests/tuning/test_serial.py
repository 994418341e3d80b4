"""A measurement server at a serial port, which is here that of an emulated board."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.tuning.kernels import WRONG, add_call, trial_of
from tvm_tiny.errors import TargetError
from tvm_tiny.schedules.candidates import candidates
from tvm_tiny.targets.measurement.firmware import build_server
from tvm_tiny.targets.measurement.serial_port import SerialServer
from tvm_tiny.targets.target import Target, resolve
from tvm_tiny.tuning.measure import Bench
from tvm_tiny.tuning.trial import Measurement, Trial


@contextmanager
def board(target: Target) -> Iterator[str]:
    """Run the server on an emulated board, and give the path of its serial port."""
    emulator = target.board.emulator
    assert emulator is not None
    elf = build_server(target, "uart").elf
    quiet = ("-display", "none", "-monitor", "none", "-serial", "pty", "-kernel", str(elf))
    command = ["qemu-system-arm", "-machine", emulator.machine, *emulator.arguments, *quiet]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            found = re.search(r"redirected to (\S+)", process.stdout.readline())
            assert found is not None
            yield found[1]
        finally:
            process.kill()


@pytest.mark.qemu
@pytest.mark.parametrize("core", ["cortex-m4"])
def test_measuring_at_a_serial_port(core: str) -> None:
    target = resolve(core)
    right = Trial(add_call(), candidates(add_call(), target.core.features)[0], core)
    with board(target) as port:
        server = SerialServer(target, port, timeout_ms=200)
        with Bench(target, server=server) as bench:
            found = bench.measure([*(trial_of(code, core) for code in WRONG.values()), right])
    for reason, result in zip(WRONG, found, strict=False):
        assert reason in result.error
    assert found[-1] == Measurement(None, None)  # emulated cores do not count their cycles


def test_boards_without_a_known_port_have_no_server() -> None:
    with pytest.raises(TargetError, match="no serial port is known"):
        SerialServer(resolve("nucleo-l4r5zi"), "/dev/null")


def test_a_port_that_does_not_exist_is_an_error() -> None:
    with pytest.raises(TargetError, match="no serial port"):
        SerialServer(resolve("cortex-m4"), "/dev/no-such-port")
