"""The `tiny` dialect: operators, their meaning in numpy, their kernels.

Importing this package registers every operator with TVM.
"""

from tvm_tiny.schedules import (
    concat,
    dequantize,
    lookup,
    pad,
    qadd,
    qavg_pool2d,
    qconv2d,
    qdense,
    qdepthwise_conv2d,
    qmax_pool2d,
    qmean,
    qmul,
    qsoftmax,
    quantize,
    resize,
    training,
    transpose,
)

__all__ = [
    "concat",
    "dequantize",
    "lookup",
    "pad",
    "qadd",
    "qavg_pool2d",
    "qconv2d",
    "qdense",
    "qdepthwise_conv2d",
    "qmax_pool2d",
    "qmean",
    "qmul",
    "qsoftmax",
    "quantize",
    "resize",
    "training",
    "transpose",
]
