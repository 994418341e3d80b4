"""What clients and servers of a fleet say to each other, and to TVM's RPC tracker.

The tracker is TVM's own, and so is the handshake. Behind it, TVM's protocol would let a client
call anything in the server; here it takes batches of jobs and gives measurements, no more.
"""

from __future__ import annotations

import socket
import struct
from typing import Any

import msgspec

from tvm_tiny.errors import TargetError
from tvm_tiny.tuning.job import Job
from tvm_tiny.tuning.trial import Measurement

MOST_BYTES = 64 << 20  # of a message
MOST_JOBS = 64  # of a batch

_NUMBER = struct.Struct("<i")
Address = tuple[str, int]


class Batch(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Jobs to be measured together."""

    jobs: tuple[Job, ...]


class Results(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What they gave, in order."""

    measurements: tuple[Measurement, ...]


def parse_address(text: str) -> Address:
    """HOST:PORT."""
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit():
        raise TargetError("an address is HOST:PORT", where="tracker", found=text)
    return host, int(port)


def queue_key(key: str, target: str) -> str:
    """The key that servers of a target stand under at the tracker: boards are not alike."""
    return f"{key}/{target}"


def connect_to_tracker(address: Address, timeout_s: float) -> socket.socket:
    """A connection to the tracker; raises OSError."""
    from tvm.rpc import base

    line = socket.create_connection(address, timeout_s)
    line.sendall(_NUMBER.pack(base.RPC_TRACKER_MAGIC))
    if read_number(line) != base.RPC_TRACKER_MAGIC:
        line.close()
        raise OSError(f"{address[0]}:{address[1]} is no RPC tracker")
    return line


def tell_tracker(line: socket.socket, code: int, *arguments: Any) -> Any:
    """Ask the tracker something, and return its answer."""
    from tvm.rpc import base

    base.sendjson(line, [code, *arguments])
    return base.recvjson(line)


def knock(address: Address, match_key: str, timeout_s: float) -> socket.socket:
    """A connection to a server that the tracker named; raises OSError."""
    from tvm.rpc import base

    line = socket.create_connection(address, timeout_s)
    key = f"client:{match_key}".encode()
    line.sendall(_NUMBER.pack(base.RPC_MAGIC) + _NUMBER.pack(len(key)) + key)
    if read_number(line) != base.RPC_CODE_SUCCESS:
        line.close()
        raise OSError("the server does not know the key")
    read(line, read_number(line))  # its own key
    return line


def let_in(line: socket.socket, match_key: str, own_key: str) -> bool:
    """Whether who knocked has the key; raises OSError."""
    from tvm.rpc import base

    if read_number(line) != base.RPC_MAGIC:
        return False
    length = read_number(line)
    key = read(line, length) if 0 < length <= 1024 else b""
    if key.split()[:1] != [f"client:{match_key}".encode()]:
        line.sendall(_NUMBER.pack(base.RPC_CODE_MISMATCH))
        return False
    name = f"server:{own_key}".encode()
    line.sendall(_NUMBER.pack(base.RPC_CODE_SUCCESS) + _NUMBER.pack(len(name)) + name)
    return True


def send(line: socket.socket, message: Batch | Results) -> None:
    """Send a message; raises OSError."""
    data = msgspec.msgpack.encode(message)
    line.sendall(_NUMBER.pack(len(data)) + data)


def receive_batch(line: socket.socket) -> Batch:
    """The next batch; raises OSError for whatever is none."""
    try:
        batch = msgspec.msgpack.decode(_message(line), type=Batch)
    except msgspec.DecodeError as error:
        raise OSError(f"no batch: {error}") from error
    if len(batch.jobs) > MOST_JOBS:
        raise OSError("too many jobs")
    return batch


def receive_results(line: socket.socket) -> list[Measurement]:
    """What a batch gave; raises OSError for whatever is none."""
    try:
        return list(msgspec.msgpack.decode(_message(line), type=Results).measurements)
    except msgspec.DecodeError as error:
        raise OSError(f"no results: {error}") from error


def _message(line: socket.socket) -> bytes:
    length = read_number(line)
    if not 0 <= length <= MOST_BYTES:
        raise OSError("a message that is too long")
    return read(line, length)


def read_number(line: socket.socket) -> int:
    """A word."""
    number: int
    (number,) = _NUMBER.unpack(read(line, _NUMBER.size))
    return number


def read(line: socket.socket, size: int) -> bytes:
    """So many bytes; raises OSError when the line ends before."""
    parts: list[bytes] = []
    while size > 0:
        part = line.recv(min(size, 1 << 16))
        if not part:
            raise OSError("the other side has ended")
        parts.append(part)
        size -= len(part)
    return b"".join(parts)
