"""Convolutions whose gradients are tested, their numbers, and the same gradients from torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tvm_tiny.schedules.dialect import Array, Operator, TensorSpec
from tvm_tiny.schedules.training.conv2d_input_gradient import CONV2D_INPUT_GRADIENT
from tvm_tiny.schedules.training.conv2d_weight_gradient import CONV2D_WEIGHT_GRADIENT
from tvm_tiny.schedules.training.conv2d_weight_update import CONV2D_WEIGHT_UPDATE
from tvm_tiny.schedules.training.depthwise_input_gradient import DEPTHWISE_INPUT_GRADIENT
from tvm_tiny.schedules.training.depthwise_weight_gradient import DEPTHWISE_WEIGHT_GRADIENT
from tvm_tiny.schedules.training.depthwise_weight_update import DEPTHWISE_WEIGHT_UPDATE
from tvm_tiny.schedules.training.gradient_windows import (
    ConvGradientAttributes,
    DepthwiseGradientAttributes,
    DepthwiseWeightGradientAttributes,
    WeightGradientAttributes,
)
from tvm_tiny.schedules.window import patches


@dataclass(frozen=True)
class Convolution:
    """A convolution, depthwise where `multiplier` is not 0; padding is top, left, bottom, right."""

    size: tuple[int, int]
    depth: int
    outputs: int = 0
    kernel: tuple[int, int] = (1, 1)
    strides: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1
    multiplier: int = 0
    channels: tuple[int, ...] = ()
    zero_point: int = -3

    @property
    def window(self) -> dict[str, Any]:
        """Fields of all window attributes."""
        return {"strides": self.strides, "padding": self.padding, "dilation": self.dilation}

    @property
    def data(self) -> TensorSpec:
        """The input."""
        return TensorSpec((1, *self.size, self.depth), "int8")

    @property
    def weight(self) -> TensorSpec:
        """The weights."""
        if self.multiplier:
            return TensorSpec((*self.kernel, self.depth * self.multiplier), "int8")
        return TensorSpec((self.outputs, *self.kernel, self.depth // self.groups), "int8")

    @property
    def gradient(self) -> TensorSpec:
        """The gradient of the output."""
        size = self.input_attributes.output_size(self.size, self.kernel)
        channels = self.depth * self.multiplier if self.multiplier else self.outputs
        return TensorSpec((1, *size, channels), "float32")

    @property
    def scale(self) -> TensorSpec:
        """A scale for each channel of the output, and with one element the rate."""
        return TensorSpec((self.gradient.shape[3],), "float32")

    @property
    def input_attributes(self) -> Any:
        """Attributes of the input's gradient."""
        if self.multiplier:
            return DepthwiseGradientAttributes(**self.window, **self._size, **self._multiplier)
        return ConvGradientAttributes(**self.window, **self._size, groups=self.groups)

    @property
    def _size(self) -> dict[str, Any]:
        return {"input_size": self.size}

    @property
    def _multiplier(self) -> dict[str, Any]:
        return {"channel_multiplier": self.multiplier}

    @property
    def weight_attributes(self) -> Any:
        """Attributes of the weights' gradient and update."""
        fields = {**self.window, "kernel_size": self.kernel, "input_zero_point": self.zero_point}
        if self.multiplier:
            return DepthwiseWeightGradientAttributes(**fields)
        return WeightGradientAttributes(**fields, groups=self.groups, channels=self.channels)

    @property
    def operators(self) -> tuple[Operator, Operator, Operator]:
        """Gradients of the input and the weights, and the weights' update."""
        if self.multiplier:
            return DEPTHWISE_INPUT_GRADIENT, DEPTHWISE_WEIGHT_GRADIENT, DEPTHWISE_WEIGHT_UPDATE
        return CONV2D_INPUT_GRADIENT, CONV2D_WEIGHT_GRADIENT, CONV2D_WEIGHT_UPDATE

    def sample(self, seed: int) -> dict[str, Array]:
        """Random numbers of every tensor; half of the gradients are zero, of most seeds."""
        generator = np.random.default_rng(seed)
        gradient = generator.normal(0, 1, self.gradient.shape).astype(np.float32)
        if seed % 3 != 2:
            gradient[generator.random(gradient.shape) < 0.5] = generator.choice([0.0, -0.0])
        ends = generator.choice(np.array([-128, 127], np.int8), self.data.shape)
        data = generator.integers(-128, 128, self.data.shape, np.int8)
        return {
            "data": ends if seed % 2 else data,
            "weight": generator.integers(-128, 128, self.weight.shape, np.int8),
            "gradient": gradient,
            "rate": np.full(1, 0.37, np.float32),
            "scale": generator.uniform(0.001, 0.02, self.scale.shape).astype(np.float32),
        }


