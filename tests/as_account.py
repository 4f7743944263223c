"""The program as `python -P -m callsheet` runs it, for a user whose home by the system is the first argument.

    python -P tests/as_account.py ACCOUNT_HOME [ARGUMENT ...]

The program itself asks the password database and takes no such argument, nor a variable.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

from callsheet.__main__ import main
from callsheet.compose import Surroundings

if __name__ == "__main__":
    account_home = Path(sys.argv.pop(1))
    main(lambda: replace(Surroundings.of_process(), account_home=account_home))
