"""Program and arena plan to C99 source files."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from importlib.resources import files
from typing import Any

import jinja2
import numpy as np

from tvm_tiny.codegen.c_printer import CPrinter, c_type
from tvm_tiny.codegen.c_texts import call, numbers, real_text, shape_text, tensor_text
from tvm_tiny.codegen.identifiers import c_comment, c_string, identifier
from tvm_tiny.codegen.lower_kernel import lower_kernel
from tvm_tiny.codegen.patch_text import PatchesText, Surroundings, patches_text
from tvm_tiny.codegen.stage_text import Callee, StageText, stage_text
from tvm_tiny.codegen.training_text import TrainingText, training_text
from tvm_tiny.relay_passes.plan_arena import ArenaPlan
from tvm_tiny.relay_passes.plan_states import StatePlan
from tvm_tiny.relay_passes.program import (
    ALIGNMENT,
    Layer,
    Patches,
    Port,
    Program,
    RowLayer,
    Stage,
    Tensor,
    layers_of,
    unique,
)
from tvm_tiny.schedules.dialect import TensorSpec
from tvm_tiny.schedules.microkernel import MicroKernel, indent
from tvm_tiny.version import VERSION

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Constant:
    """An array in Flash."""

    symbol: str
    ctype: str
    length: int
    nbytes: int
    text: str


@dataclass
class KernelText:
    """A printed kernel and the numbers of the layers that call it."""

    symbol: str
    signature: str
    body: str
    used: list[bool]
    users: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class LayerText:
    """A layer's function."""

    symbol: str
    description: str
    call: str
    parameters: str
    argument: str  # by which it reaches the arenas, empty if it does not


@dataclass(frozen=True)
class RunText:
    """A call of the run function, of a layer or of a stage, which may fail by its call-back."""

    symbol: str
    is_called_back: bool


@dataclass(frozen=True)
class GeneratedCode:
    """Source files by name, the C prefix, and the symbol of every layer in order."""

    name: str
    files: dict[str, str]
    layer_symbols: tuple[str, ...]
    weight_bytes: int


def generate(
    program: Program, plan: ArenaPlan, name: str, states: StatePlan | None = None
) -> GeneratedCode:
    """C sources of a planned program; `name` is a C identifier and prefixes every symbol.

    With `states` the firmware also trains.
    """
    return _Generator(program, plan, name, states).run()


