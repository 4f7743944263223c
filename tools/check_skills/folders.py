"""The folders that the checks read: the checkout, the root skill and the built bundle, under the right names."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from build_dist import plugin_files, read_checkout, write_folder

from .programs import CACHE, ROOT, FailedError

COPIES = CACHE / "copies"
CHECKOUT = COPIES / "checkout" / "callsheet"
ROOT_SKILL = COPIES / "root" / "callsheet"
BUNDLE = COPIES / "bundle" / "callsheet"


def skills() -> list[Path]:
    """The folders of the single skills."""
    return sorted(path.parent for path in (ROOT / "skill").glob("*/SKILL.md"))


def copy_all() -> None:
    """Copy the checkout, the root skill as a registry would get it, and the plugin bundle."""
    shutil.rmtree(COPIES, ignore_errors=True)
    shutil.rmtree(CACHE / "home", ignore_errors=True)
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    lines = (ROOT / ".clawhubignore").read_text(encoding="utf-8").splitlines()
    ignored = {line.rstrip("/") for line in lines if not line.startswith("#")}
    for name in filter(None, listed.stdout.split("\0")):
        source = ROOT / name
        if not source.is_file():
            continue
        paths = [CHECKOUT / name]
        top = name.split("/")[0]
        if top not in ignored and not top.startswith("."):
            paths.append(ROOT_SKILL / name)
        for place in paths:
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, place)
    write_folder(BUNDLE, plugin_files(read_checkout()))


def every_skill(run: Callable[[Path], None]) -> str:
    """Run a check on the root skill and on each single skill; raises `FailedError` with every fault."""
    folders = [ROOT_SKILL, *skills()]
    faults = []
    for folder in folders:
        try:
            run(folder)
        except FailedError as error:
            faults.append(f"{folder.name}: {error}")
    if faults:
        raise FailedError("; ".join(faults))
    if len(folders) == 1:
        raise FailedError("the root skill passes, but there is none below skill/")
    return f"{len(folders)} skills"
