"""What decides a run besides code and parameters: packages, the device, the data, the runner itself."""

import functools
import hashlib
import importlib.metadata
import json
import os
import platform
import re
from pathlib import Path
from typing import Any

from lib.base.files import ROOT, data_dir
from lib.report.provenance import device_name
from lib.run import notebook

PINNED = re.compile(r"^([A-Za-z0-9][\w.-]*)(?:\[[^]]*\])?==", re.MULTILINE)
RUNNER = ("run/execute.py", "run/task.py", "run/notebook.py", "report/rows.py", "report/provenance.py")


@functools.cache
def described() -> dict[str, Any]:
    """Versions of Python and of every package of requirements.lock, the device, a hash of the runner's code."""
    import torch  # noqa: F401  `device_name` asks it for a GPU only where it is imported

    code = b"".join((ROOT / "lib" / name).read_bytes() for name in RUNNER)
    return {"versions": _versions(), "device": device_name(), "runner": hashlib.sha256(code).hexdigest()}


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in sorted(set(PINNED.findall((ROOT / "requirements.lock").read_text(encoding="utf-8")))):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # for another system or Python
    return found


def data_stamp(path: Path, given: dict) -> list:
    """Where the data lies, and a hash of names, sizes and times of the files of each corpus that a notebook names.

    The content is not read: Flickr30k alone is 4 GB. The corpora that come with packages are told by their versions.
    """
    root = data_dir()
    if not root.is_dir():
        return [str(root)]
    words = set(
        re.findall(r"\w+", json.dumps(given) + " ".join(c.source for c in notebook.code_cells(notebook.read(path))))
    )
    return [str(root), *(_folder_stamp(root / name) for name in sorted(words & set(os.listdir(root))))]


def _folder_stamp(folder: Path) -> list[str]:
    digest = hashlib.sha256()
    for where, folders, files in os.walk(folder):
        folders.sort()
        for name in sorted(files):
            state = os.stat(os.path.join(where, name))
            digest.update(json.dumps([os.path.relpath(where, folder), name, state.st_size, state.st_mtime_ns]).encode())
    return [folder.name, digest.hexdigest()]
