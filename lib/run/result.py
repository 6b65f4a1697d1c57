"""How the run of a notebook ended, as it is kept in its folder, and whether what lies there is still what it left."""

import hashlib
import json
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

from lib.base.files import write_text

STATE = "run.json"  # in the folder of a run: a Result as JSON, present only once the run has ended
NEEDED = ("notebook.ipynb", "metrics.json")  # what a run that passed leaves
FILES = (*NEEDED, "notebook.html")  # and the page, which is made of them


@dataclass
class Result:
    """How the run of one notebook ended.

    `failure` is None or has cell (its number among the code cells), source, message and traceback.
    """

    notebook: str
    title: str
    profile: str
    status: str  # "passed" or "failed"
    seconds: float
    parameters: dict
    inputs: str  # hash of everything that decides the outcome
    numbers_hash: str  # hash of the code that decides the numbers
    outputs_hash: str  # and of all code behind the outputs, see lib.run.stale
    fits: dict | None = None  # how many trainings were "taken" from the store, "resumed" and "trained"
    failure: dict | None = None
    skipped: bool = False  # passed in an earlier run with the same inputs
    run: str = ""  # the id of this run, which metrics.json names, too
    files: dict = field(default_factory=dict)  # SHA-256 of FILES by name
    notes: list = field(default_factory=list)  # what did not go as wanted and undoes nothing

    @property
    def passed(self) -> bool:
        return self.status == "passed"


def write_result(folder: Path, result: Result) -> None:
    """Write run.json, with a checksum of itself. Raises OSError where it cannot be written."""
    content = asdict(result)
    write_text(folder / STATE, json.dumps(content | {"seal": _seal(content)}, indent=1, ensure_ascii=False) + "\n")


def _seal(content: dict) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def read_result(folder: Path) -> Result | None:
    """The Result of the run in `folder`, None if no run there has ended (or one of a version that kept other facts).

    Raises ValueError where run.json is damaged, or was edited.
    """
    path = folder / STATE
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise ValueError("no mapping")
        seal = content.pop("seal", None)
        if seal not in (None, _seal(content)):
            raise ValueError("it was edited")
    except ValueError as error:
        raise ValueError(f"{path} is damaged ({error}); run the notebook again") from error
    return Result(**content) if seal and set(content) == {part.name for part in fields(Result)} else None


def file_hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of those of FILES that are in a folder."""
    return {
        name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in FILES if (folder / name).is_file()
    }


def changed_since(folder: Path, result: Result) -> str | None:
    """What of a run that passed is no longer as the run left it; None where all is. The page may be missing."""
    now = file_hashes(folder)
    for name in NEEDED:
        if name not in now:
            return f"{folder / name} does not exist"
        if now[name] != result.files.get(name):
            return f"{folder / name} is not what the run wrote"
    return None