class _Generator:
    def __init__(
        self, program: Program, plan: ArenaPlan, name: str, states: StatePlan | None
    ) -> None:
        self.program, self.plan, self.name, self.states = program, plan, name, states
        self.tensors = {tensor.name: tensor for tensor in program.tensors}
        self.constants: dict[tuple[str, bytes], Constant] = {}
        self.kernels: dict[str, KernelText] = {}
        self.microkernels = {
            function.name: function
            for layer in program.layers
            for function in layer.kernel.microkernels
        }
        self.labels = self._labels()
        # With several memories everything gets the context, which knows all.
        self.has_context = plan.fast_bytes > 0 or states is not None
        self.parameter = f"const {name}_context *ctx" if self.has_context else "uint8_t *arena"
        self.argument = "ctx" if self.has_context else "arena"

    def run(self) -> GeneratedCode:
        layers = self._layers()
        stages, patches = self._stages(layers), self._patches(layers)
        training = self._training()
        weight_bytes = sum(constant.nbytes for constant in self.constants.values())
        runs = self._runs(layers, stages, patches)
        forward = self.states.forward_steps if self.states else len(runs)
        context = {
            "name": self.name,
            "NAME": self.name.upper(),
            "version": VERSION,
            "plan": self.plan,
            "parameter": self.parameter,
            "alignment": ALIGNMENT,
            "layers": layers,
            "stages": stages,
            "patches": patches,
            "has_context": self.has_context,
            "training": training,
            "runs": runs[:forward],
            "training_runs": runs[forward:],
            "macs": sum(layer.macs for layer in self.program.layers),
            "weight_bytes": weight_bytes,
            "tensors": [self._tensor_row(tensor) for tensor in self._placed()],
            "row_type": self._row_type(),
            "inputs": self._ports("input", self.program.inputs),
            "outputs": self._ports("output", self.program.outputs),
            "max_rank": max(4, *(len(t.spec.shape) for t in self.program.tensors)),
            "kernels": list(self.kernels.values()),
            "constants": list(self.constants.values()),
        }
        runtime = files("tvm_tiny").joinpath("runtime")
        used = {source for layer in self.program.layers for source in layer.kernel.sources}
        used |= set(ROWS_SOURCES if stages else ()) | set(PATCHES_SOURCES if patches else ())
        used |= set(TRAINING_SOURCES if training else ())
        context["headers"] = [source for source in sorted(used) if source.endswith(".h")]
        context["microkernels"] = [self._microkernel(f) for f in self.microkernels.values()]
        context["needs"] = _needs(self.microkernels.values())
        templates = FILES + (MICROKERNEL_FILES if self.microkernels else ())
        sources = {f"{self.name}{suffix}": _render(name, context) for suffix, name in templates}
        for source in ("tvm_tiny.h", *sorted(used)):
            sources[source] = runtime.joinpath(source).read_text()
        symbols = tuple(layer.symbol for layer in layers)
        return GeneratedCode(self.name, sources, symbols, weight_bytes)

    def _placed(self) -> list[Tensor]:
        """Tensors that are in the arena."""
        return [t for t in self.program.tensors if t.name in self.plan.offsets]

    def _row_type(self) -> str:
        """C type of what call-backs write; nothing where there are none."""
        ports = [port for port in self.program.inputs if port.is_called_back]
        types = {c_type(self.tensors[port.tensor].spec.dtype) for port in ports}
        return "void" if len(types) > 1 else next(iter(types), "")

    def _labels(self) -> dict[str, str]:
        labels: dict[str, str] = {}
        for tensor in self._placed():
            label = identifier(tensor.name, "tensor").upper()
            labels[tensor.name] = unique(f"T_{label}", labels.values())
        for tensor in self.program.states:
            label = identifier(tensor.name, "state").upper()
            labels[tensor.name] = unique(f"S_{label}", labels.values())
        updated = [t for t in self.program.tensors if t.is_state and t.storage != t.name]
        return labels | {tensor.name: labels[tensor.storage] for tensor in updated}

    def _tensor_row(self, tensor: Tensor) -> dict[str, Any]:
        most = max(self.plan.arena_bytes, self.plan.fast_bytes)
        width = max(map(len, self.labels.values())) + len(f" = {most},")
        is_fast = tensor.name in self.plan.fast_tensors
        assignment = f"{self.labels[tensor.name]} = {self.plan.offsets[tensor.name]},"
        return {
            "assignment": assignment.ljust(width),
            "description": tensor_text(tensor) + (", fast" if is_fast else ""),
        }

    def _ports(self, kind: str, ports: tuple[Port, ...]) -> list[dict[str, Any]]:
        return [self._port(kind, index, port) for index, port in enumerate(ports)]

    def _port(self, kind: str, index: int, port: Port) -> dict[str, Any]:
        tensor = self.tensors[port.tensor]
        spec = tensor.spec
        shape = ", ".join(str(extent) for extent in spec.shape) or "1"
        scale = "0.0f" if port.scale is None else f"{port.scale:.9e}f"
        fields = (
            c_string(port.name),
            c_string(spec.dtype),
            str(spec.nbytes),
            str(len(spec.shape)),
            f"{{{shape}}}",
            scale,
            str(port.zero_point or 0),
        )
        scaling = "" if port.scale is None else f", {real_text(port.scale, port.zero_point or 0)}"
        return {
            "index": index,
            "is_called_back": port.is_called_back,
            "row_bytes": spec.nbytes // spec.shape[1] if port.is_called_back else 0,
            "label": self.labels.get(port.tensor, "-1"),
            "is_fast": port.tensor in self.plan.fast_tensors,
            "nbytes": spec.nbytes,
            "initialiser": ", ".join(fields),
            "assertion": f"{kind}_{index}_is_inside",
            "description": f"{c_comment(port.name)}, {shape_text(spec)}{scaling}",
        }

    def _layers(self) -> list[LayerText]:
        texts: list[LayerText] = []
        for step in self.program.steps:
            if isinstance(step, Stage):
                texts += [
                    self._row_layer(number, item, step)
                    for number, item in enumerate(step.row_layers, len(texts))
                ]
            elif isinstance(step, Patches):
                texts += self._patch_layers(len(texts), step)
            else:
                inputs = [self._at(name, "const ") for name in step.inputs]
                scratch = [] if step.scratch is None else [self._at(step.scratch, "")]
                output = self._at(step.output, "")
                specs = [self.tensors[name].spec for name in (*step.inputs, step.output)]
                texts.append(self._layer(len(texts), step, specs, [*inputs], scratch, output))
        return texts

    def _row_layer(self, index: int, item: RowLayer, stage: Stage) -> LayerText:
        """A layer of a stage, which is told where its rows are."""
        layer, call = item.layer, item.layer.call
        assert call is not None
        inputs: list[str] = []
        parameters: list[str] = []
        is_alone = sum(reach is not None for reach in item.reaches) == 1
        for name, spec, reach in zip(layer.inputs, call.inputs, item.reaches, strict=True):
            if reach is None:
                inputs.append(self._at(name, "const "))
                continue
            variable = "x" if is_alone else f"x{len(parameters)}"
            inputs.append(variable)
            parameters.append(f"const {c_type(spec.dtype)} *{variable}")
        scratch = []
        if layer.kernel.scratch is not None:
            assert stage.scratch is not None
            base, ctype = self._address(stage.scratch), c_type(layer.kernel.scratch.dtype)
            scratch = [f"({ctype} *)({base} + {stage.kernel_scratch})"]
        parameters.append(f"{c_type(call.output.dtype)} *y")
        text = self._layer(index, layer, [*call.inputs, call.output], inputs, scratch, "y")
        is_in_arena = "arena + T_" in text.call
        listed = [self.parameter, *parameters] if is_in_arena else parameters
        argument = self.argument if is_in_arena else ""
        return replace(text, parameters=", ".join(listed), argument=argument)

    def _patch_layers(self, first: int, patches: Patches) -> list[LayerText]:
        """Layers whose tensors are tiles in the scratch of their patches."""
        offsets = {tile.name: tile.offset for tile in patches.tiles}
        base = self._scratch(patches)
        texts = []
        pairs = zip(patches.patch_layers, patches.kernel_scratch, strict=True)
        for index, (item, scratch_offset) in enumerate(pairs, first):
            layer, call, kernel = item.layer, item.layer.call, item.layer.kernel
            assert call is not None
            inputs = [
                self._at(name, "const ")
                if tile is None
                else f"(const {c_type(spec.dtype)} *)({base} + {offsets[tile]})"
                for name, tile, spec in zip(layer.inputs, item.inputs, call.inputs, strict=True)
            ]
            scratch = []
            if kernel.scratch is not None:
                scratch = [f"({c_type(kernel.scratch.dtype)} *)({base} + {scratch_offset})"]
            output = f"({c_type(call.output.dtype)} *)({base} + {offsets[item.tile]})"
            specs = [*call.inputs, call.output]
            texts.append(self._layer(index, layer, specs, inputs, scratch, output))
        return texts

    def _layer(
        self,
        index: int,
        layer: Layer,
        specs: Sequence[TensorSpec],
        inputs: list[str],
        scratch: list[str],
        output: str,
    ) -> LayerText:
        """A layer's function; `specs` are those of inputs and output, the others C expressions."""
        number = f"{index:02d}"
        kernel = self._kernel(number, layer)
        kernel.users.append(number)
        constants = [
            self._constant(f"{name}_{number}", values) for name, values in layer.kernel.constants
        ]
        arguments = [*inputs, *constants, *scratch, output]
        kept = [text for text, is_used in zip(arguments, kernel.used, strict=True) if is_used]
        read = ", ".join(map(shape_text, specs[:-1]))
        macs = f", {layer.macs} MACs" if layer.macs else ""
        description = f"{number} {layer.operator} {c_comment(layer.name)}: {read} -> "
        return LayerText(
            f"{self.name}_layer_{number}_{layer.kernel.name}",
            description + shape_text(specs[-1]) + macs,
            call(kernel.symbol, kept),
            self.parameter,
            self.argument,
        )

    def _stages(self, layers: Sequence[LayerText]) -> list[StageText]:
        outputs = [layer.output for layer in self.program.layers]
        ports = {port.tensor: index for index, port in enumerate(self.program.inputs)}
        callees = {
            output: Callee(text.symbol, text.argument)
            for output, text in zip(outputs, layers, strict=True)
        }
        stages = [step for step in self.program.steps if isinstance(step, Stage)]
        return [
            stage_text(
                stage,
                f"{self.name}_stage_{n}",
                callees,
                self._address,
                self._scratch(stage),
                ports,
            )
            for n, stage in enumerate(stages)
        ]

    def _patches(self, layers: Sequence[LayerText]) -> list[PatchesText]:
        outputs = [layer.output for layer in self.program.layers]
        symbols = [text.symbol for text in layers]
        callees = dict(zip(outputs, symbols, strict=True))
        steps = [step for step in self.program.steps if isinstance(step, Patches)]
        return [
            patches_text(
                step,
                f"{self.name}_patches_{n}",
                Surroundings(
                    callees, self._spec, self._address, self._scratch(step), self.argument
                ),
            )
            for n, step in enumerate(steps)
        ]

    def _runs(
        self,
        layers: Sequence[LayerText],
        stages: Sequence[StageText],
        patches: Sequence[PatchesText],
    ) -> list[RunText]:
        """What the run function calls."""
        singles, by_rows, by_patches, runs = iter(layers), iter(stages), iter(patches), []
        for step in self.program.steps:
            texts = [next(singles) for _ in layers_of(step)]
            if isinstance(step, Layer):
                runs.append(RunText(texts[0].symbol, False))
            else:
                text = next(by_rows) if isinstance(step, Stage) else next(by_patches)
                runs.append(RunText(text.symbol, text.is_called_back))
        return runs

    def _training(self) -> TrainingText | None:
        """What the model's files say of training; nothing where nothing is trained."""
        if self.states is None:
            return None
        initial = {
            state.name: self._constant(f"initial_{state.name}", state.initial)
            for state in self.states.states
            if state.initial.any()
        }
        return training_text(self.states, self.program, self.name, self.labels, initial)

    def _spec(self, name: str) -> TensorSpec:
        return self.tensors[name].spec

    def _scratch(self, stage: Stage | Patches) -> str:
        return "" if stage.scratch is None else self._address(stage.scratch)

    def _address(self, name: str) -> str:
        return f"{self._base(name)} + {self.labels[name]}"

    def _base(self, name: str) -> str:
        """The memory of a tensor."""
        if not self.has_context:
            return "arena"
        if self.tensors[name].is_state:
            return "ctx->state"
        return "ctx->fast_arena" if name in self.plan.fast_tensors else "ctx->arena"

    def _kernel(self, number: str, layer: Layer) -> KernelText:
        """The kernel's text; equal texts are one function."""
        lowered = lower_kernel(layer.kernel.function)
        symbols = {name: f"{self.name}_{name}" for name in self.microkernels}
        used = CPrinter(lowered).used_parameters()
        printer = CPrinter(lowered, symbols)
        body = "\n".join(printer.body())
        aliased = layer.kernel.aliased
        key = printer.signature("", used, aliased) + body
        if key not in self.kernels:
            symbol = f"{self.name}_{layer.kernel.name}_{number}"
            text = KernelText(symbol, printer.signature(symbol, used, aliased), body, used)
            self.kernels[key] = text
        return self.kernels[key]

    def _microkernel(self, function: MicroKernel) -> dict[str, str]:
        return {
            "symbol": f"{self.name}_{function.name}",
            "parameters": function.parameters,
            "summary": function.summary,
            "assembly": "\n".join(indent(function.assembly)),
            "plain": "\n".join(f"  {line}" for line in function.plain),
        }

    def _constant(self, label: str, values: Array) -> str:
        ctype = c_type(values.dtype)
        key = (ctype, values.tobytes())
        if key not in self.constants:
            text = numbers(values)
            self.constants[key] = Constant(
                f"{self.name}_{label}", ctype, values.size, values.nbytes, text
            )
        return self.constants[key].symbol

    def _at(self, name: str, qualifier: str) -> str:
        ctype = c_type(self.tensors[name].spec.dtype)
        return f"({qualifier}{ctype} *)({self._address(name)})"


