"""A measurement server on the emulator: one long-lived process, started again when it ends."""

from __future__ import annotations

import os
import select
import subprocess
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO

import numpy as np

from tvm_tiny.errors import FaultError, HangError, TargetError
from tvm_tiny.targets.measurement import protocol
from tvm_tiny.targets.measurement.firmware import Server, build_server
from tvm_tiny.targets.measurement.protocol import Answer, Counts, Request
from tvm_tiny.targets.plugin import plugin_path
from tvm_tiny.targets.qemu import command, escaped, no_plugin_error
from tvm_tiny.targets.target import Target

INSTRUCTION_LIMIT = 400_000_000  # more than any kernel of the models needs, by far
DEFAULT_TIMEOUT_S = 30.0
_CLOSING_S = 2.0


@dataclass(frozen=True)
class _Process:
    """A running emulator: pipes to it and from it, and what it complains about."""

    process: subprocess.Popen[bytes]
    requests: int
    answers: int
    counts: int
    folder: tempfile.TemporaryDirectory[str]
    messages: IO[bytes]

    def stop(self) -> str:
        """End it, give everything back, and return what it said."""
        os.close(self.requests)  # the server ends by itself when nobody can ask any more
        try:
            self.process.wait(_CLOSING_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        os.close(self.answers)
        os.close(self.counts)
        self.messages.seek(0)
        text = self.messages.read().decode(errors="replace").strip()
        self.messages.close()
        self.folder.cleanup()
        return text


class EmulatedServer:
    """Answers requests one after the other; a context manager.

    A subject that executes more than `instruction_limit` instructions, or takes longer than
    `timeout_s`, ends the emulator, and the next request starts another.
    """

    def __init__(
        self,
        target: Target,
        *,
        instruction_limit: int = INSTRUCTION_LIMIT,
        timeout_s: float = DEFAULT_TIMEOUT_S,
    ) -> None:
        """Build the firmware; the emulator starts with the first request."""
        if target.board.emulator is None:
            raise TargetError("this board has no emulator to measure on", where=target.name)
        self.target, self.timeout_s = target, timeout_s
        self.instruction_limit = instruction_limit
        self.server: Server = build_server(target)
        self.busy_s = 0.0  # spent in waiting for the emulator
        self._process: _Process | None = None

    @property
    def is_running(self) -> bool:
        """Whether the next request finds what earlier ones wrote."""
        return self._process is not None

    def __enter__(self) -> EmulatedServer:
        """Nothing yet: it starts when it is asked."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the emulator."""
        self.close()

    def close(self) -> None:
        """End the emulator, if it runs."""
        if self._process is not None:
            process, self._process = self._process, None
            process.stop()

    def ask(self, request: Request) -> Answer:
        """What a request gives.

        A fault of the subject is part of the answer. Raises HangError for a subject that does not
        end, and FaultError when the emulator itself ends.
        """
        started = time.perf_counter()
        if self._process is None:
            self._process = self._start()
        try:
            deadline = time.monotonic() + self.timeout_s
            self._send(request.encode(), deadline)
            return self._receive(request, deadline)
        except (EOFError, BrokenPipeError):
            raise self._lost() from None
        except HangError:
            self._kill()
            raise
        finally:
            self.busy_s += time.perf_counter() - started

    def _start(self) -> _Process:
        folder = tempfile.TemporaryDirectory(prefix="tvm_tiny-")
        request_end, requests = os.pipe()
        answers, answer_end = os.pipe()
        counts, count_end = os.pipe()
        ends = (request_end, answer_end, count_end)
        for name, end in (("requests", request_end), ("answers", answer_end)):
            (Path(folder.name) / name).symlink_to(f"/dev/fd/{end}")
        messages = tempfile.TemporaryFile()
        assert self.target.board.emulator is not None
        process = subprocess.Popen(
            command(self.target.board.emulator, self.server.elf, self._plugin(count_end)),
            cwd=folder.name,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=messages,
            pass_fds=ends,
        )
        for end in ends:
            os.close(end)
        os.set_blocking(requests, False)
        return _Process(process, requests, answers, counts, folder, messages)

    def _plugin(self, count_end: int) -> Sequence[str]:
        own, path = self.server.own_code, escaped(plugin_path("serve"))
        arguments = (
            f"server={own.low:x}:{own.high:x}",
            f"begin={self.server.begin:x}",
            f"end={self.server.end:x}",
            f"limit={self.instruction_limit}",
            f"out=/dev/fd/{count_end}",
        )
        return ("-plugin", ",".join((path, *arguments)))

    def _send(self, data: bytes, deadline: float) -> None:
        assert self._process is not None
        view = memoryview(data)
        while view:
            try:
                view = view[os.write(self._process.requests, view) :]
            except BlockingIOError:
                self._wait_for([], [self._process.requests], deadline)

    def _receive(self, request: Request, deadline: float) -> Answer:
        assert self._process is not None
        answers, counted = self._process.answers, self._process.counts
        ready = self._wait_for([answers, counted], [], deadline)
        counts = self._receive_counts(deadline) if counted in ready else None
        if counts is not None and counts.is_over_limit:
            self._kill()
            raise HangError(
                f"endless loop: it did not end within {self.instruction_limit} instructions"
            )
        head = self._read(answers, protocol.ANSWER.size, deadline)
        status, cycles, is_answer = protocol.parse_head(head)
        if not is_answer:
            raise EOFError
        if status == protocol.REFUSED:
            raise TargetError("the measurement server refused it", where=self.target.name)
        fault = protocol.parse_fault(head) if status == protocol.FAULT else None
        data = self._read(answers, request.answer_bytes, deadline)
        return Answer(data, fault, cycles or None, counts)

    def _receive_counts(self, deadline: float) -> Counts:
        assert self._process is not None
        pipe = self._process.counts
        head = self._read(pipe, protocol.HEAD.size, deadline)
        records, is_over_limit, instructions = protocol.HEAD.unpack(head)
        data = self._read(pipe, records * protocol.RECORD.itemsize, deadline)
        return Counts(instructions, np.frombuffer(data, protocol.RECORD), bool(is_over_limit))

    def _read(self, pipe: int, size: int, deadline: float) -> bytes:
        parts: list[bytes] = []
        while size > 0:
            self._wait_for([pipe], [], deadline)
            part = os.read(pipe, size)
            if not part:
                raise EOFError
            parts.append(part)
            size -= len(part)
        return b"".join(parts)

    def _wait_for(self, readable: list[int], writable: list[int], deadline: float) -> list[int]:
        left = max(0.0, deadline - time.monotonic())
        ready, able, _ = select.select(readable, writable, [], left)
        if not ready and not able:
            raise HangError(f"endless loop: it did not end within {self.timeout_s:g} s")
        return ready

    def _kill(self) -> None:
        if self._process is not None:
            with suppress(ProcessLookupError):
                self._process.process.kill()
            self.close()

    def _lost(self) -> Exception:
        """The error of an emulator that ended by itself."""
        process, self._process = self._process, None
        message = process.stop() if process else ""
        if "plugin" in message:
            return no_plugin_error(message)
        return FaultError("the emulator ended", hint=message.splitlines()[0] if message else "")
