"""What TVM and TFLite's own Python reader accept, but no kernel could run: checked first.

Each check is a function from the file to its problems; `CHECKS` lists them in stages, and a
stage only runs if the ones before found nothing that would make it read out of range.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
import tflite

from tvm_tiny.errors import Problem
from tvm_tiny.importers.problems import raise_problems
from tvm_tiny.importers.tflite_reader import TfliteFile, TfliteOperator, TfliteTensor, enum_names
from tvm_tiny.importers.tflite_tables import (
    ANY_RANK,
    ITEM_BYTES,
    MIN_INPUTS,
    OPTIONS,
    POSITIVE_OPTIONS,
    QUANTISED_OPERATORS,
    RANKS,
    SAME_SCALES,
    UNSUPPORTED_OPERATORS,
    ZERO_POINTS,
)

MAX_ELEMENTS = 2**31 - 1
SMALLEST_SCALE = float(np.finfo(np.float32).tiny)
PADDINGS = frozenset(enum_names(tflite.Padding))
WEIGHTED = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV")
Problems = Iterator[Problem]
Check = Callable[[TfliteFile], Problems]


def check_tflite(file: TfliteFile) -> None:
    """Raise one error that lists everything wrong with the file."""
    for broken_checks, unsupported_checks in STAGES:
        broken = [problem for check in broken_checks for problem in check(file)]
        unsupported = [problem for check in unsupported_checks for problem in check(file)]
        raise_problems("the TFLite model", broken, unsupported)


# --- stage 1: indices, so that later stages can follow them ---------------------------------


def buffer_indices(file: TfliteFile) -> Problems:
    """Find tensors whose buffer does not exist."""
    for tensor in file.tensors:
        if tensor.buffer >= file.buffer_count:
            yield Problem(
                tensor.where, f"buffer {tensor.buffer} of {file.buffer_count} does not exist"
            )


def operator_codes(file: TfliteFile) -> Problems:
    """Find operators whose operator code does not exist."""
    for operator in file.operators:
        if operator.name.endswith("out of range"):
            yield Problem(operator.where, "the operator code does not exist")


def tensor_indices(file: TfliteFile) -> Problems:
    """Find inputs and outputs that name no tensor; -1 means an absent optional input."""
    count = len(file.tensors)
    lists = [("model inputs", file.inputs, 0), ("model outputs", file.outputs, 0)]
    for operator in file.operators:
        lists.append((f"{operator.where} inputs", operator.inputs, -1))
        lists.append((f"{operator.where} outputs", operator.outputs, 0))
    for where, indices, lowest in lists:
        for index in indices:
            if not lowest <= index < count:
                yield Problem(where, f"tensor {index} of {count} does not exist")


def inputs_and_outputs(file: TfliteFile) -> Problems:
    """Find a model without inputs, outputs or operators, or with an input named twice."""
    for what, indices in (("input", file.inputs), ("output", file.outputs)):
        if not indices:
            yield Problem("model", f"it has no {what}")
    if not file.operators:
        yield Problem("model", "it has no operator")
    if len(set(file.inputs)) != len(file.inputs):
        yield Problem("model", "an input is listed twice")


def single_subgraph(file: TfliteFile) -> Problems:
    """Find control flow, which is what more subgraphs are for."""
    if file.subgraph_count > 1:
        yield Problem(
            "model",
            f"{file.subgraph_count} subgraphs",
            "convert without control flow (If, While, CallOnce) and with unrolled loops",
        )


# --- stage 2: tensors -----------------------------------------------------------------------


def shapes(file: TfliteFile) -> Problems:
    """Find dimensions below 1 and tensors too large to index."""
    for tensor in file.tensors:
        if any(extent < 1 for extent in tensor.shape):
            yield Problem(tensor.where, f"shape {list(tensor.shape)} has a dimension below 1")
        elif math.prod(tensor.shape) * ITEM_BYTES.get(tensor.dtype, 1) > MAX_ELEMENTS:
            yield Problem(tensor.where, f"shape {list(tensor.shape)} is over 2^31 - 1 bytes")


def buffer_sizes(file: TfliteFile) -> Problems:
    """Find constants whose bytes do not match their shape."""
    for tensor in file.tensors:
        item_bytes = ITEM_BYTES.get(tensor.dtype)
        if not tensor.data_bytes or item_bytes is None or tensor.is_sparse:
            continue
        wanted = math.prod(tensor.shape) * item_bytes
        if tensor.data_bytes != wanted:
            shape = f"{tensor.dtype} {list(tensor.shape)}"
            what = f"buffer of {tensor.data_bytes} bytes for {shape}, which needs {wanted}"
            yield Problem(tensor.where, what)


def quantisation(file: TfliteFile) -> Problems:
    """Find scales and zero points that mean nothing."""
    for tensor in file.tensors:
        if tensor.is_quantised:
            for what in _quantisation_of(tensor):
                yield Problem(tensor.where, what)


def _quantisation_of(tensor: TfliteTensor) -> Iterator[str]:
    count = len(tensor.scales)
    # converters that fold batch norms into weights leave negative scales, which kernels can use
    may_be_negative = count > 1 and tensor.data_bytes > 0
    sizes = map(abs, tensor.scales) if may_be_negative else tensor.scales
    bad = [size for size in sizes if not SMALLEST_SCALE <= size < math.inf]
    if bad:
        yield f"scale {bad[0]} is not a positive normal number"
    if len(tensor.zero_points) != count:
        yield f"{count} scales, but {len(tensor.zero_points)} zero points"
    low, high = ZERO_POINTS[tensor.dtype]
    outside = [point for point in tensor.zero_points if not low <= point <= high]
    if outside:
        yield f"zero point {outside[0]} is outside [{low}, {high}] of {tensor.dtype}"
    if count == 1:
        return
    if any(tensor.zero_points):
        yield "per-channel zero points must be 0"
    axis = tensor.quantized_dimension
    if not 0 <= axis < len(tensor.shape):
        yield f"quantized dimension {axis} of a tensor of rank {len(tensor.shape)}"
    elif tensor.shape[axis] != count:
        yield f"{count} scales for {tensor.shape[axis]} channels"


def types(file: TfliteFile) -> Problems:
    """Find element types that have no kernel."""
    used = {index for operator in file.operators for index in operator.inputs + operator.outputs}
    for tensor in file.tensors:
        if tensor.index in used and tensor.dtype not in ITEM_BYTES:
            yield Problem(tensor.where, f"type {tensor.dtype}", "convert to int8 or float32")
        if tensor.is_sparse:
            yield Problem(tensor.where, "sparse weights", "convert without sparsity")
        if tensor.is_variable:
            yield Problem(tensor.where, "a state variable", "make the state an input and an output")


# --- stage 3: operators ---------------------------------------------------------------------


def dataflow(file: TfliteFile) -> Problems:
    """Find tensors read before anything wrote them, and tensors written twice."""
    known = set(file.inputs) | {tensor.index for tensor in file.tensors if tensor.data_bytes}
    for operator in file.operators:
        for index in operator.inputs:
            if index >= 0 and index not in known:
                yield Problem(operator.where, f"{file.tensors[index].where} has no value yet")
        for index in operator.outputs:
            if index in known:
                yield Problem(operator.where, f"{file.tensors[index].where} has a value already")
            known.add(index)
    for index in file.outputs:
        if index not in known:
            yield Problem("model outputs", f"{file.tensors[index].where} is never computed")


def input_counts(file: TfliteFile) -> Problems:
    """Find operators with too few inputs, an absent first input, or no output."""
    for operator in file.operators:
        wanted = MIN_INPUTS.get(operator.name, 0)
        given = operator.inputs[:wanted]
        if len(given) < wanted or -1 in given:
            yield Problem(operator.where, f"needs at least {wanted} inputs")
        if not operator.outputs:
            yield Problem(operator.where, "has no output")


def options(file: TfliteFile) -> Problems:
    """Find operators without their options, or with options that divide by zero."""
    for operator in file.operators:
        wanted = OPTIONS.get(operator.name)
        if wanted is None:
            continue
        if operator.options is None and operator.options_name == "NONE":
            # an absent table means the defaults, which are 0: fine unless 0 is not allowed
            if wanted in POSITIVE_OPTIONS or operator.name in ("SOFTMAX", "FULLY_CONNECTED"):
                yield Problem(operator.where, f"its {wanted} are missing")
            continue
        if operator.options is None or operator.options_name != wanted:
            yield Problem(operator.where, f"options are {operator.options_name}, not {wanted}")
            continue
        for field in POSITIVE_OPTIONS.get(wanted, ()):
            if getattr(operator.options, field)() < 1:
                yield Problem(operator.where, f"{field} is {getattr(operator.options, field)()}")
        if hasattr(operator.options, "Padding") and operator.options.Padding() not in PADDINGS:
            yield Problem(operator.where, f"padding {operator.options.Padding()} is unknown")


def ranks(file: TfliteFile) -> Problems:
    """Find inputs of the wrong rank."""
    for operator in file.operators:
        for position, rank in enumerate(RANKS.get(operator.name, ())):
            tensor = _input(file, operator, position)
            if tensor is not None and rank not in (ANY_RANK, len(tensor.shape)):
                what = f"input {position} ({tensor.where}) has rank {len(tensor.shape)}"
                yield Problem(operator.where, f"{what}, not {rank}")


def channels(file: TfliteFile) -> Problems:
    """Find weights whose channels do not match their input, output or bias."""
    for operator in file.operators:
        if operator.name in WEIGHTED[:3] and len(operator.inputs) > 1 and operator.outputs:
            yield from (Problem(operator.where, what) for what in _channels_of(file, operator))


def _channels_of(file: TfliteFile, operator: TfliteOperator) -> Iterator[str]:
    data, weights = (file.tensors[index] for index in operator.inputs[:2])
    bias, result = _input(file, operator, 2), file.tensors[operator.outputs[0]]
    if len(weights.shape) != RANKS[operator.name][1] or not data.shape or not result.shape:
        return
    is_depthwise = operator.name == "DEPTHWISE_CONV_2D"
    count = weights.shape[-1] if is_depthwise else weights.shape[0]
    if operator.name == "CONV_2D" and data.shape[-1] % weights.shape[-1]:
        yield f"{data.shape[-1]} input channels for weights of {weights.shape[-1]}"
    if is_depthwise and data.shape[-1] * operator.options.DepthMultiplier() != count:
        multiplier = operator.options.DepthMultiplier()
        yield f"{data.shape[-1]} channels with depth multiplier {multiplier}, weights for {count}"
    if operator.name == "FULLY_CONNECTED" and math.prod(data.shape) % weights.shape[-1]:
        yield f"{math.prod(data.shape)} input elements for weights of {weights.shape[-1]}"
    if result.shape[-1] != count:
        yield f"{result.shape[-1]} output channels, weights for {count}"
    if bias is None or data.dtype != weights.dtype:
        return
    if math.prod(bias.shape) != count:
        yield f"bias of {math.prod(bias.shape)} for {count} output channels"
    wanted = {"int8": "int32", "float32": "float32"}.get(data.dtype, bias.dtype)
    if bias.dtype != wanted:
        yield f"bias of type {bias.dtype}, not {wanted}"


def _input(file: TfliteFile, operator: TfliteOperator, position: int) -> TfliteTensor | None:
    given = position < len(operator.inputs)
    return file.tensor(operator.inputs[position]) if given else None


# --- stage 3: what is sound, but not supported ----------------------------------------------


def operators(file: TfliteFile) -> Problems:
    """Find operators that cannot be imported at all, or not on quantised tensors."""
    for operator in file.operators:
        hint = UNSUPPORTED_OPERATORS.get(operator.name)
        if operator.name.startswith(("CUSTOM", "with unknown")):
            hint = "use only TFLite built-in operators"
        if hint is not None:
            yield Problem(operator.where, "the operator is not supported", hint)
        elif _has_quantised(file, operator) and operator.name not in QUANTISED_OPERATORS:
            yield Problem(
                operator.where, "not supported on quantised tensors", "leave this layer in float32"
            )


def _has_quantised(file: TfliteFile, operator: TfliteOperator) -> bool:
    return any(file.tensors[i].is_quantised for i in operator.inputs + operator.outputs if i >= 0)


def quantised_types(file: TfliteFile) -> Problems:
    """Find quantised tensors that are not int8, and weights quantised without their input."""
    for operator in file.operators:
        parts = [file.tensors[i] for i in operator.inputs + operator.outputs if i >= 0]
        for tensor in parts:
            if tensor.dtype in ("int8", "uint8", "int16") and not tensor.scales:
                yield Problem(operator.where, f"{tensor.where} is {tensor.dtype} without a scale")
            elif tensor.is_quantised and tensor.dtype != "int8" and operator.name != "QUANTIZE":
                hint = "convert with int8 quantisation"
                yield Problem(
                    operator.where, f"{tensor.where} is quantised to {tensor.dtype}", hint
                )
        if operator.name in WEIGHTED and len({part.dtype for part in parts[:2]}) > 1:
            yield Problem(
                operator.where,
                "dynamic range quantisation (weights and input of two types)",
                "convert with full integer quantisation",
            )


def activation_scales(file: TfliteFile) -> Problems:
    """Find per-channel activations, and unequal scales where kernels compare raw integers."""
    for operator in file.operators:
        first = 1 if operator.name in WEIGHTED else len(operator.inputs)
        data = [file.tensors[i] for i in operator.inputs[:first] + operator.outputs if i >= 0]
        quantised = [tensor for tensor in data if tensor.is_quantised]
        for tensor in quantised:
            if len(tensor.scales) > 1:
                yield Problem(operator.where, f"{tensor.where} is quantised per channel")
        pairs = {(tensor.scales, tensor.zero_points) for tensor in quantised}
        if operator.name in SAME_SCALES and len(pairs) > 1:
            yield Problem(operator.where, "its tensors differ in scale or zero point")


def softmax_beta(file: TfliteFile) -> Problems:
    """Find a softmax that is not the plain one."""
    for operator in file.operators:
        if operator.name == "SOFTMAX" and operator.options and operator.options.Beta() != 1.0:
            yield Problem(
                operator.where, f"beta is {operator.options.Beta()}", "only 1 is supported"
            )


STAGES: tuple[tuple[tuple[Check, ...], tuple[Check, ...]], ...] = (
    (
        (buffer_indices, operator_codes, tensor_indices, inputs_and_outputs),
        (single_subgraph,),
    ),
    ((shapes, buffer_sizes, quantisation, dataflow, input_counts, options, ranks), ()),
    ((channels,), (types, operators, quantised_types, activation_scales, softmax_beta)),
)
