"""Plans a run, starts the notebooks' processes and shows how far they are."""

import contextlib
import json
import os
import platform
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from lib.base.files import ROOT, write_text
from lib.run import notebook
from lib.run.page import fits_said, write_index
from lib.run.profile import ProfileError, load_profile, parameters_for
from lib.run.result import Result
from lib.run.task import Task

PATTERN = "[0-9]*.ipynb"


def run_notebooks(
    profile: str,
    only: list[str] | None = None,
    out: Path | None = None,
    jobs: int = 1,
    resume: bool = False,
    notebooks: Path | None = None,
    cell_timeout: float = 1800,
    changes: dict | None = None,
) -> list[Result]:
    """Runs the notebooks of a folder (default: notebooks/) into `out` (default: runs/<profile>), `jobs` at a time.

    `only` selects by number ("03") or name; `resume` skips what passed with the same inputs; `cell_timeout` is in
    seconds; `changes` are parameters that come before those of the profile. Raises ProfileError before anything runs if
    profile, selection or notebooks do not fit together, or `out` is in use or cannot be written to.
    """
    folder = Path(notebooks or ROOT / "notebooks").resolve()
    out = Path(out or folder.parent / "runs" / profile).resolve()
    tasks = _plan(profile, only, out, folder, changes or {})
    if jobs < 1 or cell_timeout <= 0:
        raise ProfileError(f"jobs ({jobs}) and the cell time-out ({cell_timeout}) must be positive")
    with _alone(out):
        return _run_all(tasks, profile, folder, out, jobs, resume, cell_timeout)


def _run_all(
    tasks: list[Task], profile: str, folder: Path, out: Path, jobs: int, resume: bool, cell_timeout: float
) -> list[Result]:
    names = [path.stem for path in sorted(folder.glob(PATTERN))]
    results: list[Result] = []
    running: list[Task] = []
    waiting = list(tasks)
    began = last_report = time.monotonic()
    try:
        while waiting or running:
            while waiting and len(running) < jobs and not (waiting[0].reads_others and running):
                task = waiting.pop(0)
                if resume and (earlier := task.earlier()):
                    _print(f"{task.name}: skipped, done already with the same code and parameters")
                    results.append(earlier)
                else:
                    _print(f"{task.name}: started ({len(results) + len(running) + 1} of {len(tasks)})")
                    try:
                        task.start(jobs, cell_timeout)
                        running.append(task)
                    except OSError as error:  # a full disk, a folder that is none: the others may still run
                        results.append(task.refuse(f"it could not be started: {error}"))
                        _print(_verdict(results[-1], task.folder))
            for task in [task for task in running if task.ended()]:
                running.remove(task)
                results.append(task.finish())
                _print(_verdict(results[-1], task.folder))
                _write_index(out, profile, names)
            last_report = _report(running, last_report)
            time.sleep(0.1)
    finally:
        for task in running:
            task.kill()
        _write_index(out, profile, names)
    failed = sum(not result.passed for result in results)
    skipped = sum(result.skipped for result in results)
    passed = len(results) - failed - skipped
    _print(f"{passed} passed, {skipped} skipped, {failed} failed in {time.monotonic() - began:.0f} s")
    _print(f"overview: {out / 'index.html'}")
    return results


@contextlib.contextmanager
def _alone(out: Path) -> Iterator[None]:
    """Hold the folder of a run, which is made; ProfileError where it cannot be, or where another process has it."""
    lock, owner = FileLock(out / ".lock"), out / ".lock.json"
    try:
        out.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
        write_text(owner, json.dumps({"process": os.getpid(), "on": platform.node(), "since": time.ctime()}))
    except Timeout as error:
        who = "another process"
        with contextlib.suppress(OSError, ValueError, KeyError):  # it is writing, or has just ended
            known = json.loads(owner.read_text(encoding="utf-8"))
            who = f"process {known['process']} on {known['on']} since {known['since']}"
        raise ProfileError(f"{out} is in use by {who}; choose another folder with --out, or wait") from error
    except OSError as error:
        lock.release()
        raise ProfileError(f"{out} cannot hold a run: {error.strerror or error}") from error
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            owner.unlink(missing_ok=True)
        lock.release()


def _write_index(out: Path, profile: str, names: list[str]) -> None:
    """The overview, a by-product: where it cannot be written this is said, and the results stand."""
    try:
        write_index(out, profile, names)
    except OSError as error:
        _print(f"the overview {out / 'index.html'} could not be written: {error}")


def _plan(profile: str, only: list[str] | None, out: Path, folder: Path, changes: dict) -> list[Task]:
    """Everything that can be checked before anything runs."""
    paths = sorted(folder.glob(PATTERN))
    if not paths:
        raise ProfileError(f"no notebooks (NN_name.ipynb) in {folder}")
    declared, problems = {}, []
    for path in paths:
        try:
            declared[path] = notebook.parameters(notebook.read(path), path.name)
        except ValueError as error:
            problems.append(str(error))
    if problems:
        raise ProfileError("\n".join(problems))
    given = parameters_for(load_profile(folder / "profiles", profile), declared, changes, f"{profile}.yaml")
    tasks = [Task(path, profile, given[path], out, "runs_dir" in declared[path]) for path in select(paths, only)]
    return sorted(tasks, key=lambda task: task.reads_others)


def select(paths: list[Path], only: list[str] | None) -> list[Path]:
    """Those notebooks of `paths` that `only` names ("03", "03_evaluation"), all of them if it names none.

    Raises ProfileError for a name that fits no notebook.
    """

    def named(name: str, path: Path) -> bool:
        return name in (path.stem, path.name, path.stem.split("_")[0])

    for name in only or []:
        if not any(named(name, path) for path in paths):
            raise ProfileError(f"--only {name} matches none of: {', '.join(path.stem for path in paths)}")
    return [path for path in paths if not only or any(named(name, path) for name in only)]


def _verdict(result: Result, folder: Path) -> str:
    if result.passed:
        fits = f" ({said})" if (said := fits_said(result.fits)) else ""
        notes = "".join(f"\n    {note}" for note in result.notes)
        return f"{result.notebook}: passed in {result.seconds:.0f} s{fits}{notes}"
    failure: Any = result.failure
    head = [f"    | {line}" for line in failure["source"].splitlines()[:5]]
    trace = [f"    {line}" for line in failure["traceback"].splitlines()[-25:]]
    where = f"{result.notebook}: FAILED in code cell {failure['cell']} after {result.seconds:.0f} s"
    return "\n".join([f"{where}: {failure['message']}", *head, *trace, f"    log: {folder / 'log.txt'}"])


def _report(running: list[Task], last: float) -> float:
    """Live progress: one line that is rewritten on a terminal, a plain line every 30 seconds elsewhere."""
    now = time.monotonic()
    texts = [f"{task.name}: cell {task.cell} of {task.cells or '?'}, {now - task.began:.0f} s" for task in running]
    if texts and sys.stdout.isatty():
        width = shutil.get_terminal_size().columns - 1
        print("\r" + "  |  ".join(texts)[:width].ljust(width), end="", flush=True)
    elif texts and now - last > 30:
        print("\n".join(texts), flush=True)
        return now
    return last


def _print(text: str) -> None:
    clear = "\r" + " " * (shutil.get_terminal_size().columns - 1) + "\r" if sys.stdout.isatty() else ""
    print(clear + text, flush=True)