TRAINING_SOURCES = ("tvm_tiny_weights_image.c", "tvm_tiny_weights_image.h")
PATCHES_SOURCES = ("tvm_tiny_patches.c", "tvm_tiny_patches.h")
ROWS_SOURCES = ("tvm_tiny_rows.c", "tvm_tiny_rows.h")
FILES = (
    (".h", "model.h.j2"),
    (".c", "model.c.j2"),
    ("_kernels.h", "kernels.h.j2"),
    ("_kernels.c", "kernels.c.j2"),
    ("_weights.h", "weights.h.j2"),
    ("_weights.c", "weights.c.j2"),
)
MICROKERNEL_FILES = (
    ("_microkernels.h", "microkernels.h.j2"),
    ("_microkernels.c", "microkernels.c.j2"),
    ("_microkernels.S", "microkernels.S.j2"),
)
ENVIRONMENT = jinja2.Environment(
    loader=jinja2.PackageLoader("tvm_tiny.codegen"),
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
    undefined=jinja2.StrictUndefined,
)


def _needs(functions: Collection[MicroKernel]) -> dict[str, str]:
    """What all of the micro-kernels run on: in words, for the assembler, in the runtime."""
    if any(function.needs_helium for function in functions):
        return {"words": "Helium", "assembly": "__ARM_FEATURE_MVE", "plain": "MVE"}
    if any(function.needs_dsp for function in functions):
        return {"words": "DSP instructions", "assembly": "__ARM_FEATURE_DSP", "plain": "DSP"}
    return {"words": "long multiplies", "assembly": "__thumb2__", "plain": "LONG"}


def _render(template: str, context: dict[str, Any]) -> str:
    return ENVIRONMENT.get_template(template).render(context)
