"""The program as `python -P -m callsheet` runs it, for a user whose home by the system is the first argument.

    python -P tests/as_account.py ACCOUNT_HOME [ARGUMENT ...]

The program itself asks the password database and takes no such argument, nor a variable. It leaves no background
watcher behind unless `LEAVES_WATCHER` is set.
"""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path

from callsheet.__main__ import main
from callsheet.compose import Surroundings

if __name__ == "__main__":
    account_home = Path(sys.argv.pop(1))
    again = (sys.executable, "-P", str(Path(__file__).absolute()), str(account_home))
    leaves = "LEAVES_WATCHER" in os.environ
    main(lambda: replace(Surroundings.of_process(), account_home=account_home, command=again, leaves_watcher=leaves))
