"""The random substreams of a search: rows of D numbers, each read by its number.

A stream is a NumPy generator, `Generator(PCG64(SeedSequence(seed, spawn_key=key)))`; its row n is
the n-th D numbers that it yields. Rows are drawn in blocks ahead of their use and looked up by
number, so that many streams are read in one NumPy call, rows can be looked at without being used
up, and the numbers that a stream yields depend neither on the size of a block nor on how many
streams are read together.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from coinfer.search.judge import Floats, Ints

Law = Literal["normal", "uniform"]

# Rows that are skipped at once when a search goes on where another stopped.
_SKIPPED = 1024


class Rows:
    """Rows of many streams of one law; each stream is created when it is first read.

    Args:
        law: standard normal numbers, or uniform on [0, 1).
        keys: seed and spawn key of each stream.
        dimension: numbers in a row.
        block: rows of a stream that are kept at a time.
    """

    def __init__(
        self, law: Law, keys: Sequence[tuple[int, tuple[int, ...]]], dimension: int, block: int
    ) -> None:
        self._law: Law = law
        self._keys = keys
        self._generators: list[np.random.Generator | None] = [None] * len(keys)
        # Row numbers from `_end - block` to `_end - 1` are at hand.
        self._end = np.zeros(len(keys), dtype=np.int64)
        self._block = np.zeros((len(keys), block, dimension))

    def take(self, streams: Ints, numbers: Ints, lowest: Ints) -> Floats:
        """Return rows (n, D): of each stream, the row of that number.

        Args:
            streams: which stream, (n,).
            numbers: which of its rows, (n,).
            lowest: the lowest row of that stream that is still of use, (n,); it never falls, and
                no number lies a block or more above it.
        """
        late = numbers >= self._end[streams]
        if late.any():
            which, at = np.unique(streams[late], return_index=True)
            for stream, first in zip(which.tolist(), lowest[late][at].tolist(), strict=True):
                self._fill(stream, first)
        rows: Floats = self._block[streams, numbers - self._end[streams]]  # counted from the end
        return rows

    def _fill(self, stream: int, first: int) -> None:
        """Have a block of a stream at hand that begins with row `first`."""
        generator = self._generators[stream]
        if generator is None:
            seed, key = self._keys[stream]
            source = np.random.PCG64(np.random.SeedSequence(seed, spawn_key=key))
            generator = self._generators[stream] = np.random.Generator(source)
        rows, end = self._block[stream], int(self._end[stream])
        block = len(rows)
        kept = max(0, end - first)
        rows[:kept] = rows[block - kept :].copy()
        skipped = max(0, first - end)
        while skipped:
            now = min(skipped, _SKIPPED)
            self._draw(generator, np.empty((now, rows.shape[1])))
            skipped -= now
        self._draw(generator, rows[kept:])
        self._end[stream] = first + block

    def _draw(self, generator: np.random.Generator, out: Floats) -> None:
        if self._law == "normal":
            generator.standard_normal(out=out)
        else:
            generator.random(out=out)
