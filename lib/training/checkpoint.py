"""Checkpoints that survive a kill while they are written, and refuse to resume another run."""

import os
import pickle
from pathlib import Path

import torch


def save(path: str | Path, state: dict) -> None:
    """Write `state` (tensors, numbers, strings, lists and dicts of them) so that `path` is always a whole file."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    torch.save(state, temporary)
    os.replace(temporary, path)


def load(path: str | Path, run: dict, device: torch.device | str = "cpu") -> dict | None:
    """Return the state written at `path`, or None if there is none yet.

    Args:
        path: of the checkpoint.
        run: what must be equal for the continuation to be the same run (configuration, data); compared with
            `state["run"]`.
        device: where tensors go.

    Raises:
        ValueError: the file is damaged, or belongs to another run; the message names the file and what differs.
    """
    path = Path(path)
    if not path.exists():
        return None
    try:
        state = torch.load(path, map_location=device, weights_only=True)
    except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise ValueError(f"{path} is not a readable checkpoint ({error}). Delete it to start afresh.") from error
    differing = [
        f"{key}: {state['run'].get(key)!r} there, {run[key]!r} here" for key in run if state["run"].get(key) != run[key]
    ]
    if differing:
        raise ValueError(
            f"{path} belongs to another run ({'; '.join(differing)}). Delete it to start afresh, or give another path."
        )
    return state
