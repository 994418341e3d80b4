"""What the tests of all operators share: TFLite Micro = meaning in numpy = kernel in C."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pytest
import tvm
from tvm import ir

from tests.support import tflm
from tests.support.calls import call_of as call_of
from tests.support.evaluate_tiny import calls, evaluate, rewrite
from tests.support.kernels import Job, Library
from tests.support.tflite_writer import Model, write
from tvm_tiny.importers.from_tflite import from_tflite
from tvm_tiny.schedules import dialect
from tvm_tiny.schedules.dialect import TensorSpec
from tvm_tiny.schedules.instruction_order import ORDER

Array = np.ndarray[Any, Any]

needs_tflm = pytest.mark.skipif(not tflm.have_tflm(), reason="tflite_micro is not installed")
EDGES = (-128, 127)


def inferred(call: Any) -> TensorSpec:
    """Return what the operator's type rule says of a call."""
    operator = dialect.OPERATORS[call.op.name]
    spec: TensorSpec = operator.infer(dialect.attributes_of(call), *dialect.arguments_of(call))
    return spec


def samples_of(specs: Sequence[TensorSpec], seed: int = 0) -> list[list[Array]]:
    """Return inputs: all of int8 at random, its ends at random, its ends alone."""
    generator = np.random.default_rng(seed)
    makers: list[Callable[[TensorSpec], Array]] = [
        lambda spec: generator.integers(-128, 128, spec.shape),
        lambda spec: generator.choice(EDGES, spec.shape),
        *(lambda spec, edge=edge: np.full(spec.shape, edge) for edge in EDGES),
    ]
    return [[_typed(make(spec), spec) for spec in specs] for make in makers]


def _typed(values: Array, spec: TensorSpec) -> Array:
    # floats reach beyond what int8 of the usual scales can hold
    return (values / 20 if spec.dtype == "float32" else values).astype(spec.dtype)


@dataclass(frozen=True)
class Suite:
    """Cases of an operator: models of one TFLite operator, and calls of the dialect.

    `models` also say which calls they become, and so give calls to compile.
    """

    models: Mapping[str, Callable[[], Model]] = field(default_factory=dict)
    calls: Mapping[str, Callable[[], Any]] = field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        """Names of all calls."""
        return [*self.models, *self.calls]

    def module(self, name: str) -> tvm.IRModule:
        """Return a model's module in the dialect."""
        return rewrite(from_tflite(write(self.models[name]())))

    @cached_property
    def _compiled(self) -> dict[str, list[Any]]:
        return {}

    def compiled(self, name: str) -> list[Any]:
        """Return the calls to compile for a name."""
        if name not in self._compiled:
            is_model = name in self.models
            self._compiled[name] = calls(self.module(name)) if is_model else [self.calls[name]()]
        return self._compiled[name]

    def jobs(self, names: Iterable[str]) -> dict[str, Job]:
        """Return all kernels: of every call the portable one and each variant that can do it."""
        jobs: dict[str, Job] = {}
        for name in names:
            for number, call in enumerate(self.compiled(name)):
                for variant, kernel in kernels(call).items():
                    jobs[f"{name}/{number}/{variant}"] = Job(kernel, inferred(call))
        return jobs

    def check_meaning(self, name: str) -> None:
        """Assert that the dialect's meaning of a model is TFLite Micro's, bit for bit."""
        model, module = self.models[name](), self.module(name)
        tensors = [model.tensors[index] for index in model.inputs]
        samples = samples_of([TensorSpec(tensor.shape, tensor.dtype) for tensor in tensors])
        points = [np.full(t.shape, t.zero_point if t.scales else 0.5, t.dtype) for t in tensors]
        for sample, expected in zip(
            [*samples, points], tflm.run(write(model), [*samples, points]), strict=True
        ):
            actual = evaluate(module, *sample)
            for ours, theirs in zip(actual, expected, strict=True):
                assert ours.dtype == theirs.dtype
                np.testing.assert_array_equal(ours, theirs)

    def check_kernel(self, library: Library, name: str) -> None:
        """Assert that every kernel of a case computes what the meaning says."""
        assert self.compiled(name), f"{name} became no call"
        for number, call in enumerate(self.compiled(name)):
            specs = [dialect.spec_of(a) for a in call.args if isinstance(a, ir.Var)]
            samples = samples_of(specs, seed=number + 1)
            expected = [dialect.run_meaning(call, sample) for sample in samples]
            spec = inferred(call)
            assert {(e.shape, str(e.dtype)) for e in expected} == {(spec.shape, spec.dtype)}
            for kernel in library.of(f"{name}/{number}"):
                for ours, theirs in zip(library.run(kernel, samples), expected, strict=True):
                    np.testing.assert_array_equal(ours, theirs, err_msg=kernel)


def kernels(call: Any) -> dict[str, dialect.Kernel]:
    """Return all kernels that can compute a call."""
    seen = dialect.call_of(call).seen_by_kernels
    operator, attrs, arguments = seen.operator, seen.attributes, seen.arguments
    found = {"portable": operator.kernel(attrs, *arguments)}
    for variant in operator.variants:
        for options in [{}, *variant.options(attrs, *arguments)]:
            # in other orders of instructions, the C for this machine is the same
            kernel = None if ORDER in options else variant.kernel(attrs, *arguments, **options)
            if kernel is not None:
                found["".join([variant.name, *map(str, options.values())])] = kernel
    return found
