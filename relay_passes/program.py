"""A rewritten module as plain data: the straight line of layers that code generation prints."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import tvm
from tvm import ir, relax

from tvm_tiny.errors import UnsupportedError
from tvm_tiny.relay_passes.tiles import Copy, Tile, first_gap, made_inside
from tvm_tiny.schedules import dialect
from tvm_tiny.schedules.candidates import Candidate, Features, candidates
from tvm_tiny.schedules.dialect import Argument, Call, Kernel, Overlap, Reaches, TensorSpec

ALIGNMENT = 16  # of tensors in the arena
CALL_BACK = "call-back"  # a source of rows that is no tensor


@dataclass(frozen=True)
class Tensor:
    """A run-time tensor; `storage` is the tensor whose bytes it shares, itself unless a view.

    A state outlives every run, in memory of its own.
    """

    name: str
    spec: TensorSpec
    storage: str
    is_state: bool = False

    @property
    def arena_bytes(self) -> int:
        """What it needs of the arena."""
        return 0 if self.is_state else aligned(self.spec.nbytes)


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


@dataclass(frozen=True)
class PatchLayer:
    """A layer that makes a tile from tiles; None is an input that is read whole.

    If the tensor is an output of its stage, the tile is then copied into it.
    """

    layer: Layer
    inputs: tuple[str | None, ...]
    tile: str
    is_stored: bool = False


@dataclass(frozen=True)
class Patches:
    """Layers that run patch by patch: of the tensors between them only tiles exist.

    Patches of the output begin at each of `rows` and `columns`; borders that tiles share with
    their neighbours are computed again. To the planner it is one layer with `outputs`, of which
    `output` is the last. Its scratch holds the tiles, and kernels' scratch where there is room.
    """

    name: str
    rows: tuple[int, ...]
    columns: tuple[int, ...]
    tiles: tuple[Tile, ...]
    work: tuple[Copy | PatchLayer, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    live: tuple[tuple[str, ...], ...]  # tiles while each layer runs
    scratch: str | None = None

    @property
    def output(self) -> str:
        """What the last layer makes."""
        return self.outputs[-1]

    @property
    def overlaps(self) -> tuple[Overlap | None, ...]:
        """Later patches read the inputs again."""
        return (None,) * len(self.inputs)

    @property
    def patch_layers(self) -> tuple[PatchLayer, ...]:
        """Its layers as they run on tiles."""
        return tuple(item for item in self.work if isinstance(item, PatchLayer))

    @property
    def layers(self) -> tuple[Layer, ...]:
        """Its layers in the order of the graph."""
        return tuple(item.layer for item in self.patch_layers)

    @property
    def scratch_bytes(self) -> int:
        """Memory beside its inputs and outputs."""
        tiles = [tile.offset + tile.spec.nbytes for tile in self.tiles]
        pairs = zip(self.layers, self.kernel_scratch, strict=True)
        kernels = [offset + layer.chosen.scratch_bytes for layer, offset in pairs]
        return aligned(max([*tiles, *kernels]))

    @cached_property
    def kernel_scratch(self) -> tuple[int, ...]:
        """Where in the scratch each kernel has its own: the first gap among the tiles there."""
        taken = {t.name: (t.offset, aligned(t.offset + t.spec.nbytes)) for t in self.tiles}
        return tuple(
            first_gap(sorted(taken[name] for name in names), layer.chosen.scratch_bytes)
            for layer, names in zip(self.layers, self.live, strict=True)
        )

    @property
    def executed_macs(self) -> int:
        """Multiply-accumulates of all patches, whose tiles all have the same size."""
        count = len(self.rows) * len(self.columns)
        return count * sum(layer.call.macs for layer in self.layers if layer.call is not None)

    @property
    def clipped_macs(self) -> int:
        """The same without what lies outside the images."""
        tiles = {tile.name: tile for tile in self.tiles}
        return sum(
            layer.layer.macs
            * made_inside(tiles[layer.tile].rows, self.rows)
            * made_inside(tiles[layer.tile].columns, self.columns)
            // (tiles[layer.tile].rows.size * tiles[layer.tile].columns.size)
            for layer in self.patch_layers
        )

    @property
    def copied_bytes(self) -> int:
        """Bytes that patches copy between tiles, and from and into whole tensors."""
        tiles = {tile.name: tile.spec.nbytes for tile in self.tiles}
        copied = [i.tile for i in self.work if isinstance(i, Copy) or i.is_stored]
        return len(self.rows) * len(self.columns) * sum(tiles[name] for name in copied)

    def with_kernels(self, chosen: Sequence[Candidate]) -> Patches:
        """The same with other candidates, one for each layer."""
        given = iter(chosen)
        work = [
            replace(item, layer=replace(item.layer, chosen=next(given)))
            if isinstance(item, PatchLayer)
            else item
            for item in self.work
        ]
        return replace(self, work=tuple(work))


Step = Layer | Stage | Patches


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
    """All tensors outside stages, and the steps in the order they run.

    `proof` says what is known of the choice of kernels (choose_exactly.py), if anything.
    """

    tensors: tuple[Tensor, ...]
    steps: tuple[Step, ...]
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    proof: str = field(default="", kw_only=True)

    @property
    def states(self) -> tuple[Tensor, ...]:
        """Tensors that outlive a run, each once."""
        return tuple(t for t in self.tensors if t.is_state and t.storage == t.name)

    def tensor(self, name: str) -> Tensor:
        """The tensor of a name."""
        return next(tensor for tensor in self.tensors if tensor.name == name)

    @property
    def layers(self) -> tuple[Layer, ...]:
        """All layers, those of stages too."""
        return tuple(layer for step in self.steps for layer in layers_of(step))

    def numbered_steps(self) -> Iterator[tuple[int, int, Step]]:
        """Each step with the numbers of its first and its last layer."""
        number = 0
        for step in self.steps:
            count = len(layers_of(step))
            yield number, number + count - 1, step
            number += count

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
        tensors = tuple(_in_order(kept, steps))
        return replace(self, tensors=tensors, steps=tuple(steps), proof="")


def layers_of(step: Step) -> tuple[Layer, ...]:
    """A layer alone, or those of a stage."""
    return (step,) if isinstance(step, Layer) else step.layers


def outputs_of(step: Step) -> tuple[str, ...]:
    """What a step makes; the last is its `output`."""
    return step.outputs if isinstance(step, Patches) else (step.output,)


def aligned(size: int) -> int:
    """`size` rounded up to the alignment of tensors in the arena."""
    return -(-size // ALIGNMENT) * ALIGNMENT


def _with_kernels(step: Step, chosen: Sequence[Candidate]) -> Step:
    return replace(step, chosen=chosen[0]) if isinstance(step, Layer) else step.with_kernels(chosen)


def _with_scratch(step: Step, tensors: dict[str, Tensor]) -> Step:
    """The step with a tensor for its scratch, which joins `tensors`."""
    spec = _scratch_of(step)
    if spec is None:
        return replace(step, scratch=None)
    name = unique(f"{step.output}_scratch", tensors)
    tensors[name] = Tensor(name, spec, name)
    return replace(step, scratch=name)


def _scratch_of(step: Step) -> TensorSpec | None:
    if isinstance(step, Layer):
        return step.kernel.scratch
    return TensorSpec((step.scratch_bytes,), "uint8") if step.scratch_bytes else None


def _in_order(tensors: dict[str, Tensor], steps: Sequence[Step]) -> Iterator[Tensor]:
    """Scratch stands behind the output that it belongs to."""
    scratch = {step.output: step.scratch for step in steps if step.scratch}
    for name, tensor in tensors.items():
        if name not in scratch.values():
            yield tensor
            if name in scratch:
                yield tensors[scratch[name]]


def program_of(module: tvm.IRModule, features: Features = ()) -> Program:
    """The program of a module whose `main` holds only `tiny.*` calls and reshapes.

    `features` are those of the core that kernels may use ("dsp", "mve").
    Every layer takes its fastest kernel. Raises UnsupportedError where something else is left.
    """
    function = module["main"]
    builder = _Builder(function, features)
    program = Program(
        tuple(builder.tensors.values()),
        tuple(builder.layers),
        builder.ports("input", builder.inputs()),
        builder.ports("output", builder.outputs()),
    )
    return program.with_kernels([layer.chosen for layer in program.layers])


class _Builder:
    def __init__(self, function: relax.Function, features: Features) -> None:
        self.function, self.features = function, features
        self.attrs = dict(function.attrs or {})
        self.tensors: dict[str, Tensor] = {}
        self.layers: list[Layer] = []
        self.names: dict[ir.Var, str] = {}
        self.result: ir.Expr = function.body.body
        # states are the last parameters, their new values the last results
        count = len(self.attrs.get("tiny.states", ()))
        self.states = list(function.params[len(function.params) - count :])
        fields = self._fields()
        self.updates = dict(zip(fields[len(fields) - count :], self.states, strict=True))
        self.output_names = self._output_names()
        for parameter in function.params:
            self._define(parameter)
        for block in function.body.blocks:
            for binding in block.bindings:
                self._bind(binding.var, binding.value)

    def inputs(self) -> list[str]:
        count = len(self.function.params) - len(self.states)
        return [self.names[parameter] for parameter in self.function.params[:count]]

    def outputs(self) -> list[str]:
        return [self.names[field] for field in self._fields() if field not in self.updates]

    def _fields(self) -> list[ir.Expr]:
        for block in self.function.body.blocks:
            for binding in block.bindings:
                if isinstance(binding.value, relax.Tuple) and binding.var.same_as(self.result):
                    return list(binding.value.fields)
        return list(self.result.fields) if isinstance(self.result, relax.Tuple) else [self.result]

    def _output_names(self) -> dict[ir.Var, str]:
        """Outputs carry the model's own names; TVM's builder has numbered them."""
        fields = [field for field in self._fields() if field not in self.updates]
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
        updated = self.updates.get(var)
        self._define(var, storage=None if updated is None else self.names[updated])
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
        name = unique(self.output_names.get(var, str(var.name)), self.tensors)
        self.names[var] = name
        is_state = var in self.states or var in self.updates
        self.tensors[name] = Tensor(name, dialect.spec_of(var), storage or name, is_state)


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
