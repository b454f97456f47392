"""What a hash of source code reads; what it follows and leaves out is in test_plugins.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from coinfer.plugins import load_file
from coinfer.sources import closure_hash

TEXT = "# -*- coding: latin-1 -*-\nNAME = 'n\u00fc'\n"


@pytest.mark.parametrize("encoding", ["latin-1", "utf-8", "utf-8-sig"])
def test_a_file_is_read_in_the_encoding_that_it_declares(encoding: str, tmp_path: Path) -> None:
    text = TEXT if encoding == "latin-1" else TEXT.partition("\n")[2]
    path, other = tmp_path / f"{encoding}.py", tmp_path / "other.py"
    path.write_text(text, encoding=encoding)
    other.write_text(TEXT.replace("\u00fc", "\u00e4"), encoding="latin-1")
    module = load_file(path)
    assert module.NAME == "n\u00fc"
    reference = tmp_path / "reference.py"
    reference.write_text("NAME = 'n\u00fc'\n", encoding="utf-8")
    found, expected, different = (
        closure_hash([load_file(file).__name__]) for file in (path, reference, other)
    )
    assert found == expected != different
