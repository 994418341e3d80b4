"""A user's own network: trained in float with PyTorch, then quantised to int8.

Nothing here knows of tvm_tiny. Needs torch, onnx, onnxruntime and scikit-learn.
"""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import torch
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process
from sklearn.datasets import load_digits
from torch import nn

Images = npt.NDArray[np.float32]
Classes = npt.NDArray[np.int64]

SEED = 0
CLASSES = 10
SIZE = 16
LARGEST_PIXEL = 16
EPOCHS = 20
BATCH = 32
OPSET = 17


@dataclass(frozen=True)
class Digits:
    """Images are N x 1 x 16 x 16 with values in [0, 1]."""

    images: Images
    classes: Classes

    def only(self, classes: tuple[int, ...]) -> "Digits":
        """Those of some classes."""
        chosen = np.isin(self.classes, classes)
        return Digits(self.images[chosen], self.classes[chosen])

    def first_of_each(self, count: int) -> "Digits":
        """So many of each class."""
        places = [np.flatnonzero(self.classes == known)[:count] for known in set(self.classes)]
        chosen = np.concatenate(places)
        return Digits(self.images[chosen], self.classes[chosen])

    def with_more(self, other: "Digits") -> "Digits":
        """These and others."""
        images = np.concatenate([self.images, other.images])
        return Digits(images, np.concatenate([self.classes, other.classes]))


def load_data() -> tuple[Digits, Digits]:
    """The images to train with, and a fifth to test with, grown from 8x8 to 16x16 pixels."""
    known = load_digits()
    small = torch.from_numpy(known.images[:, np.newaxis] / LARGEST_PIXEL).float()
    images = nn.functional.interpolate(small, (SIZE, SIZE), mode="bilinear").numpy()
    order = np.random.default_rng(SEED).permutation(len(images))
    test, train = np.split(order, [len(order) // 5])
    return (
        Digits(images[train], known.target[train].astype(np.int64)),
        Digits(images[test], known.target[test].astype(np.int64)),
    )


def network() -> nn.Sequential:
    """Seven convolutions and a classifier of ten classes: 89,354 parameters."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(32, 32, 3, padding=1, groups=32),
        nn.ReLU(),
        nn.Conv2d(32, 64, 1),
        nn.ReLU(),
        nn.Conv2d(64, 64, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(64, 128, 1),
        nn.ReLU(),
        nn.Conv2d(128, 128, 3, padding=1, groups=128),
        nn.ReLU(),
        nn.Conv2d(128, 256, 1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(256, CLASSES),
    )


def train(data: Digits, known: int) -> nn.Sequential:
    """Return a network trained on the first `known` classes; outputs of others are left alone."""
    torch.manual_seed(SEED)
    torch.set_num_threads(1)
    net = network()
    images, classes = torch.from_numpy(data.images), torch.from_numpy(data.classes)
    steps = EPOCHS * -(-len(images) // BATCH)
    optimizer = torch.optim.AdamW(net.parameters(), lr=0.005, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.005, total_steps=steps)
    for _ in range(EPOCHS):
        for batch in torch.randperm(len(images)).split(BATCH):
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(images[batch])[:, :known], classes[batch]).backward()
            optimizer.step()
            schedule.step()
    return net.eval()


class _Calibration(CalibrationDataReader):  # type: ignore[misc]
    """Feeds images to the quantiser."""

    def __init__(self, images: Images) -> None:
        self.images: Iterator[Images] = iter(images)

    def get_next(self) -> dict[str, Images] | None:
        image = next(self.images, None)
        return None if image is None else {"image": image[np.newaxis]}


def quantize(net: nn.Sequential, images: Images) -> onnx.ModelProto:
    """Return the network in QDQ form: int8 activations, int8 weights with scales per channel."""
    with tempfile.TemporaryDirectory() as scratch:
        paths = [str(Path(scratch, f"{name}.onnx")) for name in ("float", "prepared", "int8")]
        torch.onnx.export(
            net,
            (torch.zeros(1, 1, SIZE, SIZE),),
            paths[0],
            input_names=["image"],
            output_names=["logits"],
            opset_version=OPSET,
            dynamo=False,
        )
        quant_pre_process(paths[0], paths[1], skip_optimization=True)
        quantize_static(
            paths[1],
            paths[2],
            _Calibration(images),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QInt8,
            weight_type=QuantType.QInt8,
            extra_options={"ActivationSymmetric": False, "WeightSymmetric": True},
        )
        return onnx.load(paths[2])
