"""Builds the image of deploy/Containerfile without a registry, and runs its tests: `python -m team.image`.

Debian's buildah and mmdebstrap do it as root, with chroots in place of a container runtime. A small Debian with its
Python takes the place and the name of the base image, so the Containerfile is built as it is.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
PLACE = ROOT / "build" / "image"
CONTAINERFILE = ROOT / "deploy" / "Containerfile"
CONTAINER = "CALLSHEET_TEST_CONTAINER"
PACKAGES = "python3-minimal,python3-venv,python-is-python3,ca-certificates"
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
TRUST = {"/etc/pip.conf": f"[global]\ncert = {CERTIFICATES}\n", "/etc/uv/uv.toml": "native-tls = true\n"}
"""While it is built, the image trusts the servers that this machine trusts."""


def why_not() -> str:
    """What is missing to build it."""
    missing = [name for name in ("buildah", "mmdebstrap") if shutil.which(name) is None]
    if missing or os.geteuid():
        return f"needs root, and Debian's {' and '.join(missing or ['buildah'])}: not run"
    return ""


def buildah(*words: str | Path) -> list[str]:
    """A command of buildah, over a store of its own."""
    return [
        "buildah",
        "--root",
        f"{PLACE}/root",
        "--runroot",
        f"{PLACE}/run",
        "--storage-driver",
        "vfs",
        *map(str, words),
    ]


def run(*command: str | Path) -> str:
    """Run it to its end; its last line."""
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return (done.stdout.split() or [""])[-1]


def build() -> str:
    """Build the base once and the image each time; a container of it."""
    base = next(line.split()[1] for line in CONTAINERFILE.read_text().splitlines() if line.startswith("FROM"))
    files, volumes = PLACE / "rootfs.tar", ["--volume", f"{CERTIFICATES}:{CERTIFICATES}:ro"]
    PLACE.mkdir(parents=True, exist_ok=True)
    if not files.exists():
        whole = files.with_suffix(".new.tar")
        run("mmdebstrap", "--quiet", "--variant=minbase", f"--include={PACKAGES}", "bookworm", whole)
        whole.rename(files)
    if not run(*buildah("images", "--quiet", "--filter", f"reference={base}")):
        container = run(*buildah("from", "scratch"))
        run(*buildah("add", "--quiet", container, files, "/"))
        run(*buildah("commit", "--quiet", "--rm", container, base))
    for where, text in TRUST.items():
        own = PLACE / Path(where).name
        own.write_text(text)
        volumes += ["--volume", f"{own}:{where}:ro"]
    words = ("--isolation", "chroot", "--pull-never", "--format", "docker", *volumes, "--tag", "callsheet-team")
    run(*buildah("bud", *words, "--file", CONTAINERFILE, ROOT))
    return run(*buildah("from", "--pull-never", "localhost/callsheet-team"))


def main() -> int:
    """Build, test, and leave only what makes the next build faster."""
    if reason := why_not():
        sys.stdout.write(f"The image {reason}.\n")
        return 0
    container = build()
    try:
        environ = {**os.environ, CONTAINER: container}
        command = [sys.executable, "-m", "pytest", "-q", "-n", "0", *sys.argv[1:]]
        return subprocess.run(command, env=environ, check=False).returncode
    finally:
        run(*buildah("rm", container))
        run(*buildah("rmi", "--prune"))


if __name__ == "__main__":
    sys.exit(main())
