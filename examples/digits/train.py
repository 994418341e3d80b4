"""Train a small network on scikit-learn's digits and quantise it to int8.

Writes digits.onnx (QDQ form) and digits_test.npz beside this file and prints the accuracies.
Needs torch, onnx, onnxruntime and scikit-learn.
"""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import torch
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn

Images = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]

FOLDER = Path(__file__).parent
SEED = 0
CHANNELS = 16
EPOCHS = 60
BATCH = 32
LARGEST_PIXEL = 16
OPSET = 17


@dataclass(frozen=True)
class Data:
    """Images are N x 1 x 8 x 8 with values in [0, 1]."""

    train_images: Images
    test_images: Images
    train_labels: Labels
    test_labels: Labels


def load_data() -> Data:
    """Split the 1797 images, a fifth of each digit for the test."""
    digits = load_digits()
    images = (digits.images[:, np.newaxis] / LARGEST_PIXEL).astype(np.float32)
    labels = digits.target.astype(np.int64)
    return Data(
        *train_test_split(images, labels, test_size=0.2, random_state=SEED, stratify=labels)
    )


def convolution(inputs: int, outputs: int, kernel: int, **options: int) -> nn.Sequential:
    """Return a convolution with batch normalisation, which the export folds into it."""
    layer = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False, **options)
    return nn.Sequential(layer, nn.BatchNorm2d(outputs))


class Network(nn.Module):  # type: ignore[misc]
    """A depthwise-separable block with a residual between two convolutions."""

    def __init__(self) -> None:
        """Create the layers."""
        super().__init__()
        self.stem = convolution(1, CHANNELS, 3)
        self.depthwise = convolution(CHANNELS, CHANNELS, 3, groups=CHANNELS)
        self.pointwise = convolution(CHANNELS, CHANNELS, 1)
        self.reduce = convolution(CHANNELS, 2 * CHANNELS, 3, stride=2)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.dense = nn.Linear(2 * CHANNELS, 10)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Return ten logits for each image."""
        stem = self.stem(image).relu()
        block = self.pointwise(self.depthwise(stem).relu())
        features = self.reduce((stem + block).relu()).relu()
        logits: torch.Tensor = self.dense(self.pool(features).flatten(1))
        return logits


def train(data: Data) -> Network:
    """Return a trained network; the same on every run on one machine."""
    torch.manual_seed(SEED)
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    network = Network()
    images, labels = torch.from_numpy(data.train_images), torch.from_numpy(data.train_labels)
    steps = EPOCHS * -(-len(images) // BATCH)
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.01, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.01, total_steps=steps)
    for _ in range(EPOCHS):
        for batch in torch.randperm(len(images)).split(BATCH):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(network(shifted(images[batch])), labels[batch])
            loss.backward()
            optimizer.step()
            schedule.step()
    network.eval()
    return network


def shifted(images: torch.Tensor) -> torch.Tensor:
    """Move a batch by up to one pixel, since 1437 images are few."""
    shift = [int(step) for step in torch.randint(-1, 2, (2,))]
    return images.roll(shift, (2, 3))


def export(network: Network, path: Path) -> None:
    """Write the float network as ONNX.

    The older exporter, as the newer one puts stack traces with local paths into the file.
    """
    torch.onnx.export(
        network,
        (torch.zeros(1, 1, 8, 8),),
        str(path),
        input_names=["image"],
        output_names=["logits"],
        opset_version=OPSET,
        dynamo=False,
    )


class Calibration(CalibrationDataReader):  # type: ignore[misc]
    """Feeds training images to the quantiser."""

    def __init__(self, images: Images) -> None:
        """Take the images in their order."""
        self.images: Iterator[Images] = iter(images)

    def get_next(self) -> dict[str, Images] | None:
        """Return the next input, None at the end."""
        image = next(self.images, None)
        return None if image is None else {"image": image[np.newaxis]}


def quantize(float_path: Path, path: Path, images: Images) -> None:
    """Write the network with int8 activations and symmetric int8 weights per channel."""
    prepared = float_path.with_suffix(".prepared.onnx")
    # shapes only: onnxruntime's own optimiser would mark the file with its private domains
    quant_pre_process(str(float_path), str(prepared), skip_optimization=True)
    quantize_static(
        str(prepared),
        str(path),
        Calibration(images),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QInt8,
        weight_type=QuantType.QInt8,
        extra_options={"ActivationSymmetric": False, "WeightSymmetric": True},
    )
    onnx.checker.check_model(str(path), full_check=True)


def accuracy(path: Path, data: Data) -> float:
    """Return the share of test images that onnxruntime classifies rightly."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    guesses = [
        session.run(None, {"image": image[np.newaxis]})[0].argmax() for image in data.test_images
    ]
    return float(np.mean(np.array(guesses) == data.test_labels))


def main() -> None:
    """Train, quantise, measure and write the files."""
    data = load_data()
    network = train(data)
    path = FOLDER / "digits.onnx"
    with tempfile.TemporaryDirectory() as scratch:
        float_path = Path(scratch, "float.onnx")
        export(network, float_path)
        quantize(float_path, path, data.train_images)
        print(f"parameters {sum(p.numel() for p in network.parameters())}")
        print(f"float {accuracy(float_path, data):.2%}, int8 {accuracy(path, data):.2%}")
    np.savez_compressed(
        FOLDER / "digits_test.npz", images=data.test_images, labels=data.test_labels
    )


if __name__ == "__main__":
    main()
