"""Files of tensors that survive a kill while they are written, and are never believed when they are damaged."""

import hashlib
import io
import pickle
from pathlib import Path

import torch

from lib.base.files import atomic_path

SEAL = b"sha256=%s\n"  # behind the archive that torch.save writes; plain torch.load still reads the file
SEAL_BYTES = len(SEAL % (b"0" * 64))


class Damaged(ValueError):
    """A file that is not what was written; `what` says which and why, without advice."""

    def __init__(self, path: Path, why: object):
        self.what = f"{path} is not a readable checkpoint ({why})"
        super().__init__(f"{self.what}. Delete it to start afresh.")


def save(path: str | Path, state: dict) -> None:
    """Write `state` (tensors, numbers, strings, lists and dicts of them) so that `path` is always a whole file."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    content = io.BytesIO()
    torch.save(state, content)
    with atomic_path(path) as temporary:
        data = content.getbuffer()
        with temporary.open("wb") as file:
            file.write(data)
            file.write(SEAL % hashlib.sha256(data).hexdigest().encode())


def load(path: str | Path, run: dict | None = None, device: torch.device | str = "cpu") -> dict | None:
    """Return the state written at `path`, or None if there is none yet.

    Args:
        path: of the checkpoint.
        run: what must be equal to `state["run"]` for the state to be the wanted one (settings, data).
        device: where tensors go.

    Raises:
        Damaged: the file is not whole, or was changed; the message names it.
        ValueError: the file belongs to another run; the message names what differs.
    """
    path = Path(path)
    if not path.exists():
        return None
    data = path.read_bytes()
    content, seal = data[:-SEAL_BYTES], data[-SEAL_BYTES:]
    if seal != SEAL % hashlib.sha256(content).hexdigest().encode():
        raise Damaged(path, "its checksum differs")
    try:
        state = torch.load(io.BytesIO(content), map_location=device, weights_only=True)
    except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise Damaged(path, error) from error
    wanted, there = run or {}, state["run"] if run else {}
    differing = [f"{k}: {there.get(k)!r} there, {wanted[k]!r} here" for k in wanted if there.get(k) != wanted[k]]
    if differing:
        raise ValueError(
            f"{path} belongs to another run ({'; '.join(differing)}). Delete it to start afresh, or give another path."
        )
    return state
