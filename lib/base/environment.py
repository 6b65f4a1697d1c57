"""The environment of a checkout: `.venv`, made by the first command and renewed when requirements.lock changes.

The standard library alone, and nothing newer than Python 3.8 knows: this file has to tell a Python that it is too old.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import io
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
OLDEST, NEWEST = (3, 11), (3, 13)
SUPPORTED = "Python 3.11, 3.12 or 3.13"
NEEDED = 9e9  # bytes of disk for a new environment with PyTorch for NVIDIA GPUs
UNFINISHED = "unfinished"  # what the stamp holds while the installation is under way
ENTERED = "LIB_ENTERED"  # the variable that tells the interpreter of .venv that it was started for this
WINDOWS = sys.platform == "win32"
PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check")


class NotReady(Exception):
    """The environment could not be made; the message says why and what to do."""


def enter(arguments: list[str], root: Path = ROOT) -> None:
    """Return when this interpreter has everything; else go on with `python -m lib <arguments>` in the one of `.venv`.

    An interpreter that has all packages is used as it is, whoever made it. Otherwise `.venv` is made, or filled again
    if requirements.lock has changed or the last installation was interrupted. Raises NotReady, or SystemExit with the
    exit code of the command that ran in `.venv`.
    """
    venv = root / ".venv"
    if not (root / "requirements.lock").is_file():
        return  # an installed copy: whoever installed it chose the packages
    if not _is_running_in(venv):
        if is_supported(sys.version_info[:2]) and not missing(root):
            return
        if not _python_of(venv).exists():
            make(venv)
        _go_on_in(venv, arguments)
    os.environ.pop(ENTERED, None)
    if not is_supported(sys.version_info[:2]):
        raise NotReady(f".venv has {_version()}, this project needs {SUPPORTED}: delete the folder .venv and try again")
    if not is_ready(root):
        install(root)


def print_anywhere() -> None:
    """Let letters that the terminal cannot show be printed as question marks; a table with one of them is a table."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def is_made(root: Path = ROOT) -> bool:
    """Whether there is an environment at all, so that `enter` has nothing large to install."""
    return not (root / "requirements.lock").is_file() or _python_of(root / ".venv").exists() or not missing(root)


def is_ready(root: Path = ROOT) -> bool:
    """Whether `.venv`, whose interpreter is running, holds what requirements.lock says.

    A `.venv` without a stamp was made by somebody else and is ready if it has all direct dependencies.
    """
    stamp = root / ".venv" / ".ready"
    if stamp.is_file():
        return stamp.read_text(encoding="utf-8").strip() == lock_hash(root)
    return not missing(root)


def lock_hash(root: Path = ROOT) -> str:
    """The SHA-256 of requirements.lock, in hexadecimal digits."""
    return hashlib.sha256((root / "requirements.lock").read_bytes()).hexdigest()


def missing(root: Path = ROOT) -> list[str]:
    """Those packages of requirements.txt that this interpreter has not, whatever their versions."""
    absent = []
    for line in (root / "requirements.txt").read_text(encoding="utf-8").splitlines():
        name = re.match(r"[A-Za-z0-9._-]+", line)
        if name is None or ";" in line.partition("#")[0]:  # a comment, or a package that some systems do without
            continue
        try:
            importlib.metadata.distribution(name[0])
        except importlib.metadata.PackageNotFoundError:
            absent.append(name[0])
    return absent


def is_supported(version: tuple[int, ...]) -> bool:
    """Whether the project runs on this Python, given as (major, minor)."""
    return OLDEST <= tuple(version) <= NEWEST


def make(venv: Path) -> None:
    """Make an empty environment at `venv` with a supported Python: the running one, or else one that PATH has."""
    python = _supported_python()
    free = shutil.disk_usage(venv.parent).free
    if free < NEEDED:
        raise NotReady(f"{venv.parent} has {free / 1e9:.1f} GB of free space, the environment needs {NEEDED / 1e9:.0f}")
    _say("[1/3] making the environment in .venv")
    if subprocess.call([*python, "-m", "venv", "--clear", "--without-pip", str(venv)]) != 0:
        raise NotReady("the folder .venv could not be made, see above")


def install(root: Path = ROOT) -> None:
    """Fill `.venv`, whose interpreter is running, with what requirements.lock lists, and with this project in place.

    The stamp is written last. Where it shows that an earlier installation was interrupted, every package is put in
    place again, because one of them may be there by half; what has been downloaded is taken from the caches.
    """
    stamp, lock = root / ".venv" / ".ready", root / "requirements.lock"
    digest = lock_hash(root)
    again = stamp.is_file() and stamp.read_text(encoding="utf-8").strip() == UNFINISHED
    stamp.write_text(UNFINISHED, encoding="utf-8")
    _require_pip()
    _say("[2/3] installing requirements.lock: about 7 GB, most of it PyTorch; minutes, depending on the network")
    if not _has_uv(root) or _fails(uv_command(lock, again)):
        _refuse_full_disk(root)
        _say("      uv did not do it; the same with pip, which takes longer")
        if _fails(pip_command(lock, again)):
            _refuse_full_disk(root)
            raise NotReady(
                "the packages could not be installed, see above: is there a network, and does pip reach the package "
                "index (proxy, certificates)? What arrived is kept; the same command goes on"
            )
    _say("[3/3] installing this project in place")
    if _fails([*PIP, "install", "--quiet", "--no-deps", "--no-build-isolation", "--editable", str(root)]):
        raise NotReady("this project could not be installed into .venv, see above")
    stamp.write_text(digest, encoding="utf-8")
    _say("environment ready")


