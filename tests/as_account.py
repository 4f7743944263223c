"""The program as `python -P -m callsheet` runs it, for a user whose home by the system is the first argument.

    python -P tests/as_account.py ACCOUNT_HOME [ARGUMENT ...]

The program itself asks the password database and takes no such argument, nor a variable. It leaves no background
watcher behind unless `LEAVES_WATCHER` is set.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from callsheet.__main__ import main

if TYPE_CHECKING:
    from callsheet.compose import Surroundings


def surroundings() -> Surroundings:
    """Those of the process, but for the account. Built when they are needed, as in the program: starts are timed."""
    from dataclasses import replace

    from callsheet.compose import Surroundings

    again = (sys.executable, "-P", str(Path(__file__).absolute()), str(ACCOUNT_HOME))
    leaves = "LEAVES_WATCHER" in os.environ
    return replace(Surroundings.of_process(), account_home=ACCOUNT_HOME, command=again, leaves_watcher=leaves)


if __name__ == "__main__":
    ACCOUNT_HOME = Path(sys.argv.pop(1))
    main(surroundings)
