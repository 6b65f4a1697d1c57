"""Writes requirements.lock: every package that requirements.txt needs, with the hashes of its files."""

import argparse
import hashlib
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from lib.base.files import ROOT, write_text

HEADER = """\
# Everything that requirements.txt needs on Python 3.11 to 3.13, Linux, macOS and Windows, with the hashes of all files.
# Written by `python -m lib lock`, installed by the first `python -m lib run` or `python -m lib test`.
# SHA-256 of requirements.txt: {digest}
"""


def main(arguments: list[str] | None = None) -> int:
    """Write requirements.lock anew from requirements.txt; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m lib lock", description=__doc__)
    parser.add_argument("--upgrade", action="store_true", help="take the newest of what requirements.txt leaves open")
    upgrade = parser.parse_args(arguments).upgrade
    lock = ROOT / "requirements.lock"
    with tempfile.TemporaryDirectory() as folder:
        draft = Path(folder, "requirements.lock")
        if lock.is_file() and not upgrade:
            shutil.copy(lock, draft)  # uv keeps the versions that it finds in its output file
        if subprocess.call(compile_command(draft), cwd=ROOT) != 0:
            print("requirements.lock is as it was: uv could not resolve requirements.txt, see above", file=sys.stderr)
            return 1
        write_text(lock, HEADER.format(digest=requirements_hash()) + draft.read_text(encoding="utf-8"))
    print(f"written: {lock}; the next command installs it")
    return 0


def compile_command(draft: Path) -> list[str]:
    """The command with which uv writes `draft`: for all systems at once, and without the address of an index."""
    uv = [sys.executable, "-m", "uv", "pip", "compile", "--system-certs", "--quiet", "--universal"]
    plain = ["--python-version", "3.11", "--no-header", "--no-annotate", "--no-emit-index-url"]
    return [*uv, *plain, "--generate-hashes", "--output-file", str(draft), "requirements.txt"]


def requirements_hash() -> str:
    """The SHA-256 of requirements.txt, whatever ends its lines, in hexadecimal digits."""
    return hashlib.sha256((ROOT / "requirements.txt").read_text(encoding="utf-8").encode()).hexdigest()


if __name__ == "__main__":
    sys.exit(main())
