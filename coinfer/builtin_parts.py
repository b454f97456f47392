"""The parts that coinfer brings along, beside the plain formats of `coinfer.parts`."""

from __future__ import annotations

from coinfer.channel import CHANNELS
from coinfer.compression.codecs import CODECS
from coinfer.compression.criteria import L1, L2, Fpgm, Lasso, Taylor
from coinfer.compression.entropy import CODERS
from coinfer.compression.schedules import Incremental, Iterative, OneShot

COMPRESSION: tuple[type, ...] = (
    *(L1, L2, Fpgm, Taylor, Lasso),
    *(OneShot, Iterative, Incremental),
    *CODECS,
    *CODERS,
    *CHANNELS,
)
