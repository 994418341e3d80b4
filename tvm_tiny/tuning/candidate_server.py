"""A server of a fleet: this machine's emulator, registered at TVM's RPC tracker.

It takes candidates and nothing else: their C, assembly and data, within limits of size and time.
They are compiled here and run on the emulated board, whose memory protection holds them back. Who
has the tracker's key is trusted not to attack the compiler, whose sources may name files to read.
"""

from __future__ import annotations

import re
import select
import socket
import time
from contextlib import closing, suppress

from tvm_tiny.errors import TargetError
from tvm_tiny.targets.measurement.emulator import DEFAULT_TIMEOUT_S, EmulatedServer
from tvm_tiny.targets.target import Target
from tvm_tiny.tuning import wire
from tvm_tiny.tuning.job import Job
from tvm_tiny.tuning.stand import Stand
from tvm_tiny.tuning.trial import Measurement

LOOPBACK = "127.0.0.1"
PING_S = 2.0
RETRY_S = 2.0
IDLE_S = 120.0  # a client that says nothing for so long is sent away
UNUSED_PINGS = 3  # a key that the tracker gave away and nobody used is replaced
_FILE_NAMES = re.compile(r"\w+\.[ch]")


class CandidateServer:
    """Serves one client after the other, for ever."""

    def __init__(
        self,
        target: Target,
        tracker: wire.Address,
        key: str,
        *,
        host: str = LOOPBACK,
        timeout_s: float = DEFAULT_TIMEOUT_S,
    ) -> None:
        """`host` is the address to listen on: this machine's own only, unless told otherwise."""
        self.tracker, self.host = tracker, host
        self.key = wire.queue_key(key, target.core.name)
        self.stand = Stand(target, EmulatedServer(target, timeout_s=timeout_s))
        self._listening = socket.create_server((host, 0))
        self._match_key = ""

    @property
    def port(self) -> int:
        """Where it listens."""
        port: int = self._listening.getsockname()[1]
        return port

    def serve(self, give_up_s: float = float("inf")) -> None:
        """Serve; a tracker that is away is waited for, `give_up_s` at most."""
        last_seen = time.monotonic()
        while time.monotonic() - last_seen < give_up_s:
            try:
                with closing(wire.connect_to_tracker(self.tracker, IDLE_S)) as tracker:
                    self._introduce(tracker)
                    while True:
                        self._serve_next(tracker)
                        last_seen = time.monotonic()
            except OSError:
                time.sleep(RETRY_S)
        raise TargetError("no tracker answers", where="{}:{}".format(*self.tracker))

    def close(self) -> None:
        """End the emulator and listen no more."""
        self.stand.close()
        self._listening.close()

    def _introduce(self, tracker: socket.socket) -> None:
        from tvm.rpc.base import TrackerCode

        info = {"key": f"server:{self.key}", "addr": (self.host, self.port)}
        wire.tell_tracker(tracker, TrackerCode.UPDATE_INFO, info)

    def _offer(self, tracker: socket.socket) -> None:
        from tvm.rpc.base import TrackerCode, random_key

        self._match_key = random_key(self.key)
        place = (self.port, self._match_key)
        wire.tell_tracker(tracker, TrackerCode.PUT, self.key, place, self.host)

    def _serve_next(self, tracker: socket.socket) -> None:
        """Offer this server, wait for a client, and serve it; raises OSError without a tracker."""
        self._wait_for_client(tracker)
        line, _ = self._listening.accept()
        with closing(line), suppress(OSError):
            line.settimeout(IDLE_S)
            if wire.let_in(line, self._match_key, self.key):
                self._serve_client(line)

    def _wait_for_client(self, tracker: socket.socket) -> None:
        from tvm.rpc.base import TrackerCode

        self._offer(tracker)
        unused = 0
        while not select.select([self._listening], [], [], PING_S)[0]:
            pending = wire.tell_tracker(tracker, TrackerCode.GET_PENDING_MATCHKEYS)
            unused = 0 if self._match_key in pending else unused + 1
            if unused == UNUSED_PINGS:
                self._offer(tracker)
                unused = 0

    def _serve_client(self, line: socket.socket) -> None:
        """Measure batches until the client ends, which is an OSError."""
        while True:
            jobs = wire.receive_batch(line).jobs
            wire.send(line, wire.Results(tuple(self._measure(jobs))))

    def _measure(self, jobs: tuple[Job, ...]) -> list[Measurement]:
        if any(not _is_sound(job) for job in jobs):
            return [Measurement(None, None, "refused: names or sizes make no sense")] * len(jobs)
        return self.stand.measure(jobs)


def _is_sound(job: Job) -> bool:
    """Whether names are those of files of the C runtime, and sizes agree with the data."""
    subject = job.subject
    places = [*subject.inputs, subject.output, *([subject.scratch] if subject.scratch else [])]
    names = (*subject.headers, *subject.runtime)
    return (
        all(_FILE_NAMES.fullmatch(name) for name in names)
        and all(re.fullmatch(r"\w+", place.name) for place in subject.constants)
        and 0 < subject.arena_bytes <= wire.MOST_BYTES
        and all(0 <= place.offset <= place.end <= subject.arena_bytes for place in places)
        and bool(re.fullmatch(r"u?int(8|16|32)|float32", job.dtype))
        and all(
            len(sample.output) == subject.output.nbytes
            and [len(values) for values in sample.inputs] == [p.nbytes for p in subject.inputs]
            for sample in job.samples
        )
    )
