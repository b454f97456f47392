"""Settings of the whole suite."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

# Machines that run tests are shared: a slow example is no failure. CI runs the same examples
# every time, so that a failure there is a change's; elsewhere each run looks at new ones.
settings.register_profile("coinfer", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("coinfer")


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Keep the suite out of the user's cache; worker processes inherit the folder."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COINFER_CACHE", str(folder))
        yield folder
