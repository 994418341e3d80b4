"""The shared models compiled once per test module, and what TFLite Micro says of them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support import tflm
from tests.support.shared import reference_data, shared_path
from tests.support.tflite_writer import read
from tvm_tiny.arrays import pack_inputs, unpack_outputs
from tvm_tiny.firmware import Firmware
from tvm_tiny.importers import load
from tvm_tiny.metadata import PortInfo
from tvm_tiny.pipeline import Compiled, compile_module
from tvm_tiny.targets import host
from tvm_tiny.targets.image import build_host_image

Array = np.ndarray[Any, Any]

MLPERF = {
    "kws": "mlperf_tiny/kws01_dscnn_int8",
    "ic": "mlperf_tiny/ic01_resnet8_int8",
    "ad": "mlperf_tiny/ad01_int8",
    "vww": "mlperf_tiny/vww01_mbv1_int8",
}
MCUNET = {
    "mcunet_vww1": "mcunet/mcunet-vww1",
    "mcunet_320kb": "mcunet/mcunet-320kb-1mb_imagenet",
    "mcunetv2_large": "mcunet/mcunetv2_large",
}
PATHS = MLPERF | MCUNET
RANDOM_SAMPLES = 20

needs_tflm = pytest.mark.skipif(not tflm.have_tflm(), reason="tflite_micro is not installed")


def path_of(name: str) -> Path:
    """Return a model's file; skip the test where it is absent."""
    *folder, stem = PATHS[name].split("/")
    return shared_path("models", *folder, f"{stem}.tflite")


def samples_of(name: str, count: int = RANDOM_SAMPLES) -> list[Array]:
    """Return samples of a model's one input: those of the reference, then random ones."""
    model = read(path_of(name).read_bytes())
    tensor = model.tensors[model.inputs[0]]
    generator = np.random.default_rng(int(hashlib.sha256(name.encode()).hexdigest()[:8], 16))
    known = [sample[np.newaxis] for sample in reference_data(name)[1]] if name in MLPERF else []
    return known + [_random(generator, tensor.shape, tensor.dtype) for _ in range(count)]


def _random(generator: np.random.Generator, shape: tuple[int, ...], dtype: str) -> Array:
    if dtype == "float32":
        return generator.normal(0, 1, shape).astype("float32")
    # Noise of full range hides wrong sums behind saturation: amplitudes vary.
    half = int(generator.choice([127, 127, 64, 16]))
    return generator.integers(-half - 1, half, shape, np.int8, endpoint=True)


@cache
def expected_of(name: str, count: int = RANDOM_SAMPLES) -> Array:
    """Return TFLite Micro's output 0 for `samples_of`."""
    outputs = tflm.run(path_of(name).read_bytes(), [[s] for s in samples_of(name, count)])
    return np.concatenate([output for output, *_ in outputs])


def check_outputs(firmware: Firmware, name: str, count: int = RANDOM_SAMPLES) -> None:
    """Assert that firmware on the emulator gives TFLite Micro's bits, all samples in one run."""
    result = firmware.run(np.concatenate(samples_of(name, count)), timeout_s=600)
    np.testing.assert_array_equal(result.output, expected_of(name, count))
    for layer in result.layers:
        assert layer.instructions is not None and layer.instructions > 0
    counted = sum(layer.instructions or 0 for layer in result.layers)
    assert result.instructions is not None
    # what is left is the run function itself: it calls the layers, and moves rows of stages
    rest = result.instructions - counted
    assert 0 <= rest < 40 * (len(result.layers) + 2) or (result.patch and rest < 0.03 * counted)


@dataclass(frozen=True)
class HostModel:
    """A compiled model as a program of this machine, under the sanitisers."""

    compiled: Compiled
    program: Path

    def ports(self, kind: str) -> list[PortInfo]:
        """Return inputs or outputs as arrays need them."""
        program = self.compiled.program
        specs = [(p.name, program.tensor(p.tensor).spec) for p in getattr(program, kind)]
        return [PortInfo(name, spec.shape, spec.dtype, None, None) for name, spec in specs]

    def run(self, inputs: list[Array]) -> list[Array]:
        """Return the outputs; every input may hold several samples."""
        packed, count = pack_inputs(self.ports("inputs"), inputs)
        raw = host.run(self.program, packed, timeout_s=600)
        assert raw.return_code == 0
        return unpack_outputs(self.ports("outputs"), raw.output_bytes, count)


def host_model(model: Path | bytes, name: str, folder: Path, *features: str) -> HostModel:
    """Compile a model for this machine, with the kernels of a core that has `features`."""
    compiled = compile_module(load(model), name, features)
    return HostModel(compiled, build_host_image(compiled.code.files, name, folder))
