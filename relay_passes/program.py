"""A rewritten module as plain data: the straight line of layers that code generation prints."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import tvm
from tvm import ir, relax

from tvm_tiny.errors import UnsupportedError
from tvm_tiny.schedules import dialect
from tvm_tiny.schedules.candidates import Candidate, candidates
from tvm_tiny.schedules.dialect import Argument, Call, Kernel, Overlap, Reaches, TensorSpec

ALIGNMENT = 16  # of tensors in the arena
CALL_BACK = "call-back"  # a source of rows that is no tensor


@dataclass(frozen=True)
class Tensor:
    """A run-time tensor; `storage` is the tensor whose bytes it shares, itself unless a view."""

    name: str
    spec: TensorSpec
    storage: str


@dataclass(frozen=True)
class Layer:
    """One call of a kernel: reads `inputs`, writes `output` and uses `scratch` (tensors' names).

    `candidates` are all that could have been taken instead of `chosen`, itself among them.
    """

    name: str
    operator: str
    inputs: tuple[str, ...]
    output: str
    chosen: Candidate
    macs: int
    weights: int = 0  # elements of int8
    candidates: tuple[Candidate, ...] = ()
    scratch: str | None = None
    call: Call | None = None  # what it computes, as plain data

    @property
    def kernel(self) -> Kernel:
        """What computes it."""
        assert self.chosen.kernel is not None
        return self.chosen.kernel

    @property
    def output_bytes(self) -> int:
        """What it gives at a time."""
        return self.call.output.nbytes if self.call is not None else 0

    @property
    def overlaps(self) -> tuple[Overlap | None, ...]:
        """How the output may lie over each input."""
        return self.kernel.overlaps or (None,) * len(self.inputs)


@dataclass(frozen=True)
class Rows:
    """A tensor of a stage, of which `capacity` rows exist at a time.

    `border` rows of `fill` stand above the image, and as many below as windows reach. Tensors of
    `offset` None are whole, in the arena; all others lie so many bytes inside the stage's scratch.
    With a `source`, rows are copied from that whole tensor, `copied` at a time; with the source
    CALL_BACK the firmware asks its user for them.
    """

    name: str
    spec: TensorSpec
    capacity: int
    border: int = 0
    fill: int = 0
    offset: int | None = None
    source: str | None = None
    copied: int = 0

    @property
    def height(self) -> int:
        """Rows of the whole tensor."""
        return self.spec.shape[1]

    @cached_property
    def pitch(self) -> int:
        """Bytes of a row."""
        return self.spec.nbytes // self.height


@dataclass(frozen=True)
class RowLayer:
    """A layer of a stage, whose kernel makes `rows` rows; `reaches` as its operator says."""

    layer: Layer
    reaches: Reaches
    rows: int


@dataclass(frozen=True)
class Stage:
    """Layers that run by strips of rows: of the tensors between them only some rows exist.

    To the planner it is one layer. `scratch_bytes` hold all rows, and behind them at
    `kernel_scratch` the scratch of the kernel that runs.
    """

    name: str
    rows: tuple[Rows, ...]
    row_layers: tuple[RowLayer, ...]
    inputs: tuple[str, ...]
    output: str
    overlaps: tuple[Overlap | None, ...]
    scratch: str | None = None

    @property
    def layers(self) -> tuple[Layer, ...]:
        """Its layers in the order of the graph."""
        return tuple(item.layer for item in self.row_layers)

    @property
    def kernel_scratch(self) -> int:
        """Bytes of all rows, behind which kernels have their scratch."""
        ends = [0, *(r.offset + r.capacity * r.pitch for r in self.rows if r.offset is not None)]
        return aligned(max(ends))

    @property
    def scratch_bytes(self) -> int:
        """Memory beside its inputs and its output."""
        return self.kernel_scratch + max(layer.chosen.scratch_bytes for layer in self.layers)

    def with_kernels(self, chosen: Sequence[Candidate]) -> Stage:
        """The same with other candidates, one for each layer."""
        pairs = zip(self.row_layers, chosen, strict=True)
        layers = [replace(item, layer=replace(item.layer, chosen=one)) for item, one in pairs]
        return replace(self, row_layers=tuple(layers))


Step = Layer | Stage


@dataclass(frozen=True)
class Port:
    """An input or output of the model; float ports have neither scale nor zero point.

    Inputs by call-back arrive row by row, and are nowhere whole.
    """

    name: str
    tensor: str
    scale: float | None
    zero_point: int | None
    is_called_back: bool = False


@dataclass(frozen=True)
class Program:
    """All tensors outside stages, and the steps in the order they run."""

    tensors: tuple[Tensor, ...]
    steps: tuple[Step, ...]
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]

    def tensor(self, name: str) -> Tensor:
        """The tensor of a name."""
        return next(tensor for tensor in self.tensors if tensor.name == name)

    @property
    def layers(self) -> tuple[Layer, ...]:
        """All layers, those of stages too."""
        return tuple(layer for step in self.steps for layer in layers_of(step))

    def with_kernels(self, chosen: Sequence[Candidate]) -> Program:
        """The same with other candidates, one for each layer, and their scratch."""
        given = iter(chosen)
        steps = [_with_kernels(step, [next(given) for _ in layers_of(step)]) for step in self.steps]
        return self.with_steps(steps)

    def with_steps(self, steps: Sequence[Step]) -> Program:
        """The same with other steps, and scratch for each that needs it."""
        old = {step.scratch for step in self.steps}
        kept = {tensor.name: tensor for tensor in self.tensors if tensor.name not in old}
        steps = [_with_scratch(step, kept) for step in steps]
        return replace(self, tensors=tuple(_in_order(kept, steps)), steps=tuple(steps))


def layers_of(step: Step) -> tuple[Layer, ...]:
    """A layer alone, or those of a stage."""
    return step.layers if isinstance(step, Stage) else (step,)


def aligned(size: int) -> int:
    """`size` rounded up to the alignment of tensors in the arena."""
    return -(-size // ALIGNMENT) * ALIGNMENT


def _with_kernels(step: Step, chosen: Sequence[Candidate]) -> Step:
    return step.with_kernels(chosen) if isinstance(step, Stage) else replace(step, chosen=chosen[0])


def _with_scratch(step: Step, tensors: dict[str, Tensor]) -> Step:
    """The step with a tensor for its scratch, which joins `tensors`."""
    spec = _scratch_of(step)
    if spec is None:
        return replace(step, scratch=None)
    name = unique(f"{step.output}_scratch", tensors)
    tensors[name] = Tensor(name, spec, name)
    return replace(step, scratch=name)


def _scratch_of(step: Step) -> TensorSpec | None:
    if isinstance(step, Stage):
        return TensorSpec((step.scratch_bytes,), "uint8") if step.scratch_bytes else None
    return step.kernel.scratch


def _in_order(tensors: dict[str, Tensor], steps: Sequence[Step]) -> Iterator[Tensor]:
    """Scratch stands behind the output that it belongs to."""
    scratch = {step.output: step.scratch for step in steps if step.scratch}
    for name, tensor in tensors.items():
        if name not in scratch.values():
            yield tensor
            if name in scratch:
                yield tensors[scratch[name]]


def program_of(module: tvm.IRModule, features: Collection[str] = ()) -> Program:
    """The program of a module whose `main` holds only `tiny.*` calls and reshapes.

    `features` are those of the core that kernels may use ("dsp", "mve").
    Every layer takes its fastest kernel. Raises UnsupportedError where something else is left.
    """
    function = module["main"]
    builder = _Builder(function, features)
    program = Program(
        tuple(builder.tensors.values()),
        tuple(builder.layers),
        builder.ports("input", [parameter.name for parameter in function.params]),
        builder.ports("output", builder.outputs()),
    )
    return program.with_kernels([layer.chosen for layer in program.layers])


class _Builder:
    def __init__(self, function: relax.Function, features: Collection[str]) -> None:
        self.function, self.features = function, features
        self.attrs = dict(function.attrs or {})
        self.tensors: dict[str, Tensor] = {}
        self.layers: list[Layer] = []
        self.names: dict[ir.Var, str] = {}
        self.result: ir.Expr = function.body.body
        self.output_names = self._output_names()
        for parameter in function.params:
            self._define(parameter)
        for block in function.body.blocks:
            for binding in block.bindings:
                self._bind(binding.var, binding.value)

    def outputs(self) -> list[str]:
        return [self.names[field] for field in self._fields()]

    def _fields(self) -> list[ir.Expr]:
        for block in self.function.body.blocks:
            for binding in block.bindings:
                if isinstance(binding.value, relax.Tuple) and binding.var.same_as(self.result):
                    return list(binding.value.fields)
        return list(self.result.fields) if isinstance(self.result, relax.Tuple) else [self.result]

    def _output_names(self) -> dict[ir.Var, str]:
        """Outputs carry the model's own names; TVM's builder has numbered them."""
        fields = self._fields()
        names = [re.sub(r"\W", "_", str(n)) for n in self.attrs.get("tiny.output_names", ())]
        names = [name if name[:1].isalpha() else f"t{name}" for name in names]
        if len(names) != len(fields):
            return {}
        pairs = zip(fields, names, strict=True)
        return {var: name for var, name in pairs if var not in set(self.function.params)}

    def ports(self, kind: str, tensors: list[str]) -> tuple[Port, ...]:
        names = [str(n) for n in self.attrs.get(f"tiny.{kind}_names", tensors)]
        unknown = [None] * len(tensors)
        scales = [_number(v) for v in self.attrs.get(f"tiny.{kind}_scales", unknown)]
        points = [_number(v) for v in self.attrs.get(f"tiny.{kind}_zero_points", unknown)]
        columns = zip(names, tensors, scales, points, strict=True)
        return tuple(
            Port(name, tensor, scale or None, int(point) if scale and point is not None else None)
            for name, tensor, scale, point in columns
        )

    def _bind(self, var: ir.Var, value: ir.Expr) -> None:
        if isinstance(value, relax.Tuple):
            return
        if isinstance(value, ir.Var):
            self.names[var] = self.names[value]
        elif getattr(getattr(value, "op", None), "name", "") == "relax.reshape":
            self._define(var, storage=self.tensors[self.names[value.args[0]]].storage)
        elif dialect.operator_of(value) is not None:
            self._call(var, value)
        else:
            raise UnsupportedError("not an operator of the integer dialect", where=str(value)[:80])

    def _call(self, var: ir.Var, call: ir.Call) -> None:
        inputs = [self.names[a] for a in call.args if isinstance(a, ir.Var)]
        self._define(var)
        output = self.names[var]
        plain = dialect.call_of(call)
        found = candidates(plain, self.features)
        macs = plain.macs
        self.layers.append(
            Layer(
                plain.attributes.layer or output,
                plain.operator.name.removeprefix("tiny."),
                tuple(inputs),
                output,
                self._fastest(found, output),
                macs,
                sum(map(_weights, plain.arguments)) if macs else 0,
                tuple(found),
                call=plain,
            )
        )

    def _fastest(self, found: Sequence[Candidate], where: str) -> Candidate:
        try:
            return next(candidate for candidate in found if candidate.kernel is not None)
        except UnsupportedError as error:
            raise UnsupportedError(
                error.what, where=where, limit=error.limit, found=error.found, hint=error.hint
            ) from error

    def _define(self, var: ir.Var, storage: str | None = None) -> None:
        name = unique(self.output_names.get(var, var.name), self.tensors)
        self.names[var] = name
        self.tensors[name] = Tensor(name, dialect.spec_of(var), storage or name)


def unique(name: str, taken: Any) -> str:
    """`name`, or the first of name_1, name_2 ... that is not taken."""
    candidate, number = name, 0
    while candidate in taken:
        number += 1
        candidate = f"{name}_{number}"
    return candidate


def _weights(argument: Argument) -> int:
    if isinstance(argument, np.ndarray) and argument.dtype == np.int8 and argument.ndim > 1:
        return argument.size
    return 0


def _number(value: Any) -> float | None:
    return None if value is None else float(getattr(value, "value", value))
