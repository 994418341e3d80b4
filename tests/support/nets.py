"""Small nets of the kinds that people deploy, quantised by other tools.

Each is trained for a few seconds to tell ten patterns apart. Nets of random weights would make a
bad measure: they amplify a single different rounding from layer to layer, until no two programs
agree.
"""

from __future__ import annotations

import copy
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest

torch: Any = pytest.importorskip("torch")
nn: Any = torch.nn
Array = np.ndarray[Any, Any]

CLASSES = 10
CALIBRATION_IMAGES = 32
TRAINING_STEPS = 150
BATCH = 32
LEARNING_RATE = 1e-2
COARSE = 4  # pixels of the coarsest pattern of an image, each way


def images(count: int, shape: tuple[int, int, int], seed: int) -> Array:
    """Return float32 images with coarse and fine patterns of random contrast, about -2 to 2.

    White noise would average out in the pools, and all images would look alike to a net.
    """
    generator = np.random.default_rng(seed)
    channels, height, width = shape
    result = generator.normal(0, 0.2, (count, *shape))
    for size in (1, COARSE, height // 2):
        pattern = generator.normal(0, 1, (count, channels, size, size))
        grown = pattern.repeat(-(-height // size), axis=2).repeat(-(-width // size), axis=3)
        contrast = generator.uniform(0, 1, (count, 1, 1, 1))
        result += contrast * grown[:, :, :height, :width]
    return np.clip(result, -3, 3).astype(np.float32)


def labelled_images(
    count: int, shape: tuple[int, int, int], seed: int
) -> tuple[Array, npt.NDArray[np.int64]]:
    """Return images that hold one of ten patterns each, and which it is."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, CLASSES, count)
    patterns = images(CLASSES, shape, seed=0)[labels]
    strength = generator.uniform(0.5, 1.2, (count, 1, 1, 1))
    mixed = strength * patterns + 0.7 * images(count, shape, seed=seed + 1)
    return np.clip(mixed, -3, 3).astype(np.float32), labels


# --- blocks -----------------------------------------------------------------------------------


def convolution(inputs: int, outputs: int, kernel: int, **options: Any) -> list[Any]:
    """Return a convolution that keeps the size (but for its stride), and its batch norm."""
    padding = kernel // 2
    layer = nn.Conv2d(inputs, outputs, kernel, padding=padding, bias=False, **options)
    return [layer, nn.BatchNorm2d(outputs)]


class Residual(nn.Module):  # type: ignore[misc]
    """activation(body(x) + shortcut(x))."""

    def __init__(self, body: Any, shortcut: Any, activation: Any) -> None:
        super().__init__()
        self.body, self.shortcut, self.activation = body, shortcut, activation

    def forward(self, data: Any) -> Any:
        return self.activation(self.body(data) + self.shortcut(data))


class Excite(nn.Module):  # type: ignore[misc]
    """Squeeze and excite: each channel times a number between 0 and 1 made from all averages."""

    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        self.gate = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(channels, squeezed, 1),
            nn.ReLU(),
            nn.Conv2d(squeezed, channels, 1),
            nn.Hardsigmoid(),
        )

    def forward(self, data: Any) -> Any:
        return data * self.gate(data)


class Fire(nn.Module):  # type: ignore[misc]
    """Squeeze to few channels; expand them twice, side by side."""

    def __init__(self, inputs: int, squeezed: int, expanded: int) -> None:
        super().__init__()
        self.squeeze = nn.Sequential(*convolution(inputs, squeezed, 1), nn.ReLU())
        self.narrow = nn.Sequential(*convolution(squeezed, expanded, 1), nn.ReLU())
        self.wide = nn.Sequential(*convolution(squeezed, expanded, 3), nn.ReLU())

    def forward(self, data: Any) -> Any:
        squeezed = self.squeeze(data)
        return torch.cat([self.narrow(squeezed), self.wide(squeezed)], dim=1)


def basic_block(inputs: int, outputs: int, stride: int = 1) -> Any:
    """Return ResNet's block of two convolutions."""
    body = nn.Sequential(
        *convolution(inputs, outputs, 3, stride=stride),
        nn.ReLU(),
        *convolution(outputs, outputs, 3),
    )
    same = stride == 1 and inputs == outputs
    projection = convolution(inputs, outputs, 1, stride=stride)
    shortcut = nn.Identity() if same else nn.Sequential(*projection)
    return Residual(body, shortcut, nn.ReLU())


@dataclass(frozen=True)
class Inverted:
    """An inverted residual of MobileNetV2 or V3."""

    inputs: int
    expanded: int
    outputs: int
    kernel: int = 3
    stride: int = 1
    excite: bool = False
    activation: str = "ReLU6"

    def module(self) -> Any:
        """Return its layers: expand, depthwise, excite, project."""
        size = self.expanded
        options = {"stride": self.stride, "groups": size}
        body = nn.Sequential(
            *convolution(self.inputs, size, 1),
            getattr(nn, self.activation)(),
            *convolution(size, size, self.kernel, **options),
            getattr(nn, self.activation)(),
            *([Excite(size, size // 4)] if self.excite else []),
            *convolution(size, self.outputs, 1),
        )
        same = self.stride == 1 and self.inputs == self.outputs
        return Residual(body, nn.Identity(), nn.Identity()) if same else body


def classifier(channels: int) -> list[Any]:
    """Return global pooling and a dense layer."""
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, CLASSES)]


# --- nets -------------------------------------------------------------------------------------


def resnet() -> Any:
    """Return basic blocks, two of them with stride 2 and a projected shortcut."""
    return nn.Sequential(
        *convolution(3, 8, 3),
        nn.ReLU(),
        basic_block(8, 8),
        basic_block(8, 16, stride=2),
        basic_block(16, 24, stride=2),
        *classifier(24),
    )


def mobilenet_v2() -> Any:
    """Return inverted residuals with ReLU6 and kernels of 3 and 5."""
    return nn.Sequential(
        *convolution(3, 8, 3, stride=2),
        nn.ReLU6(),
        Inverted(8, 16, 8).module(),
        Inverted(8, 24, 12, kernel=5, stride=2).module(),
        Inverted(12, 36, 12, kernel=5).module(),
        Inverted(12, 36, 16, stride=2).module(),
        *convolution(16, 40, 1),
        nn.ReLU6(),
        *classifier(40),
    )


def mobilenet_v3() -> Any:
    """Return inverted residuals with hard-swish and squeeze-excite."""
    swish = "Hardswish"
    return nn.Sequential(
        *convolution(3, 8, 3, stride=2),
        nn.Hardswish(),
        Inverted(8, 16, 8, excite=True, activation="ReLU").module(),
        Inverted(8, 24, 12, stride=2, activation=swish).module(),
        Inverted(12, 32, 12, kernel=5, excite=True, activation=swish).module(),
        Inverted(12, 32, 16, kernel=5, stride=2, excite=True, activation=swish).module(),
        *convolution(16, 32, 1),
        nn.Hardswish(),
        *classifier(32),
    )


def squeezenet() -> Any:
    """Return fire modules, pools of both kinds and a convolution as classifier."""
    return nn.Sequential(
        *convolution(3, 12, 3, stride=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        Fire(12, 6, 12),
        Fire(24, 8, 12),
        nn.AvgPool2d(2),
        Fire(24, 8, 16),
        nn.Conv2d(32, CLASSES, 1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    )


def lenet() -> Any:
    """Return convolutions with biases, max pools, and dense layers on the flattened image."""
    return nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 12, 5),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(12 * 4 * 4, 32),
        nn.ReLU(),
        nn.Linear(32, CLASSES),
    )


@dataclass(frozen=True)
class Net:
    """How to make a net, and the shape of its images."""

    make: Callable[[], Any]
    shape: tuple[int, int, int] = (3, 32, 32)

    @property
    def input_transposes(self) -> int:
        """Layout changes that cannot cancel: the image's own, where it has several channels."""
        return int(self.shape[0] > 1)


NETS = {
    "resnet": Net(resnet),
    "mobilenet_v2": Net(mobilenet_v2),
    # Its pools average 9x9 and 5x5 pixels: averages of few and evenly many integers often end in
    # ties, and which way those go is decided by the noise of torch's own float sums.
    "mobilenet_v3": Net(mobilenet_v3, (3, 36, 36)),
    "squeezenet": Net(squeezenet),
    "lenet": Net(lenet, (1, 24, 24)),
}


@cache
def module(name: str) -> Any:
    """Return a float net in eval mode, trained for a moment; the same on each run."""
    net = NETS[name]
    torch.manual_seed(0)
    made = net.make().train()
    steps = torch.optim.AdamW(made.parameters(), lr=LEARNING_RATE)
    for step in range(TRAINING_STEPS):
        batch, labels = labelled_images(BATCH, net.shape, seed=1000 + step)
        for group in steps.param_groups:
            group["lr"] = LEARNING_RATE * (1 - step / TRAINING_STEPS)
        logits = made(torch.from_numpy(batch))
        loss = nn.functional.cross_entropy(logits, torch.from_numpy(labels))
        steps.zero_grad()
        loss.backward()
        steps.step()
    return made.eval()


# --- ONNX -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Scheme:
    """How ONNX Runtime quantises.

    `reduce_range` gives weights of 7 bits. ONNX Runtime's fused integer operators need it on
    x86 processors without VNNI, where pairs of products saturate at 16 bits; the QDQ form is
    compared in float, which has no such limit.
    """

    form: str
    activations: str = "QInt8"
    per_channel: bool = True
    reduce_range: bool = False


SCHEMES = {
    "qdq_int8": Scheme("QDQ"),
    "qdq_int8_per_tensor": Scheme("QDQ", per_channel=False),
    "qdq_uint8": Scheme("QDQ", activations="QUInt8"),
    "qoperator_int8": Scheme("QOperator", reduce_range=True),
    "qoperator_uint8": Scheme("QOperator", "QUInt8", per_channel=False, reduce_range=True),
}


def float_onnx(name: str) -> bytes:
    """Return a net as a float ONNX file; the export folds batch norms."""
    file = io.BytesIO()
    example = torch.zeros(1, *NETS[name].shape)
    names = {"input_names": ["image"], "output_names": ["logits"]}
    torch.onnx.export(module(name), (example,), file, opset_version=17, dynamo=False, **names)
    return file.getvalue()


def quantised_onnx(name: str, scheme: Scheme, folder: Path) -> onnx.ModelProto:
    """Return a net quantised by ONNX Runtime; `folder` is for its files."""
    from onnxruntime import quantization as tools
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(tools.CalibrationDataReader):  # type: ignore[misc,unused-ignore]
        def __init__(self) -> None:
            self.samples: Iterator[Array] = iter(calibration(name))

        def get_next(self) -> Any:
            sample = next(self.samples, None)
            return None if sample is None else {"image": sample[np.newaxis]}

    paths = [folder / f"{step}.onnx" for step in ("float", "prepared", "quantised")]
    paths[0].write_bytes(float_onnx(name))
    quant_pre_process(str(paths[0]), str(paths[1]), skip_optimization=True)
    tools.quantize_static(
        paths[1],
        paths[2],
        Reader(),
        quant_format=getattr(tools.QuantFormat, scheme.form),
        per_channel=scheme.per_channel,
        reduce_range=scheme.reduce_range,
        activation_type=getattr(tools.QuantType, scheme.activations),
        weight_type=tools.QuantType.QInt8,
    )
    return onnx.load(paths[2])


def calibration(name: str) -> Array:
    """Return the images that ranges are taken from."""
    return labelled_images(CALIBRATION_IMAGES, NETS[name].shape, seed=2)[0]


def samples(name: str, count: int) -> Array:
    """Return images that the net has not seen."""
    return labelled_images(count, NETS[name].shape, seed=3)[0]


def run_onnx(model: onnx.ModelProto, samples: Array) -> Array:
    """Return ONNX Runtime's outputs without its fusions, so QDQ is computed as written: in float.

    With fusions it would use integer kernels for QDQ models too; see Scheme.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    results = [session.run(None, {"image": sample[np.newaxis]})[0] for sample in samples]
    return np.concatenate(results)


def onnx_step(model: onnx.ModelProto) -> float:
    """Return the scale of a model's output, whose last node dequantises."""
    (last,) = [node for node in model.graph.node if node.output[0] == model.graph.output[0].name]
    assert last.op_type == "DequantizeLinear", last.op_type
    (scale,) = [tensor for tensor in model.graph.initializer if tensor.name == last.input[1]]
    return float(onnx.numpy_helper.to_array(scale))


# --- PyTorch ----------------------------------------------------------------------------------


def quantised_torch(name: str, per_channel: bool = True) -> Any:
    """Return a net as an exported program, quantised by torchao's PT2E."""
    tools = pytest.importorskip("torchao.quantization.pt2e.quantize_pt2e")
    quantizers = pytest.importorskip("torchao.testing.pt2e._xnnpack_quantizer")
    config = quantizers.get_symmetric_quantization_config(is_per_channel=per_channel)
    quantizer = quantizers.XNNPACKQuantizer().set_global(config)
    example = (torch.zeros(1, *NETS[name].shape),)
    exported = torch.export.export(copy.deepcopy(module(name)), example).module()
    prepared = tools.prepare_pt2e(exported, quantizer)
    with torch.no_grad():
        for sample in torch.from_numpy(calibration(name)):
            prepared(sample[None])
    return torch.export.export(tools.convert_pt2e(prepared), example)


def run_torch(program: Any, samples: Array) -> Array:
    """Return an exported program's outputs, computed by torch in float from the QDQ form."""
    run = program.module()
    with torch.no_grad():
        outputs = [run(sample[None]).numpy() for sample in torch.from_numpy(samples)]
    return np.concatenate(outputs)


def torch_step(program: Any) -> float:
    """Return the scale of an exported program's output, which is dequantised."""
    (returned,) = next(iter(program.graph.find_nodes(op="output"))).args[0]
    assert "dequantize_per_tensor" in str(returned.target), returned.target
    return float(returned.args[1])
