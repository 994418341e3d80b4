"""int8 and float models to Cortex-M firmware, on Apache TVM.

firmware = tvm_tiny.build("model.tflite", "cortex-m4")
result = firmware.run(inputs)
print(firmware.report(result))
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tvm_tiny.version import VERSION as __version__

if TYPE_CHECKING:
    from tvm_tiny.analysis import MemoryReport, memory
    from tvm_tiny.build_firmware import build
    from tvm_tiny.exploration import explore
    from tvm_tiny.firmware import Firmware
    from tvm_tiny.firmware import open_firmware as open
    from tvm_tiny.importers import load
    from tvm_tiny.result import RunResult
    from tvm_tiny.training.build import build_training
    from tvm_tiny.training.firmware import TrainingFirmware
    from tvm_tiny.training.update_plan import SparseUpdate
    from tvm_tiny.tuning.tune import TuningResult, tune

# Name -> (module, attribute): TVM is imported when something is first used, not before.
_LAZY = {
    "build": ("tvm_tiny.build_firmware", "build"),
    "memory": ("tvm_tiny.analysis", "memory"),
    "build_training": ("tvm_tiny.training.build", "build_training"),
    "explore": ("tvm_tiny.exploration", "explore"),
    "load": ("tvm_tiny.importers", "load"),
    "open": ("tvm_tiny.firmware", "open_firmware"),
    "tune": ("tvm_tiny.tuning.tune", "tune"),
    "Firmware": ("tvm_tiny.firmware", "Firmware"),
    "MemoryReport": ("tvm_tiny.analysis", "MemoryReport"),
    "RunResult": ("tvm_tiny.result", "RunResult"),
    "TrainingFirmware": ("tvm_tiny.training.firmware", "TrainingFirmware"),
    "TuningResult": ("tvm_tiny.tuning.tune", "TuningResult"),
    "SparseUpdate": ("tvm_tiny.training.update_plan", "SparseUpdate"),
}
__all__ = [
    "Firmware",
    "MemoryReport",
    "RunResult",
    "SparseUpdate",
    "TrainingFirmware",
    "TuningResult",
    "__version__",
    "build",
    "build_training",
    "explore",
    "load",
    "memory",
    "open",
    "tune",
]


def __getattr__(name: str) -> Any:
    """Import the public names on first use."""
    if name not in _LAZY:
        raise AttributeError(f"module 'tvm_tiny' has no attribute {name!r}")
    from importlib import import_module

    module, attribute = _LAZY[name]
    value = getattr(import_module(module), attribute)
    globals()[name] = value
    return value
