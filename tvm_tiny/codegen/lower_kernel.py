"""A scheduled PrimFunc to loops and flat loads and stores: what the C printer can print."""

from __future__ import annotations

import tvm
from tvm import s_tir, tirx

C_TARGET = tvm.target.Target("c")

# TVM's own lowering, short of everything that makes a packed function out of it.
LOWERING = (
    s_tir.transform.CanonicalizeLoop(),
    s_tir.transform.LowerInitBlock(),
    s_tir.transform.PlanAndUpdateBufferAllocationLocation(),
    s_tir.transform.ConvertBlocksToOpaque(),
    # No CompactBufferAllocation: it cannot see what micro-kernels write through pointers.
    s_tir.transform.LowerMatchBuffer(),
    tirx.transform.StmtSimplify(),
    s_tir.transform.LowerOpaqueBlock(),
    tirx.transform.FlattenBuffer(),
    tirx.transform.NarrowDataType(32),
    # No UnrollLoop: unrolled loops stay loops with a pragma, which people can read.
    tirx.transform.StmtSimplify(),
    tirx.transform.RemoveNoOp(),
    s_tir.transform.RewriteUnsafeSelect(),
    tirx.transform.LowerIntrin(),
)


def lower_kernel(function: tirx.PrimFunc) -> tirx.PrimFunc:
    """Lower one kernel."""
    module = tvm.IRModule({"kernel": function.with_attr("global_symbol", "kernel")})
    module = tirx.transform.BindTarget(C_TARGET.with_host(C_TARGET))(module)
    return tvm.transform.Sequential(list(LOWERING))(module)["kernel"]
