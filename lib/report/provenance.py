"""Where a number comes from: the commit, the versions of the packages, the device."""

import importlib.metadata
import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

from lib.base.files import ROOT

PACKAGES = (
    "torch",
    "torchvision",
    "numpy",
    "scipy",
    "scikit-learn",
    "gensim",
    "onnxruntime",
    "timm",
    "sentence-transformers",
)


def commit(root: Path = ROOT) -> str:
    """Git commit of `root`, or `unknown: <reason>` without git.

    It ends in `-dirty` if lib, the code cells of notebooks or the requirements differ from it.
    """
    try:
        git = ["git", "-C", str(root)]
        ask: dict[str, Any] = {"capture_output": True, "text": True, "check": True, "timeout": 60}
        top, head = subprocess.run([*git, "rev-parse", "--show-toplevel", "HEAD"], **ask).stdout.split("\n")[:2]
        if Path(top).resolve() != root.resolve():
            return "unknown: lib is not at the top of a git checkout"
        code = ["lib", "notebooks", "requirements.txt", "requirements.lock"]
        status = subprocess.run([*git, "status", "--porcelain", "-z", "--no-renames", "--", *code], **ask).stdout
        dirty = any(_is_changed(root, entry[:2], entry[3:], git) for entry in status.split("\0") if entry)
    except FileNotFoundError:
        return "unknown: git is not installed"
    except subprocess.CalledProcessError as error:
        reason = (error.stderr.strip().splitlines() or ["git failed"])[0]
        return f"unknown: {reason.replace(str(root), '.')}"
    return head + ("-dirty" if dirty else "")


def unclean(commit: str) -> str | None:
    """Why numbers of this commit may not be recorded; None if the commit says all about their code."""
    if commit.endswith("-dirty"):
        return "differs from its commit (lib, cells of notebooks, requirements): commit first"
    return f"no commit tells of ({commit})" if commit.startswith("unknown") else None


def _is_changed(root: Path, kind: str, name: str, git: list[str]) -> bool:
    """Whether a file that differs from the commit differs in code: recorded outputs of a notebook are none."""
    if not name.endswith(".ipynb") or set(kind) - set(" M"):
        return True
    before = subprocess.run([*git, "show", f"HEAD:{name}"], capture_output=True, check=True, timeout=60).stdout
    return _cells(before) != _cells((root / name).read_bytes())


def _cells(content: bytes) -> list[str]:
    cells = json.loads(content)["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]


def fits() -> dict[str, int] | None:
    """How many trainings of this process were taken from the store, resumed and trained; None if it has no store."""
    store = sys.modules.get("lib.base.fit_store")  # whoever trained has imported it; do not import torch for a count
    return None if store is None else dict(store.counts())


def versions() -> dict[str, str]:
    """Versions of Python and of those PACKAGES that are installed, without importing any."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue  # the rooms that need torch only also run where the rest is absent
    return found


def device_name(device=None) -> str:
    """Name of the GPU if `device` (None, "auto" or a torch device) means one, else of the processor."""
    torch = sys.modules.get("torch")  # a notebook that used a GPU has imported it; do not import it for the name
    kind = "auto" if device is None else str(device)
    if torch is not None and torch.cuda.is_available() and (kind == "auto" or kind.startswith("cuda")):
        index = torch.device(kind).index if kind.startswith("cuda") else None
        return torch.cuda.get_device_name(index)
    if kind not in ("auto", "cpu"):
        return kind
    name = platform.processor()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
        models = [line for line in lines if line.startswith("model name")]
        name = models[0].partition(":")[2].strip() if models else name
    return f"{name or platform.machine()}, {os.cpu_count()} cores"
