"""A measurement server on a board, at a serial port: the same requests and answers."""

from __future__ import annotations

import time
from typing import Any

from tvm_tiny.errors import HangError, TargetError
from tvm_tiny.targets.measurement import protocol
from tvm_tiny.targets.measurement.firmware import Server, build_server
from tvm_tiny.targets.measurement.protocol import Answer, Request
from tvm_tiny.targets.target import Target

TIMEOUT_MS = 2000
_SYSTICK = 15  # the exception that ends a subject whose time is over
_BITS_PER_BYTE = 10
_SLACK_S = 10.0


class SerialServer:
    """Answers requests by a board that runs `build_server(target, "uart")`; a context manager.

    `port` is a device or a URL of pyserial's. A subject's time limit is kept by the board itself,
    by its own timer, so that it need not be reset.
    """

    def __init__(
        self, target: Target, port: str, *, timeout_ms: int = TIMEOUT_MS, slack_s: float = _SLACK_S
    ) -> None:
        """`slack_s` is what an answer may take beside the subject and the line's speed."""
        import serial  # a moment's work that only this class needs

        self.target, self.timeout_ms, self.slack_s = target, timeout_ms, slack_s
        self.server: Server = build_server(target, "uart")
        assert target.board.uart is not None
        self.baud = target.board.uart.baud
        self.busy_s = 0.0
        self._knows = False
        try:
            self._port: Any = serial.serial_for_url(port, baudrate=self.baud)
        except (serial.SerialException, OSError) as error:
            raise TargetError(f"no serial port: {error}", where=port) from error

    def __enter__(self) -> SerialServer:
        """It is open already."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the port."""
        self.close()

    @property
    def is_running(self) -> bool:
        """Whether the board has answered since it was last silent."""
        return self._knows

    def close(self) -> None:
        """Close the port; the board goes on waiting."""
        self._port.close()

    def ask(self, request: Request) -> Answer:
        """What a request gives, as EmulatedServer does; cycles are the core's own, if it counts."""
        started = time.perf_counter()
        try:
            return self._ask(self._limited(request))
        finally:
            self.busy_s += time.perf_counter() - started

    def _limited(self, request: Request) -> Request:
        return Request(
            request.writes,
            request.entry,
            request.argument,
            request.answer_address,
            request.answer_bytes,
            request.regions,
            request.timeout_ms or self.timeout_ms,
        )

    def _ask(self, request: Request) -> Answer:
        data = request.encode()
        bytes_both_ways = len(data) + request.answer_bytes
        self._knows = False
        self._port.timeout = (
            bytes_both_ways * _BITS_PER_BYTE / self.baud + request.timeout_ms / 1000 + self.slack_s
        )
        self._port.reset_input_buffer()
        self._port.write(data)
        head = self._read(protocol.ANSWER.size)
        status, cycles, is_answer = protocol.parse_head(head)
        if not is_answer:
            raise TargetError("what came is no answer: reset the board", where=self.target.name)
        if status == protocol.REFUSED:
            raise TargetError("the measurement server refused it", where=self.target.name)
        content = self._read(request.answer_bytes)
        self._knows = True
        fault = protocol.parse_fault(head) if status == protocol.FAULT else None
        if fault and fault.exception == _SYSTICK:
            raise HangError(f"endless loop: it did not end within {request.timeout_ms} ms")
        return Answer(content, fault, cycles or None)

    def _read(self, size: int) -> bytes:
        data: bytes = self._port.read(size)
        if len(data) < size:
            raise HangError("the board does not answer: reset it")
        return data
