"""The `tiny` dialect: operators, their meaning in numpy, their kernels."""
