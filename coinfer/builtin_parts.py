"""The parts that coinfer brings along, by kind."""

from __future__ import annotations

from coinfer.channel import Awgn, Bec, Bsc
from coinfer.compression.codecs import (
    BottleNetPlusPlus,
    CiaConv,
    CiaLinear,
    ConvCodec,
    LinearCodec,
    ThreeStepConv,
    ThreeStepLinear,
)
from coinfer.compression.criteria import L1, L2, Fpgm, Lasso, Taylor
from coinfer.compression.entropy import Huffman, LearnedLevels, PngFeature, Uniform, Zlib
from coinfer.compression.schedules import Incremental, Iterative, OneShot

CRITERIA: tuple[type, ...] = (L1, L2, Fpgm, Taylor, Lasso)
SCHEDULES: tuple[type, ...] = (OneShot, Iterative, Incremental)
CODECS: tuple[type, ...] = (
    *(ConvCodec, LinearCodec, BottleNetPlusPlus),
    *(ThreeStepConv, ThreeStepLinear, CiaConv, CiaLinear),
)
CODERS: tuple[type, ...] = (Uniform, LearnedLevels, Huffman, Zlib, PngFeature)
CHANNELS: tuple[type, ...] = (Awgn, Bsc, Bec)

COMPRESSION: tuple[type, ...] = (*CRITERIA, *SCHEDULES, *CODECS, *CODERS, *CHANNELS)
"""All of them but the plain formats, which are in `coinfer.parts`."""
