"""Every builder makes a model that the oracle runs and whose outputs spread over int8."""

from collections.abc import Callable
from functools import cache, partial

import numpy as np
import pytest

from tests.support import one_operator as one
from tests.support import tflm
from tests.support.tflite_writer import Model, read, write

needs_tflm = pytest.mark.skipif(not tflm.have_tflm(), reason="tflite_micro is not installed")

IMAGE = (1, 9, 8, 6)
WIDE = one.Window((3, 2), strides=(2, 1), padding="VALID", dilation=(1, 2))

MODELS: dict[str, Callable[[], Model]] = {
    "conv": lambda: one.conv2d(IMAGE, 5),
    "conv_1x1_relu6": lambda: one.conv2d(IMAGE, 5, one.Window((1, 1)), activation="RELU6"),
    "conv_valid": lambda: one.conv2d(IMAGE, 5, WIDE, weights=one.Weights(lowest=-128)),
    "conv_relu_input": lambda: one.conv2d(one.int8_tensor(IMAGE, zero_point=-128), 5),
    "conv_no_bias": lambda: one.conv2d(IMAGE, 5, weights=one.Weights(bias=False)),
    "conv_per_tensor": lambda: one.conv2d(IMAGE, 5, weights=one.Weights(per_channel=False)),
    "depthwise": lambda: one.depthwise_conv2d(IMAGE),
    "depthwise_2": lambda: one.depthwise_conv2d(IMAGE, 2, WIDE, activation="RELU"),
    "dense": lambda: one.fully_connected((3, 40), 7),
    "dense_per_tensor": lambda: one.fully_connected(
        (1, 2, 40), 7, weights=one.Weights(per_channel=False, bias=False), keep_num_dims=True
    ),
    "add": lambda: one.binary("ADD", IMAGE, IMAGE),
    "add_relu": lambda: one.binary("ADD", IMAGE, IMAGE, activation="RELU"),
    "sub_channel": lambda: one.binary("SUB", IMAGE, (1, 1, 1, 6), constant="right"),
    "mul_channel": lambda: one.binary("MUL", IMAGE, (1, 1, 1, 6)),
    "mul_scalar": lambda: one.binary("MUL", (1,), IMAGE, constant="left"),
    "average": lambda: one.pool2d("AVERAGE_POOL_2D", IMAGE),
    "max": lambda: one.pool2d("MAX_POOL_2D", IMAGE, one.Window((2, 3), (2, 2), "VALID")),
    "mean": lambda: one.mean(IMAGE),
    "mean_channels": lambda: one.mean(IMAGE, (3,), keep_dims=True),
    "softmax": lambda: one.softmax((2, 10)),
    "pad": lambda: one.pad(IMAGE, ((0, 0), (1, 2), (0, 1), (0, 0))),
    "concatenation": lambda: one.concatenation([IMAGE, (1, 9, 8, 2)]),
    "quantize": lambda: one.quantize(IMAGE),
    "requantize": lambda: one.quantize(one.int8_tensor(IMAGE)),
    "dequantize": lambda: one.dequantize(IMAGE),
    "reshape": lambda: one.reshape(IMAGE, (9, 48)),
    "squeeze": lambda: one.squeeze((1, 9, 1, 6), (0, 2)),
    "transpose": lambda: one.transpose(IMAGE, (0, 3, 1, 2)),
    "resize": lambda: one.resize_nearest_neighbor(IMAGE, (18, 12)),
    "slice": lambda: one.strided_slice(IMAGE, (0, 1, 0, 2), (1, 9, 8, 6), (1, 2, 3, 1)),
    "slice_shrink": lambda: one.strided_slice(
        IMAGE, (0, 1, 0, 2), (1, 2, 8, 6), (1, 1, 1, 1), shrink_axis_mask=2
    ),
    **{
        name.lower(): partial(one.unary, name, IMAGE)
        for name in ("LOGISTIC", "TANH", "HARD_SWISH", "RELU", "RELU6", "LEAKY_RELU")
    },
}
MATRIX_PRODUCTS = [name for name in MODELS if name.startswith(("conv", "depthwise", "dense"))]


@cache
def full_range_output(name: str) -> tflm.Array:
    model = MODELS[name]()
    generator = np.random.default_rng(0)
    inputs: list[tflm.Array] = []
    for tensor in (model.tensors[index] for index in model.inputs):
        values = generator.integers(-128, 128, tensor.shape)
        inputs.append((values / 40 if tensor.dtype == "float32" else values).astype(tensor.dtype))
    ((output,),) = tflm.run(write(model), [inputs])
    return output


@needs_tflm
@pytest.mark.parametrize("name", MODELS)
def test_the_oracle_runs_it(name: str) -> None:
    model = MODELS[name]()
    output = full_range_output(name)
    expected = model.tensors[model.outputs[0]]
    assert (output.shape, output.dtype) == (expected.shape, np.dtype(expected.dtype))
    assert len(np.unique(output)) >= min(8, output.size // 3)


@needs_tflm
@pytest.mark.parametrize("name", MATRIX_PRODUCTS)
def test_outputs_are_seldom_saturated(name: str) -> None:
    output = full_range_output(name)
    assert (output == 127).mean() < 0.25
    assert output.max() > 40


def test_weights_hold_both_ends_of_their_range() -> None:
    for lowest in (-127, -128):
        model = one.depthwise_conv2d(IMAGE, weights=one.Weights(lowest=lowest))
        data = model.tensors[1].data
        assert data is not None
        assert (data.min(), data.max()) == (lowest, 127)


@pytest.mark.parametrize("name", MODELS)
def test_reading_gives_the_same_model(name: str) -> None:
    model = MODELS[name]()
    again = read(write(model))
    assert (again.inputs, again.outputs) == (model.inputs, model.outputs)
    assert again.operators[0].builtin == model.operators[0].builtin
    for option, value in model.operators[0].options.items():
        assert again.operators[0].options[option] == pytest.approx(value)
    np.testing.assert_equal([vars(t) for t in again.tensors], [vars(t) for t in model.tensors])
