"""Bytes that are live while the layers of a program run, whatever their order.

Stages count as layers. A set of them is an int with a bit for each, by its place. Two bits more
stand for the beginning, which uses the model's inputs, and the end, which uses its outputs; so a
storage is live from the first of its users to the last, and nothing needs to be said of ports.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from tvm_tiny.relay_passes._overlaps import most_shared, overlap_of
from tvm_tiny.relay_passes.program import Program, Step
from tvm_tiny.schedules.dialect import Overlap


@dataclass(frozen=True, slots=True)
class Storage:
    """Bytes of the arena and all that write or read them."""

    size: int
    users: int


@dataclass(frozen=True, slots=True)
class Node:
    """A layer: what must run before and may run after, and what it holds.

    `inputs` come with how the output may lie over each, if it dies by this layer.
    """

    before: int
    after: tuple[int, ...]
    output: Storage
    inputs: tuple[tuple[Storage, Overlap | None], ...]
    scratch: int
    _shared: dict[int, int] = field(default_factory=dict, compare=False, repr=False)

    def shared(self, dying: int) -> int:
        """Most bytes that the output shares with inputs; `dying` has a bit for each of them."""
        if dying not in self._shared:
            inputs = [self.inputs[index] for index in members(dying)]
            overlaps = [(s.size, overlap) for s, overlap in inputs if overlap is not None]
            self._shared[dying] = most_shared(self.output.size, overlaps)
        return self._shared[dying]


@dataclass(frozen=True)
class Liveness:
    """The layers of a program; `start` is the set that holds only the beginning."""

    nodes: tuple[Node, ...]
    storages: tuple[Storage, ...]
    start: int

    @property
    def live_at_start(self) -> int:
        """Bytes of the model's inputs that something reads."""
        return sum(s.size for s in self.storages if s.users & self.start) - self.idle

    @cached_property
    def idle(self) -> int:
        """Bytes of the model's other inputs, which only the first layer has to leave alone."""
        return sum(s.size for s in self.storages if s.users == self.start)

    def step(self, done: int, live: int, layer: int) -> tuple[int, int]:
        """Bytes that a layer needs after `done`, when `live` are live, and those live after it."""
        node, now = self.nodes[layer], done | 1 << layer
        dying = freed = 0
        for index, (storage, _) in enumerate(node.inputs):
            if not storage.users & ~now:
                dying |= 1 << index
                freed += storage.size
        needed = live + node.scratch + (self.idle if done == self.start else 0)
        if not node.output.users & done:
            live += node.output.size
            needed += node.output.size - node.shared(dying)
        if not node.output.users & ~now:
            freed += node.output.size
        return needed, live - freed

    def peak(self, order: Sequence[int], done: int, live: int) -> int:
        """Most bytes that any of some layers needs, run in this order after `done`."""
        most = 0
        for layer in order:
            needed, live = self.step(done, live, layer)
            done, most = done | 1 << layer, max(most, needed)
        return most

    def relatives(self) -> tuple[list[int], list[int]]:
        """For each layer all that run before it in every order, and all that run after it."""
        ancestors = [self.start | node.before for node in self.nodes]
        descendants = [self.start << 1] * len(self.nodes)
        for layer, node in enumerate(self.nodes):
            for successor in node.after:
                ancestors[successor] |= ancestors[layer]
        for layer in reversed(range(len(self.nodes))):
            for successor in self.nodes[layer].after:
                descendants[layer] |= 1 << successor | descendants[successor]
        return ancestors, descendants

    def least(self, layer: int, ancestors: int, descendants: int) -> int:
        """Bytes that a layer needs in every order."""
        node, here = self.nodes[layer], 1 << layer
        live = sum(
            s.size
            for s in self.storages
            if s.users & (ancestors | here) and s.users & (descendants | here)
        )
        mortal = [i for i, (s, _) in enumerate(node.inputs) if not s.users & descendants]
        return live + node.scratch - node.shared(sum(1 << index for index in mortal))


def liveness_of(program: Program) -> Liveness:
    """Dependences and storages of a program."""
    storage_of = {tensor.name: tensor.storage for tensor in program.tensors}
    sizes = {t.storage: t.arena_bytes for t in program.tensors if t.storage == t.name}
    layers, start = program.steps, 1 << len(program.steps)
    users = dict.fromkeys(sizes, 0)
    for port in program.inputs:
        users[storage_of[port.tensor]] |= start
    for port in program.outputs:
        users[storage_of[port.tensor]] |= start << 1
    for step, layer in enumerate(layers):
        for name in (*layer.inputs, layer.output):
            users[storage_of[name]] |= 1 << step
    storages = {n: Storage(size, users[n]) for n, size in sizes.items() if users[n]}
    before = list(_dependences(program, storage_of))
    after: list[list[int]] = [[] for _ in layers]
    for step, needed in enumerate(before):
        for earlier in members(needed):
            after[earlier].append(step)
    nodes = [
        Node(
            before[step],
            tuple(after[step]),
            storages[storage_of[layer.output]],
            tuple(_inputs(layer, storages, storage_of)),
            sizes[layer.scratch] if layer.scratch else 0,
        )
        for step, layer in enumerate(layers)
    ]
    return Liveness(tuple(nodes), tuple(storages.values()), start)


def _dependences(program: Program, storage_of: dict[str, str]) -> Iterator[int]:
    """What each layer must wait for: writers of what it reads, readers of what it overwrites."""
    writers: dict[str, int] = {}
    readers: dict[str, int] = {}
    for step, layer in enumerate(program.steps):
        read, written = [storage_of[name] for name in layer.inputs], storage_of[layer.output]
        needed = readers.get(written, 0)
        for name in read:
            needed |= writers.get(name, 0)
        yield needed
        for name in read:
            readers[name] = readers.get(name, 0) | 1 << step
        writers[written] = writers.get(written, 0) | 1 << step


def _inputs(
    layer: Step, storages: dict[str, Storage], storage_of: dict[str, str]
) -> Iterator[tuple[Storage, Overlap | None]]:
    for name in dict.fromkeys(storage_of[name] for name in layer.inputs):
        if name != storage_of[layer.output]:
            yield storages[name], overlap_of(layer, storage_of, name)


def members(layers: int) -> Iterator[int]:
    """The layers of a set, in order."""
    while layers:
        lowest = layers & -layers
        yield lowest.bit_length() - 1
        layers ^= lowest