def torch_gradients(convolution: Convolution, sample: dict[str, Array]) -> tuple[Array, Array]:
    """Return float64 gradients of the input and of all weights, by torch's autograd."""
    import torch

    data = sample["data"].astype(np.float64) - convolution.zero_point
    weight = sample["weight"].astype(np.float64)
    if convolution.multiplier:
        weight = weight.transpose(2, 0, 1)[..., None]
    images = torch.tensor(data.transpose(0, 3, 1, 2).copy(), requires_grad=True)
    kernels = torch.tensor(weight.transpose(0, 3, 1, 2).copy(), requires_grad=True)
    top, left, bottom, right = convolution.padding
    padded = torch.nn.functional.pad(images, (left, right, top, bottom))
    output = torch.nn.functional.conv2d(
        padded,
        kernels,
        stride=convolution.strides,
        dilation=convolution.dilation,
        groups=convolution.depth if convolution.multiplier else convolution.groups,
    )
    output.backward(torch.tensor(sample["gradient"].astype(np.float64).transpose(0, 3, 1, 2)))
    assert images.grad is not None and kernels.grad is not None
    of_weight = kernels.grad.numpy().transpose(0, 2, 3, 1)
    if convolution.multiplier:
        of_weight = of_weight[..., 0].transpose(1, 2, 0)
    elif convolution.channels:
        of_weight = of_weight[..., list(convolution.channels)]
    return images.grad.numpy().transpose(0, 2, 3, 1), of_weight


def loss(convolution: Convolution, data: Array, weight: Array, gradient: Array) -> float:
    """Return the sum of the convolution's output * gradient, by definition, in float64."""
    image = data.astype(np.float64) - convolution.zero_point
    windows = patches(image, convolution.kernel, convolution.input_attributes, 0)[0]
    if convolution.multiplier:
        output = (np.repeat(windows, convolution.multiplier, axis=-1) * weight).sum(axis=(2, 3))
    else:
        groups = convolution.groups
        split = windows.reshape(*windows.shape[:4], groups, -1)
        kernels = weight.reshape(groups, -1, *weight.shape[1:]).astype(np.float64)
        output = np.einsum("yxhwgc,gohwc->yxgo", split, kernels).reshape(*windows.shape[:2], -1)
    return float((output * gradient[0]).sum())


def difference(convolution: Convolution, sample: dict[str, Array], of: str, place: int) -> float:
    """Return the central difference of the loss in one element of `data` or `weight`."""
    sides = []
    for step in (0.5, -0.5):
        moved = {name: sample[name].astype(np.float64) for name in ("data", "weight")}
        moved[of].flat[place] += step
        sides.append(loss(convolution, **moved, gradient=sample["gradient"]))
    return sides[0] - sides[1]


def close(actual: Array, expected: Array, relative: float = 1e-5) -> None:
    """Assert that numbers agree, relative to the largest of them."""
    largest = float(np.max(np.abs(expected), initial=1e-30))
    np.testing.assert_allclose(actual, expected, rtol=relative, atol=relative * largest)


