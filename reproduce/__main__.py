"""`python -m reproduce fig6` is `coinfer reproduce fig6`, and needs no installation."""

from __future__ import annotations

import sys

from coinfer.cli import cli, run
from reproduce.cli import reproduce

if __name__ == "__main__":
    cli.add_command(reproduce)
    sys.exit(run(["reproduce", *sys.argv[1:]]))
