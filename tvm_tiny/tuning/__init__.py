"""Finding the fastest kernels by measuring them."""
