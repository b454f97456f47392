"""The built-in set for tests and demos: scikit-learn's handwritten digits, nothing to download.

1,797 real 8x8 grey images (Alpaydin and Kaynak 1998, the test part of the UCI set), each pixel
repeated 4x4 times into 3x32x32 unsigned bytes, so that the networks for CIFAR-10 take them.
"""

from __future__ import annotations

import numpy as np

from coinfer.data.split import Part, RawData, canonical_order, first_of_each_class
from coinfer.errors import CoinferError

NAME = "digits"
TEST_PERCENT = 20
VAL_PERCENT = 20
_SCALE = 4
_LEVELS = 16


def read_digits() -> RawData:
    """Return the digits; test is, in each class, the fifth whose digest is smallest.

    Raises:
        CoinferError: when scikit-learn is missing.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise CoinferError(
            "the digits come with scikit-learn, which is not installed; "
            "python -m pip install scikit-learn"
        ) from error
    bunch = load_digits()
    grey = np.rint(np.asarray(bunch.images) * (255 / _LEVELS)).astype(np.uint8)
    large = grey.repeat(_SCALE, axis=1).repeat(_SCALE, axis=2)
    pixels = np.repeat(large[..., np.newaxis], 3, axis=3)
    everything = Part(pixels, np.asarray(bunch.target, dtype=np.int64))
    order = canonical_order(everything)
    test = first_of_each_class(everything.labels[order], TEST_PERCENT)
    classes = tuple(str(digit) for digit in range(10))
    return RawData(everything[order[~test]], everything[order[test]], classes, VAL_PERCENT)
