"""Runs the notebooks with the parameters of a profile, each in a process of its own, and writes an overview page.

    python -m lib run                                      # all notebooks, into runs/openmoji, what is done is skipped
    python -m lib run --profile smoke --only 03 04

A notebook is done when its process exited 0 and it wrote a complete metrics.json. Exit code: 0 all done, 1 a notebook
failed, 2 nothing was run because the profile or the command does not fit the notebooks, 130 interrupted.
"""

from lib.run.profile import ProfileError
from lib.run.result import Result, read_result
from lib.run.runner import run_notebooks

__all__ = ["ProfileError", "Result", "read_result", "run_notebooks"]
