"""A bench whose trials are measured by all servers of a key at TVM's RPC tracker."""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Sequence
from contextlib import suppress
from threading import Lock

from tvm_tiny.errors import TargetError
from tvm_tiny.targets.target import Target, resolve
from tvm_tiny.tuning import wire
from tvm_tiny.tuning.job import Job
from tvm_tiny.tuning.measure import Bench
from tvm_tiny.tuning.trial import Measurement

WORKERS = 8  # the most servers that are used at once
TRIES = 4  # of a batch, whose server may end while it is measured
ANSWER_S = 300.0  # for a batch
PATIENCE_S = 60.0  # for a server to be free
_LOOK_S = 0.2


class RemoteStand:
    """Measures jobs on whatever server is free; several threads may use it at once."""

    def __init__(
        self, target: Target, tracker: wire.Address, key: str, patience_s: float = PATIENCE_S
    ) -> None:
        """`patience_s` is how long to wait for a server to be free."""
        self.tracker, self.key = tracker, wire.queue_key(key, target.core.name)
        self.patience_s = patience_s
        self.busy_s = 0.0  # spent in waiting for servers, by all threads
        self._idle: list[socket.socket] = []
        self._lock = Lock()

    def close(self) -> None:
        """Let the servers go."""
        with self._lock:
            for line in self._idle:
                line.close()
            self._idle.clear()

    def seconds(self) -> dict[str, float]:
        """Where time went: here it is all the servers'."""
        return {"emulator": self.busy_s}

    def prepare(self, jobs: Sequence[Job]) -> list[str]:
        """Nothing: servers compile what they measure."""
        return [""] * len(jobs)

    def measure(self, jobs: Sequence[Job]) -> list[Measurement]:
        """What jobs give; when a server ends, another measures them again."""
        started = time.perf_counter()
        try:
            for _ in range(TRIES):
                line = self._take()
                try:
                    return self._ask(line, jobs)
                except OSError:
                    line.close()
        finally:
            with self._lock:
                self.busy_s += time.perf_counter() - started
        return self._suspects(jobs)

    def _suspects(self, jobs: Sequence[Job]) -> list[Measurement]:
        """One of these jobs may be what ends servers: then each is on its own."""
        if len(jobs) == 1:
            return [Measurement(None, None, "crash: servers ended while they measured it")]
        return [self.measure([job])[0] for job in jobs]

    def _ask(self, line: socket.socket, jobs: Sequence[Job]) -> list[Measurement]:
        wire.send(line, wire.Batch(tuple(jobs)))
        found = wire.receive_results(line)
        if len(found) != len(jobs):
            raise OSError("as many results as jobs were expected")
        with self._lock:
            self._idle.append(line)
        return found

    def _take(self) -> socket.socket:
        """A server of our own: one that we had already, or the next that the tracker gives."""
        deadline = time.monotonic() + self.patience_s
        while time.monotonic() < deadline:
            with suppress(OSError):
                line = self._idle_one() or self._request(deadline)
                if line is not None:
                    return line
            time.sleep(_LOOK_S)
        raise TargetError(
            "no server was free at the tracker",
            where="{}:{}".format(*self.tracker),
            found=self.key,
            hint="start one with tvm-tiny rpc-server",
        )

    def _idle_one(self) -> socket.socket | None:
        with self._lock:
            return self._idle.pop() if self._idle else None

    def _request(self, deadline: float) -> socket.socket | None:
        """Ask the tracker, until it answers or another thread has left a server."""
        from tvm.rpc import base

        left = max(1.0, deadline - time.monotonic())
        with wire.connect_to_tracker(self.tracker, left) as tracker:
            base.sendjson(tracker, [base.TrackerCode.REQUEST, self.key, "", 1])
            while not select.select([tracker], [], [], _LOOK_S)[0]:
                line = self._idle_one()
                if line is not None or time.monotonic() > deadline:
                    return line  # the tracker notices that nobody waits any more
            code, (host, port, match_key) = base.recvjson(tracker)
            if code != base.TrackerCode.SUCCESS:
                raise OSError("the tracker refused")
        line = wire.knock((host, port), match_key, left)
        line.settimeout(ANSWER_S)
        return line


class RemoteBench(Bench):
    """Bench's interface over a fleet: kernels are made here, compiled and run by the servers."""

    def __init__(
        self,
        target: Target | str,
        tracker: str | wire.Address,
        key: str,
        *,
        workers: int = WORKERS,
        seed: int = 0,
        patience_s: float = PATIENCE_S,
    ) -> None:
        """`tracker` is HOST:PORT; servers are those of the target's core under `key`."""
        address = wire.parse_address(tracker) if isinstance(tracker, str) else tracker
        known = resolve(target) if isinstance(target, str) else target
        stand = RemoteStand(known, address, key, patience_s)
        super().__init__(known, workers=workers, seed=seed, stand=stand)
