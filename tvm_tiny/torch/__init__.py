"""PyTorch modules of int8 models: develop a recipe in torch, deploy the result unchanged.

from tvm_tiny.torch import QuantizedModule, QuantizedSGD
module = QuantizedModule.from_model("model.tflite")
optimizer = QuantizedSGD(module.parameters_of_plan("last:6"), rate=0.004)
module.loss(images, labels).backward()
optimizer.step()
firmware = tvm_tiny.build(module.to_relax(), "cortex-m4")

Inside this folder, too, `import torch` is PyTorch: all imports are absolute.
"""

from __future__ import annotations

from tvm_tiny.errors import MissingExtraError

try:
    import torch as _torch  # noqa: F401
except ImportError as error:
    raise MissingExtraError(
        "tvm_tiny.torch needs the package torch", hint="pip install 'tvm_tiny[torch]'"
    ) from error

from tvm_tiny.torch.losses import cross_entropy, mean_squared_error
from tvm_tiny.torch.module import QuantizedModule
from tvm_tiny.torch.optimizer import QuantizedSGD

__all__ = ["QuantizedModule", "QuantizedSGD", "cross_entropy", "mean_squared_error"]
