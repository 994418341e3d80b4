"""Analysis of models without weights: bytes, multiply-accumulates, parameters.

`memory` is the door. Models become graphs of plain data (`graph`, `from_relax`); `live_bytes`
counts what is alive, `patches` what patches need, `report` prints it.
"""

from tvm_tiny.analysis.graph import Graph
from tvm_tiny.analysis.live_bytes import NOTHING, InPlace
from tvm_tiny.analysis.memory import LayerMemory, MemoryReport, PatchMemory, memory
from tvm_tiny.analysis.patches import Patch

__all__ = [
    "NOTHING",
    "Graph",
    "InPlace",
    "LayerMemory",
    "MemoryReport",
    "Patch",
    "PatchMemory",
    "memory",
]
