"""`python -m reproduce fig6` is `coinfer reproduce fig6`, and needs no installation.

So is `python -m reproduce reproduce-fig6`, the name of the tox environment.
"""

from __future__ import annotations

import sys

from coinfer.cli import cli, run
from reproduce.cli import reproduce

if __name__ == "__main__":
    cli.add_command(reproduce)
    named = [name.removeprefix("reproduce-") for name in sys.argv[1:2]]
    sys.exit(run(["reproduce", *named, *sys.argv[2:]]))
