"""A rewritten module as plain data: the straight line of layers that code generation prints."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import tvm
from tvm import ir, relax

from tvm_tiny.errors import UnsupportedError
from tvm_tiny.schedules import dialect
from tvm_tiny.schedules.dialect import Kernel, TensorSpec


@dataclass(frozen=True)
class Tensor:
    """A run-time tensor; `storage` is the tensor whose bytes it shares, itself unless a view."""

    name: str
    spec: TensorSpec
    storage: str


@dataclass(frozen=True)
class Layer:
    """One call of a kernel: reads `inputs`, writes `output` and uses `scratch` (tensors' names)."""

    name: str
    operator: str
    inputs: tuple[str, ...]
    output: str
    kernel: Kernel
    macs: int
    scratch: str | None = None


@dataclass(frozen=True)
class Port:
    """An input or output of the model; float ports have neither scale nor zero point."""

    name: str
    tensor: str
    scale: float | None
    zero_point: int | None


@dataclass(frozen=True)
class Program:
    """All tensors, and the layers in the order they run."""

    tensors: tuple[Tensor, ...]
    layers: tuple[Layer, ...]
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]

    def tensor(self, name: str) -> Tensor:
        """The tensor of a name."""
        return next(tensor for tensor in self.tensors if tensor.name == name)


def program_of(module: tvm.IRModule, features: Collection[str] = ()) -> Program:
    """The program of a module whose `main` holds only `tiny.*` calls and reshapes.

    `features` are those of the core that kernels may use ("dsp", "mve").
    Raises UnsupportedError where something else is left.
    """
    function = module["main"]
    builder = _Builder(function, features)
    return Program(
        tuple(builder.tensors.values()),
        tuple(builder.layers),
        builder.ports("input", [parameter.name for parameter in function.params]),
        builder.ports("output", builder.outputs()),
    )


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
        operator = dialect.OPERATORS[call.op.name]
        attrs, arguments = dialect.attributes_of(call), dialect.arguments_of(call)
        inputs = [self.names[a] for a in call.args if isinstance(a, ir.Var)]
        self._define(var)
        try:
            kernel = dialect.lower(call, self.features)
        except UnsupportedError as error:
            raise UnsupportedError(
                error.what,
                where=self.names[var],
                limit=error.limit,
                found=error.found,
                hint=error.hint,
            ) from error
        name = operator.name.removeprefix("tiny.")
        macs = operator.macs(attrs, *arguments)
        output = self.names[var]
        scratch = self._scratch(output, kernel)
        self.layers.append(
            Layer(attrs.layer or output, name, tuple(inputs), output, kernel, macs, scratch)
        )

    def _scratch(self, output: str, kernel: Kernel) -> str | None:
        if kernel.scratch is None:
            return None
        name = unique(f"{output}_scratch", self.tensors)
        self.tensors[name] = Tensor(name, kernel.scratch, name)
        return name

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


def _number(value: Any) -> float | None:
    return None if value is None else float(getattr(value, "value", value))
