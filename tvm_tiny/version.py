"""The version of this package."""

from importlib.metadata import PackageNotFoundError, version

try:
    VERSION = version("tvm_tiny")
except PackageNotFoundError:  # a checkout that was never installed
    VERSION = "0.1.0"
