"""What training adds to the memory of inference, told from shapes alone, as it is published.

Of every layer that trains anything, a bit for each output says whether it is in range. The input
channels of trained weights are kept, the trained weights themselves as int8 and biases as int32;
of the classifier, whose gradient comes first, only the input.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from tvm_tiny.relay_passes.separate_trainables import LayerUpdate
from tvm_tiny.training.layers import TrainableLayer, trainable_layers
from tvm_tiny.training.update_plan import SparseUpdate

if TYPE_CHECKING:
    import tvm

ACTIVATION_BITS, WEIGHT_BITS, BIAS_BITS = 8, 8, 32
BITS_OF_KB = 8 * 1024


def extra_memory_kb(mod: tvm.IRModule, plan: SparseUpdate) -> float:
    """What `plan` adds to the memory of a `tiny` module's inference, in KB of 1024 bytes."""
    return analytic_memory(mod)(plan)


def analytic_memory(mod: tvm.IRModule) -> Callable[[SparseUpdate], float]:
    """`extra_memory_kb` of any plan; the module is read once."""
    layers = trainable_layers(mod)

    def memory(plan: SparseUpdate) -> float:
        return extra_bits(layers, plan.resolve_layers(layers)) / BITS_OF_KB

    return memory


def extra_bits(layers: Sequence[TrainableLayer], updates: Sequence[LayerUpdate]) -> int:
    """The same of layers and their updates, in bits."""
    pairs = zip(layers[:-1], updates[:-1], strict=True)
    body = sum(_layer_bits(layer, update) for layer, update in pairs if update.is_trained)
    return body + layers[-1].input.elements * ACTIVATION_BITS


def _layer_bits(layer: TrainableLayer, update: LayerUpdate) -> int:
    channels = update.weight_channels
    return (
        layer.output.elements
        + layer.kept_input_elements(channels) * ACTIVATION_BITS
        + len(channels) * layer.channel_weights * WEIGHT_BITS
        + update.bias * layer.biases * BIAS_BITS
    )
