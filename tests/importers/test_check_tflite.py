"""Every broken TFLite model gives one error that names the tensor or operator and the reason."""

import random
import struct
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import tflite

from tests.support import one_operator as one
from tests.support.shared import shared_path
from tests.support.tflite_writer import Model, Operator, OptionValue, Tensor, write
from tvm_tiny.errors import ModelError, TinyError, UnsupportedError
from tvm_tiny.importers import load

IMAGE = (1, 6, 5, 4)
CONV = one.conv2d(IMAGE, 5)
DENSE = one.fully_connected((1, 20), 7)


def with_tensor(model: Model, index: int, **changes: Any) -> bytes:
    tensors = list(model.tensors)
    tensors[index] = replace(tensors[index], **changes)
    return write(replace(model, tensors=tuple(tensors)))


def with_operator(model: Model, **changes: Any) -> bytes:
    return write(replace(model, operators=(replace(model.operators[0], **changes),)))


def with_options(model: Model, **options: OptionValue) -> bytes:
    return with_operator(model, options={**model.operators[0].options, **options})


def patched(model: Model, table: Callable[[Any], Any], slot: int, form: str, value: int) -> bytes:
    """Overwrite one scalar field of a written model; `slot` is its place in the vtable."""
    data = bytearray(write(model))
    found = table(tflite.Model.GetRootAs(data, 0))._tab
    offset = found.Offset(slot)
    assert offset, "the field has its default and is not stored"
    struct.pack_into(form, data, found.Pos + offset, value)
    return bytes(data)


def tensor_1(root: Any) -> Any:
    return root.Subgraphs(0).Tensors(1)


def elementwise(builtin: str, **changes: Any) -> bytes:
    source = one.int8_tensor(IMAGE)
    other = replace(source, name="other", **changes)
    tensors = (source, other, replace(source, name="out"))
    return write(Model(tensors, (Operator(builtin, (0, 1), (2,)),), (0, 1), (2,)))


def chain(*operators: Operator, outputs: tuple[int, ...] = (2,)) -> bytes:
    names = ("a", "b", "c")
    tensors = tuple(Tensor(name, IMAGE, "float32") for name in names)
    return write(Model(tensors, operators, (0,), outputs))