CONVOLUTIONS = {
    "pointwise": Convolution((4, 4), 48, 96),
    "pointwise, chosen channels": Convolution((3, 5), 48, 40, channels=tuple(range(0, 48, 2))),
    "pointwise, twelve channels out of order": Convolution(
        (2, 3), 20, 7, channels=(19, 0, 3, 5, 4, 7, 6, 11, 13, 12, 2, 1)
    ),
    "dense": Convolution((1, 1), 160, 10),
    "odd sizes": Convolution((3, 3), 37, 51, zero_point=127),
    "many pixels": Convolution((11, 13), 9, 19, zero_point=-128),
    "one of all": Convolution((1, 1), 1, 1),
    "3x3": Convolution((5, 4), 6, 5, (3, 3), padding=(1, 1, 1, 1)),
    "3x3, chosen channels": Convolution((5, 4), 6, 5, (3, 3), (2, 1), channels=(4, 1)),
    "uneven padding": Convolution((6, 7), 3, 9, (3, 2), (2, 2), (0, 1, 1, 0)),
    "stride of three": Convolution((10, 11), 4, 6, (3, 3), (3, 3), (1, 1, 1, 1)),
    "stride wider than the window": Convolution((9, 9), 4, 6, (2, 2), (3, 3)),
    "dilated": Convolution((9, 8), 5, 3, (3, 3), (1, 1), (2, 2, 2, 2), (2, 2)),
    "dilated and strided": Convolution((11, 9), 5, 3, (3, 3), (2, 3), (2, 1, 2, 2), (2, 2)),
    "window larger than the image": Convolution((2, 3), 4, 4, (5, 5), padding=(3, 3, 3, 3)),
    "groups": Convolution((4, 5), 12, 9, (3, 3), padding=(1, 1, 1, 1), groups=3),
    "groups, chosen channels": Convolution((4, 5), 12, 6, groups=2, channels=(5, 2)),
    "many pixels in groups": Convolution((9, 8), 8, 40, (3, 3), padding=(1, 1, 1, 1), groups=2),
}
SAME = {kernel: (kernel // 2,) * 4 for kernel in (3, 5, 7)}
DEPTHWISE = {
    "depthwise 3x3": Convolution((4, 4), 48, 0, (3, 3), padding=SAME[3], multiplier=1),
    "depthwise 5x5, odd": Convolution((5, 3), 37, 0, (5, 5), padding=SAME[5], multiplier=1),
    "depthwise 7x7, stride of two": Convolution(
        (8, 8), 24, 0, (7, 7), (2, 2), SAME[7], multiplier=1, zero_point=-128
    ),
    "depthwise, stride of three": Convolution(
        (10, 8), 9, 0, (3, 5), (3, 2), (1, 2, 1, 2), multiplier=1
    ),
    "depthwise, dilated": Convolution(
        (9, 8), 5, 0, (3, 3), (1, 1), (2, 2, 2, 2), (2, 2), multiplier=1
    ),
    "depthwise, dilated and strided": Convolution(
        (11, 12), 16, 0, (3, 3), (2, 4), (2, 3, 1, 2), (2, 2), multiplier=1
    ),
    "depthwise, dilated by three": Convolution(
        (11, 12), 8, 0, (3, 3), (2, 2), (3, 3, 3, 3), (3, 3), multiplier=1
    ),
    "depthwise, uneven padding": Convolution(
        (7, 6), 19, 0, (3, 2), (2, 2), (0, 0, 1, 1), multiplier=1, zero_point=127
    ),
    "depthwise, window larger than the image": Convolution(
        (2, 3), 4, 0, (7, 7), padding=SAME[7], multiplier=1
    ),
    "depthwise, wide": Convolution((2, 100), 20, 0, (3, 3), padding=SAME[3], multiplier=1),
    "depthwise, two outputs a channel": Convolution(
        (5, 4), 13, 0, (3, 3), padding=SAME[3], multiplier=2
    ),
    "depthwise, seventeen outputs a channel": Convolution(
        (3, 4), 3, 0, (3, 3), (2, 2), SAME[3], multiplier=17
    ),
    "depthwise 1x1": Convolution((1, 1), 1, 0, multiplier=1),
}
ALL = {**CONVOLUTIONS, **DEPTHWISE}
