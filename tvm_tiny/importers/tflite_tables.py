"""What each TFLite operator needs, as data for the checks and the converter."""

from __future__ import annotations

ITEM_BYTES = {
    "float32": 4,
    "float16": 2,
    "int8": 1,
    "uint8": 1,
    "bool": 1,
    "int16": 2,
    "int32": 4,
    "int64": 8,
}
ZERO_POINTS = {"int8": (-128, 127), "uint8": (0, 255), "int16": (0, 0)}

# Operators that move or compare elements: they run on the integers as they are, as in TFLite
# Micro, which does not look at the scales of their outputs.
RAW_OPERATORS = frozenset(
    """BATCH_TO_SPACE_ND DEPTH_TO_SPACE EXPAND_DIMS GATHER MAX_POOL_2D MIRROR_PAD PACK PAD PADV2
    RESHAPE RESIZE_NEAREST_NEIGHBOR REVERSE_V2 SLICE SPACE_TO_BATCH_ND SPACE_TO_DEPTH SPLIT
    SPLIT_V SQUEEZE STRIDED_SLICE TILE TRANSPOSE UNPACK""".split()
)
# Operators that come as dequantize -> float operator -> quantize.
QDQ_OPERATORS = frozenset(
    """ABS ADD AVERAGE_POOL_2D CONCATENATION CONV_2D DEPTHWISE_CONV_2D DEQUANTIZE EXP
    FULLY_CONNECTED HARD_SWISH LEAKY_RELU LOGISTIC LOG_SOFTMAX MAXIMUM MEAN MINIMUM MUL NEG
    QUANTIZE REDUCE_MAX REDUCE_MIN RELU RELU6 RELU_N1_TO_1 RESIZE_BILINEAR SOFTMAX
    SQUARED_DIFFERENCE SUB SUM TANH TRANSPOSE_CONV""".split()
)
QUANTISED_OPERATORS = RAW_OPERATORS | QDQ_OPERATORS
# TFLite Micro takes the integers as they are, so unequal scales would change the meaning.
SAME_SCALES = frozenset(("MAXIMUM", "MINIMUM", "REDUCE_MAX", "REDUCE_MIN"))

CONTROL_FLOW = "convert without control flow and with unrolled loops"
STATE = "make the state an input and an output of the model"
RECURRENT = "build the cell from FULLY_CONNECTED and elementwise operators, unrolled"
UNSUPPORTED_OPERATORS = {
    "CALL": CONTROL_FLOW,
    "CALL_ONCE": CONTROL_FLOW,
    "IF": CONTROL_FLOW,
    "WHILE": CONTROL_FLOW,
    "STABLEHLO_WHILE": CONTROL_FLOW,
    "STABLEHLO_COMPOSITE": CONTROL_FLOW,
    "VAR_HANDLE": STATE,
    "READ_VARIABLE": STATE,
    "ASSIGN_VARIABLE": STATE,
    "SVDF": RECURRENT,
    "LSTM": RECURRENT,
    "RNN": RECURRENT,
    "UNIDIRECTIONAL_SEQUENCE_LSTM": RECURRENT,
    "UNIDIRECTIONAL_SEQUENCE_RNN": RECURRENT,
    "BIDIRECTIONAL_SEQUENCE_LSTM": RECURRENT,
    "BIDIRECTIONAL_SEQUENCE_RNN": RECURRENT,
    "HASHTABLE": STATE,
    "HASHTABLE_FIND": STATE,
    "HASHTABLE_IMPORT": STATE,
    "HASHTABLE_LOOKUP": STATE,
    "HASHTABLE_SIZE": STATE,
    "RANDOM_UNIFORM": "random numbers have no kernel",
    "RANDOM_STANDARD_NORMAL": "random numbers have no kernel",
    "MULTINOMIAL": "random numbers have no kernel",
}

OPTIONS = {
    "ADD": "AddOptions",
    "AVERAGE_POOL_2D": "Pool2DOptions",
    "CONCATENATION": "ConcatenationOptions",
    "CONV_2D": "Conv2DOptions",
    "DEPTHWISE_CONV_2D": "DepthwiseConv2DOptions",
    "FULLY_CONNECTED": "FullyConnectedOptions",
    "LEAKY_RELU": "LeakyReluOptions",
    "MAX_POOL_2D": "Pool2DOptions",
    "MEAN": "ReducerOptions",
    "MUL": "MulOptions",
    "PACK": "PackOptions",
    "RESIZE_BILINEAR": "ResizeBilinearOptions",
    "RESIZE_NEAREST_NEIGHBOR": "ResizeNearestNeighborOptions",
    "SOFTMAX": "SoftmaxOptions",
    "SPACE_TO_DEPTH": "SpaceToDepthOptions",
    "DEPTH_TO_SPACE": "DepthToSpaceOptions",
    "SPLIT": "SplitOptions",
    "STRIDED_SLICE": "StridedSliceOptions",
    "SUB": "SubOptions",
    "TRANSPOSE_CONV": "TransposeConvOptions",
    "UNPACK": "UnpackOptions",
}
POSITIVE_OPTIONS = {
    "Conv2DOptions": ("StrideH", "StrideW", "DilationHFactor", "DilationWFactor"),
    "DepthwiseConv2DOptions": (
        "StrideH",
        "StrideW",
        "DilationHFactor",
        "DilationWFactor",
        "DepthMultiplier",
    ),
    "Pool2DOptions": ("StrideH", "StrideW", "FilterHeight", "FilterWidth"),
    "TransposeConvOptions": ("StrideH", "StrideW"),
    "SpaceToDepthOptions": ("BlockSize",),
    "DepthToSpaceOptions": ("BlockSize",),
    "SplitOptions": ("NumSplits",),
    "PackOptions": ("ValuesCount",),
    "UnpackOptions": ("Num",),
}
ANY_RANK = -1
RANKS = {
    "AVERAGE_POOL_2D": (4,),
    "CONV_2D": (4, 4),
    "DEPTHWISE_CONV_2D": (4, 4),
    "DEPTH_TO_SPACE": (4,),
    "FULLY_CONNECTED": (ANY_RANK, 2),
    "MAX_POOL_2D": (4,),
    "RESIZE_BILINEAR": (4, 1),
    "RESIZE_NEAREST_NEIGHBOR": (4, 1),
    "SPACE_TO_DEPTH": (4,),
}

MIN_INPUTS = {
    "ADD": 2,
    "AVERAGE_POOL_2D": 1,
    "CONCATENATION": 1,
    "CONV_2D": 2,
    "DEPTHWISE_CONV_2D": 2,
    "DEQUANTIZE": 1,
    "FULLY_CONNECTED": 2,
    "HARD_SWISH": 1,
    "LEAKY_RELU": 1,
    "LOGISTIC": 1,
    "MAXIMUM": 2,
    "MAX_POOL_2D": 1,
    "MEAN": 2,
    "MINIMUM": 2,
    "MUL": 2,
    "PAD": 2,
    "PADV2": 3,
    "QUANTIZE": 1,
    "RELU": 1,
    "RELU6": 1,
    "RESHAPE": 1,
    "SOFTMAX": 1,
    "SPLIT": 2,
    "SQUEEZE": 1,
    "STRIDED_SLICE": 4,
    "SUB": 2,
    "TANH": 1,
    "TRANSPOSE": 2,
}
