"""coinfer: benchmark and reproducibility harness for device-edge collaborative DNN inference.

Methods decide, the harness measures. This package is the domain every room above it is
expressed in; importing it never imports torch.
"""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("coinfer")
except PackageNotFoundError:  # running from a source tree that was never installed
    __version__ = "0+unknown"