TANH = Operator("TANH", (0,), (1,))
BROKEN: dict[str, tuple[Callable[[], bytes], str]] = {
    "zero_dimension": (lambda: with_tensor(CONV, 0, shape=(1, 0, 5, 4)), "dimension below 1"),
    "negative_dimension": (lambda: with_tensor(CONV, 0, shape=(1, 6, -5, 4)), "dimension below 1"),
    "too_large": (
        lambda: with_tensor(CONV, 0, shape=(1, 1 << 16, 1 << 16, 4)),
        "over 2\\^31 - 1 bytes",
    ),
    "short_buffer": (
        lambda: with_tensor(CONV, 1, data=np.zeros(7, np.int8)),
        "buffer of 7 bytes for int8 .*, which needs 180",
    ),
    "scale_zero": (lambda: with_tensor(CONV, 0, scales=(0.0,)), "scale 0.0 is not a positive"),
    "scale_negative": (lambda: with_tensor(CONV, 0, scales=(-0.5,)), "scale -0.5 is not"),
    "scale_nan": (lambda: with_tensor(CONV, 0, scales=(float("nan"),)), "scale nan is not"),
    "scale_infinite": (lambda: with_tensor(CONV, 0, scales=(float("inf"),)), "scale inf is not"),
    "scale_denormal": (lambda: with_tensor(CONV, 0, scales=(1e-40,)), "is not a positive normal"),
    "weight_scale_zero": (
        lambda: with_tensor(CONV, 1, scales=(0.1, 0.0, 0.1, 0.1, 0.1)),
        "scale 0.0 is not",
    ),
    "scale_count": (
        lambda: with_tensor(CONV, 1, scales=(0.1, 0.2)),
        "2 scales for 5 channels",
    ),
    "channel_axis": (
        lambda: with_tensor(CONV, 1, quantized_dimension=4),
        "quantized dimension 4 of a tensor of rank 4",
    ),
    "channel_zero_point": (lambda: with_tensor(CONV, 1, zero_point=3), "must be 0"),
    "zero_point_range": (lambda: with_tensor(CONV, 0, zero_point=200), "zero point 200 is outside"),
    "bias_length": (
        lambda: with_tensor(CONV, 2, shape=(4,), data=np.zeros(4, np.int32), scales=()),
        "bias of 4 for 5 output channels",
    ),
    "bias_type": (
        lambda: with_tensor(CONV, 2, dtype="int64", data=np.zeros(5, np.int64)),
        "bias of type int64, not int32",
    ),
    "stride_zero": (lambda: with_options(CONV, stride_h=0), "CONV_2D: StrideH is 0"),
    "dilation_zero": (lambda: with_options(CONV, dilation_w_factor=0), "DilationWFactor is 0"),
    "filter_zero": (
        lambda: with_options(one.pool2d("MAX_POOL_2D", IMAGE), filter_width=0),
        "FilterWidth is 0",
    ),
    "no_options": (lambda: with_operator(CONV, options={}), "its Conv2DOptions are missing"),
    "depth_multiplier": (
        lambda: with_options(one.depthwise_conv2d(IMAGE), depth_multiplier=3),
        "4 channels with depth multiplier 3, weights for 4",
    ),
    "input_channels": (
        lambda: with_tensor(CONV, 0, shape=(1, 6, 5, 3)),
        "3 input channels for weights of 4",
    ),
    "output_channels": (
        lambda: with_tensor(DENSE, 3, shape=(1, 6)),
        "6 output channels, weights for 7",
    ),
    "output_shape": (
        lambda: with_tensor(CONV, 3, shape=(1, 9, 5, 5)),
        r"has shape \[1, 9, 5, 5\], computed",
    ),
    "rank": (lambda: with_tensor(CONV, 0, shape=(6, 5, 4)), "has rank 3, not 4"),
    "too_few_inputs": (lambda: with_operator(CONV, inputs=(0,)), "needs at least 2 inputs"),
    "absent_input": (lambda: with_operator(CONV, inputs=(-1, 1)), "needs at least 2 inputs"),
    "input_index": (lambda: with_operator(CONV, inputs=(0, 99)), "tensor 99 of 4 does not exist"),
    "input_index_negative": (lambda: with_operator(CONV, inputs=(-2, 1)), "tensor -2 of 4"),
    "output_index": (lambda: write(replace(CONV, outputs=(44,))), "model outputs: tensor 44"),
    "no_output": (lambda: with_operator(CONV, outputs=()), "has no output"),
    "no_model_output": (lambda: write(replace(CONV, outputs=())), "it has no output"),
    "no_operators": (lambda: write(replace(CONV, operators=(), outputs=(0,))), "no operator"),
    "read_before_write": (
        lambda: chain(Operator("TANH", (1,), (2,))),
        "tensor 1 'b' has no value yet",
    ),
    "written_twice": (lambda: chain(TANH, TANH, outputs=(1,)), "has a value already"),
    "never_computed": (lambda: chain(TANH), "tensor 2 'c' is never computed"),
    "concat_axis": (
        lambda: with_options(one.concatenation([IMAGE, IMAGE]), axis=7),
        "CONCATENATION",
    ),
    "buffer_index": (
        lambda: patched(CONV, tensor_1, 8, "<I", 1234),
        "buffer 1234 of 3 does not exist",
    ),
    "operator_code": (
        lambda: patched(
            one.binary("ADD", IMAGE, IMAGE, constant="right"), tensor_1, 8, "<I", 1 << 31
        ),
        "buffer 2147483648 of 2",
    ),
    "truncated": (lambda: write(CONV)[:300], "truncated or its offsets are wrong"),
    "root_offset": (lambda: b"\xff\xff\xff\x7f" + write(CONV)[4:], "truncated"),
    "only_a_header": (lambda: b"\x08\0\0\0TFL3", "the TFLite (model|file)"),
}
UNSUPPORTED: dict[str, tuple[Callable[[], bytes], str]] = {
    "softmax_beta": (lambda: with_options(one.softmax((2, 10)), beta=2.0), "beta is 2.0"),
    "quantised_uint8": (
        lambda: elementwise("ADD", dtype="uint8", zero_point=3),
        "quantised to uint8 .*int8 quantisation",
    ),
    "int8_without_scale": (lambda: elementwise("ADD", scales=()), "int8 without a scale"),
    "channels_of_data": (
        lambda: elementwise(
            "ADD", scales=(0.1, 0.2, 0.3, 0.4), zero_point=0, quantized_dimension=3
        ),
        "quantised per channel",
    ),
    "dynamic_range": (
        lambda: with_tensor(DENSE, 0, dtype="float32", scales=()),
        "dynamic range quantisation",
    ),
    "tanh_activation": (
        lambda: with_options(CONV, fused_activation_function="TANH"),
        "fused activation TANH on quantised tensors",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_models_are_refused(name: str) -> None:
    make, message = BROKEN[name]
    with pytest.raises(ModelError, match=message) as caught:
        load(make())
    assert not isinstance(caught.value, UnsupportedError)


@pytest.mark.parametrize("name", UNSUPPORTED)
def test_sound_but_unsupported_models_say_so(name: str) -> None:
    make, message = UNSUPPORTED[name]
    with pytest.raises(UnsupportedError, match=message):
        load(make())


def test_all_problems_are_listed_at_once() -> None:
    tensors = list(CONV.tensors)
    tensors[0] = replace(tensors[0], scales=(0.0,))
    tensors[2] = replace(tensors[2], data=np.zeros(2, np.int32))
    broken = replace(CONV, tensors=tuple(tensors))
    with pytest.raises(ModelError) as caught:
        load(with_options(broken, stride_w=0))
    assert len(caught.value.problems) == 3


def test_negative_weight_scales_are_fine_since_converters_write_them() -> None:
    load(with_tensor(CONV, 1, scales=(0.1, -0.1, 0.1, 0.1, 0.1)))


def test_several_subgraphs_are_not_supported() -> None:
    data = shared_path("models", "mlperf_tiny", "ad01_int8.tflite").read_bytes()
    root = tflite.Model.GetRootAs(data, 0)
    vector = root._tab.Vector(root._tab.Offset(8))
    changed = bytearray(data)
    # the second subgraph is never read
    struct.pack_into("<I", changed, vector - 4, 2)
    with pytest.raises(UnsupportedError, match="2 subgraphs"):
        load(bytes(changed))


def mutant(data: bytes, seed: int) -> bytes:
    generator = random.Random(seed)
    changed = bytearray(data)
    for _ in range(generator.choice((1, 2, 4, 16))):
        changed[generator.randrange(len(changed))] = generator.randrange(256)
    return bytes(changed[: generator.randrange(len(data))] if seed % 10 == 0 else changed)


def outcome(data: bytes) -> str:
    try:
        load(data)
    except TinyError as error:
        return str(error)
    return "imported"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ad01_int8", "kws01_dscnn_int8", "ic01_resnet8_int8"])
def test_mutants_of_real_models_never_crash(name: str) -> None:
    data = shared_path("models", "mlperf_tiny", f"{name}.tflite").read_bytes()
    for seed in range(100):
        assert outcome(mutant(data, seed))


def test_mutants_of_a_small_model_never_crash() -> None:
    # almost all of its bytes are structure, not weights
    data = write(CONV)
    outcomes = {outcome(mutant(data, seed)) for seed in range(300)}
    assert len(outcomes) > 20


def test_dynamic_range_models_say_what_to_do() -> None:
    path = shared_path("models", "mlperf_tiny", "kws01_dscnn_fp32.tflite")
    with pytest.raises(UnsupportedError, match="full integer quantisation") as caught:
        load(path)
    assert len(caught.value.problems) == 5
