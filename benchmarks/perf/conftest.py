"""Fixtures that benchmarks share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from threadpoolctl import threadpool_limits


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Keep linear algebra on one thread."""
    with threadpool_limits(limits=1):
        yield
