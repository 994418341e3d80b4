"""Random programs for the planner: branches, residuals, scratch and outputs over inputs."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from tvm_tiny.relay_passes.program import Layer, Port, Program, Tensor
from tvm_tiny.schedules.candidates import Candidate
from tvm_tiny.schedules.dialect import Kernel, Overlap, TensorSpec

MOST_BYTES = 60_000  # of a tensor; many steps are then about as full as the fullest


@dataclass
class _Growing:
    """A program while layers are added to it."""

    generator: random.Random
    sizes: list[int] = field(default_factory=list)
    layers: list[Layer] = field(default_factory=list)
    scratch: list[Tensor] = field(default_factory=list)

    def add(self, size: int, inputs: Sequence[int], overlaps: Sequence[Overlap | None]) -> int:
        """Add a layer that reads tensors by number; return the number of its output."""
        kernel = Kernel("none", None, overlaps=tuple(overlaps))
        candidate = Candidate("tiny.none", "none", 0, lambda: kernel)
        number, scratch = len(self.sizes), None
        if self.generator.random() < 0.4:
            nbytes = self.generator.choice([64, 576, 2048, max(size // 8, 1)])
            scratch = f"s{number}"
            self.scratch.append(Tensor(scratch, TensorSpec((nbytes,), "int8"), scratch))
        names = tuple(f"t{i}" for i in inputs)
        layer = Layer(f"l{number}", "op", names, f"t{number}", candidate, 0, scratch=scratch)
        self.layers.append(layer)
        self.sizes.append(size)
        return number

    def program(self, output: int) -> Program:
        """Return the program whose input is tensor 0."""
        sizes = enumerate(self.sizes)
        tensors = [Tensor(f"t{n}", TensorSpec((size,), "int8"), f"t{n}") for n, size in sizes]
        ports = [(Port(name, name, None, None),) for name in ("t0", f"t{output}")]
        return Program((*tensors, *self.scratch), tuple(self.layers), *ports)

    def next_size(self, size: int) -> int:
        """Return the size of a layer's output: often the same, else up to four times another."""
        if self.generator.random() < 0.4:
            return size
        factor = self.generator.choice([0.25, 0.5, 0.5, 2 / 3, 1.5, 2, 3, 4])
        return min(max(int(size * factor), 10), MOST_BYTES)

    def overlap(self, size: int, output: int) -> Overlap | None:
        """Return what a layer of one input may declare: in place, a sweep or nothing."""
        kind = self.generator.random()
        if kind < 0.3:
            return None
        if kind < 0.5:
            return Overlap(0, is_exact=True)
        lag = self.generator.randrange(0, max(size // 20, 1))
        return Overlap(min(size - output, 0) - lag)

    def step(self, number: int) -> int:
        """Add a layer of one input."""
        output = self.next_size(self.sizes[number])
        return self.add(output, [number], [self.overlap(self.sizes[number], output)])

    def chain(self, number: int, length: int) -> int:
        """Add layers one after the other."""
        for _ in range(length):
            number = self.step(number)
        return number

    def residual(self, number: int) -> int:
        """Add an inverted bottleneck and the sum with its input."""
        size = self.sizes[number]
        wide = min(size * self.generator.choice([2, 3, 6]), MOST_BYTES)
        lag = self.generator.randrange(0, size // 20 + 1)
        first = self.add(wide, [number], [Overlap(size - wide - lag)])
        second = self.add(wide, [first], [Overlap(0, is_exact=True)])
        last = self.add(size, [second], [Overlap(-lag)])
        return self.add(
            size,
            [last, number],
            self.generator.choice(
                [[Overlap(0, is_exact=True)] * 2, [Overlap(0)] * 2, [None, None]]
            ),
        )

    def branches(self, number: int) -> int:
        """Add branches and their concatenation, or two and their sum."""
        count = self.generator.randint(2, 4)
        ends = [self.chain(number, self.generator.randint(0, 3)) for _ in range(count)]
        ends = list(dict.fromkeys(ends))
        size = min(sum(self.sizes[end] for end in ends), MOST_BYTES)
        return self.add(size, ends, [None] * len(ends))


def wild_program(seed: int, layers: int) -> Program:
    """Return a program whose layers read any of the last tensors; the same for the same seed."""
    growing = _Growing(random.Random(seed))
    generator = growing.generator
    growing.sizes.append(generator.randint(1, 20_000))
    for number in range(layers):
        recent = range(max(number - 5, 0), number + 1)
        inputs = generator.sample(recent, min(generator.randint(1, 3), len(recent)))
        size = generator.randint(1, 20_000)
        growing.add(size, inputs, [growing.overlap(growing.sizes[i], size) for i in inputs])
    return growing.program(layers)


def random_program(seed: int, layers: int) -> Program:
    """Return a program of at least so many layers; the same for the same seed."""
    growing = _Growing(random.Random(seed))
    growing.sizes.append(growing.generator.choice([490, 3072, 9216, 27648, 76800]))
    number = 0
    while len(growing.layers) < layers:
        kind = growing.generator.random()
        if kind < 0.5:
            number = growing.chain(number, growing.generator.randint(1, 4))
        elif kind < 0.75:
            number = growing.residual(number)
        else:
            number = growing.branches(number)
    return growing.program(number)


def drifting_program(seed: int, layers: int) -> Program:
    """Return sweeps of about the same size, each a little below its input, and residuals."""
    growing = _Growing(random.Random(seed))
    generator = growing.generator
    base = generator.randint(1_000, 20_000)
    growing.sizes.append(base)
    while len(growing.layers) < layers:
        number = len(growing.sizes) - 1
        size = int(base * generator.uniform(0.5, 1.1))
        lag = generator.randrange(base // 8)
        overlap = Overlap(min(growing.sizes[number] - size, 0) - lag)
        if number > 3 and generator.random() < 0.15:
            earlier = number - generator.randint(1, 3)
            growing.add(size, [number, earlier], [overlap, None])
        else:
            growing.add(size, [number], [overlap])
    return growing.program(len(growing.sizes) - 1)