def uv_command(lock: Path, again: bool = False) -> list[str]:
    """The command that installs `lock` with uv into the running interpreter's environment."""
    # the system's certificates, as pip takes them: where the network has its own, uv's do not do
    uv = [sys.executable, "-m", "uv", "pip", "install", "--system-certs", "--python", sys.executable]
    return [*uv, "--no-deps", "--require-hashes", *(["--reinstall"] if again else []), "--requirement", str(lock)]


def pip_command(lock: Path, again: bool = False) -> list[str]:
    """The same with pip."""
    force = ["--force-reinstall"] if again else []
    return [*PIP, "install", "--no-deps", "--require-hashes", *force, "--requirement", str(lock)]


def lock_entry(text: str, name: str) -> str:
    """The lines of a lock file that pin the package `name`, with its hashes."""
    found = re.search(rf"^{re.escape(name)}==.*\n(?:[ \t]+.*\n)*", text, re.MULTILINE)
    if found is None:
        raise NotReady(f"requirements.lock does not list {name}: write it anew with `python -m lib lock`")
    return found[0]


def wait(process: subprocess.Popen) -> int:
    """Return the exit code of a process in the foreground; Control-C, which reaches it too, is its own affair."""
    while True:
        try:
            return process.wait()
        except KeyboardInterrupt:
            continue


def _require_pip() -> None:
    """Put pip into the environment, if it is not there, from what Python brings along."""
    if _fails([*PIP, "--version"], quiet=True) and _fails([sys.executable, "-m", "ensurepip"], quiet=True):
        raise NotReady("this Python comes without ensurepip; on Debian and Ubuntu: apt install python3-venv")


def _has_uv(root: Path) -> bool:
    """Install uv as locked, too; whether it is there then."""
    only_uv = root / ".venv" / "uv.lock.txt"
    lock = (root / "requirements.lock").read_text(encoding="utf-8")
    only_uv.write_text(lock_entry(lock, "uv"), encoding="utf-8")
    return not _fails([*PIP, "install", "--quiet", "--no-deps", "--require-hashes", "--requirement", str(only_uv)])


def _refuse_full_disk(root: Path) -> None:
    free = shutil.disk_usage(root).free
    if free < 1e9:
        raise NotReady(
            f"the disk of {root} is full ({free / 1e6:.0f} MB left): make room, then the same command goes on"
        )


def _supported_python() -> list[str]:
    """The command of a supported Python."""
    if is_supported(sys.version_info[:2]):
        return [getattr(sys, "_base_executable", None) or sys.executable]
    names = ["3.13", "3.12", "3.11"]
    for command in [["py", "-" + name] for name in names] if WINDOWS else [["python" + name] for name in names]:
        # a name on PATH may be a stub that only says how to install it
        if shutil.which(command[0]) and not _fails([*command, "-c", "import venv"], quiet=True):
            return command
    example = "py -3.13 -m lib" if WINDOWS else "python3.13 -m lib"
    raise NotReady(f"this is {_version()}; install {SUPPORTED}, then call it by name, for example: {example} run")


def _go_on_in(venv: Path, arguments: list[str]) -> None:
    """Run the command in the environment; this process becomes it, or ends with its exit code."""
    if os.environ.get(ENTERED) == str(venv):
        raise NotReady(f"the environment in {venv} is damaged: delete this folder and try again")
    # UTF-8 for all files and streams, of this process and of those that it starts: Windows has another default
    variables = {**os.environ, ENTERED: str(venv), "PYTHONUTF8": "1"}
    command = [str(_python_of(venv)), "-m", "lib", *arguments]
    sys.stdout.flush()
    if not WINDOWS:
        os.execve(command[0], command, variables)
    sys.exit(wait(subprocess.Popen(command, env=variables)))


def _is_running_in(venv: Path) -> bool:
    return venv.exists() and os.path.samefile(sys.prefix, venv)


def _python_of(venv: Path) -> Path:
    return venv / "Scripts" / "python.exe" if WINDOWS else venv / "bin" / "python"


def _fails(command: list[str], quiet: bool = False) -> bool:
    to = subprocess.DEVNULL if quiet else None
    return subprocess.call(command, stdout=to, stderr=to) != 0


def _version() -> str:
    return "Python {}.{}".format(*sys.version_info[:2])


def _say(text: str) -> None:
    print(text, flush=True)
