"""One notebook on its way: what decides its outcome, its process, and the judgement at the end."""

import contextlib
import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import psutil

from lib.base.files import ROOT, write_text
from lib.report.provenance import commit, unclean, versions
from lib.report.rows import read_metrics
from lib.run import notebook, stale
from lib.run.page import export_html

STATE = "run.json"  # in the folder of a run: a Result as JSON, present only once the run has ended
FILES = ("notebook.ipynb", "notebook.html", "metrics.json")  # what a run that passed leaves beside STATE
SILENT = 60  # seconds beyond the cell time-out after which a process that reports nothing is given up


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

    @property
    def passed(self) -> bool:
        return self.status == "passed"


def read_result(folder: Path) -> Result | None:
    """The Result of the run in `folder`, None if no run there has ended (or one of a version that kept other facts)."""
    path = folder / STATE
    content = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return Result(**content) if set(content) == {part.name for part in fields(Result)} else None


class Task:
    """One notebook on its way: waiting, running in a process, ended."""

    process: Any  # a subprocess.Popen with pipes to both sides
    failure: dict | None

    def __init__(self, path: Path, profile: str, given: dict, out: Path, reads_others: bool):
        self.path, self.name, self.profile, self.out = path, path.stem, profile, out
        self.given = given  # parameters from the profile
        self.reads_others = reads_others  # has a parameter runs_dir: runs after the others and depends on their numbers
        self.folder = out / path.stem
        self.cell, self.cells, self.failure = 0, 0, None

    def inputs(self, made: stale.Made) -> str:
        """Hash of code, library, parameters, package versions, and of other notebooks' numbers if it reads them."""
        parts = [made.outputs, versions()]
        if self.reads_others:
            others = sorted(path for path in self.out.glob("*/metrics.json") if path.parent != self.folder)
            parts += [[path.parent.name, json.loads(path.read_text(encoding="utf-8"))["rows"]] for path in others]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]

    def made(self) -> stale.Made:
        """What the notebook's outputs would be made by now."""
        return stale.made(self.path, self.given)

    def earlier(self) -> Result | None:
        """The Result of an earlier run that passed with the same inputs and whose files are all there."""
        result = read_result(self.folder)
        if result is None or not result.passed or result.inputs != self.inputs(self.made()):
            return None
        if not all((self.folder / name).is_file() for name in FILES):
            return None
        made_by = read_metrics(self.folder / "metrics.json")["provenance"]["commit"]
        if unclean(made_by) and not unclean(commit()):
            return None  # it could not be recorded; the same code is a commit now
        result.skipped = True
        return result

    def start(self, jobs: int, cell_timeout: float) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        for name in (*FILES, STATE):  # what is found at the end was written by this run
            (self.folder / name).unlink(missing_ok=True)
        self.started_made = self.made()
        self.started_inputs = self.inputs(self.started_made)
        self.part = self.folder / ".notebook.part.ipynb"
        own = {"out_dir": str(self.folder)} | ({"runs_dir": str(self.out)} if self.reads_others else {})
        request = {
            "notebook": str(self.path),
            "output": str(self.part),
            "parameters": {**self.given, **own},
            "cwd": str(self.path.parent),
            "cell_timeout": cell_timeout,
        }
        self.began = self.heard = time.monotonic()
        self.patience = cell_timeout + SILENT
        with open(self.folder / "log.txt", "wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "lib.run.execute"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=_environment(jobs),
                # Ctrl-C reaches the runner only, which then ends the whole tree; the second one is for Windows
                start_new_session=True,
                creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
            )
        self.messages: SimpleQueue[bytes] = SimpleQueue()
        self.reader = threading.Thread(target=_read, args=(self.process.stdout, self.messages), daemon=True)
        self.reader.start()
        self.process.stdin.write(json.dumps(request).encode() + b"\n")
        self.process.stdin.flush()  # and stays open: its end tells the process that the runner is gone

    def ended(self) -> bool:
        """Reads what the process has reported; True once it has exited (or was given up)."""
        exited = self.process.poll() is not None
        if exited:
            self.reader.join(SILENT)  # it may not have read the last message yet
        while not self.messages.empty():
            message = json.loads(self.messages.get())
            self.failure = message.pop("failure", self.failure)
            self.cell, self.cells = message.get("cell", self.cell), message.get("cells", self.cells)
            self.heard = time.monotonic()
        if not exited and time.monotonic() - self.heard > self.patience:
            self.kill()
            self.failure = self._failed(f"gave no sign for {self.patience:.0f} seconds and was ended")
            return True
        return exited

    def kill(self) -> None:
        """Ends the process and everything it started; the kernel is in a session of its own, so no group signal."""
        with contextlib.suppress(psutil.NoSuchProcess):
            process = psutil.Process(self.process.pid)
            for member in [*process.children(recursive=True), process]:
                with contextlib.suppress(psutil.NoSuchProcess):
                    member.kill()
        self.process.wait()
        (self.folder / "metrics.json").unlink(missing_ok=True)

    def finish(self) -> Result:
        """Judges the run, writes its files and returns its Result."""
        seconds = time.monotonic() - self.began
        self.process.stdin.close()
        self.process.stdout.close()
        code, failure = self.process.returncode, self.failure
        if code != 0 and failure is None:
            how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
            failure = self._failed(f"the process ended with {how}")
        fits = None
        if failure is None:
            try:
                fits = read_metrics(self.folder / "metrics.json")["provenance"].get("fits")
            except (FileNotFoundError, ValueError) as error:
                failure = {"cell": self.cells, "source": "", "message": str(error), "traceback": ""}
        if failure is not None:
            # no other notebook may take the numbers of a failed run for results
            (self.folder / "metrics.json").unlink(missing_ok=True)
        if self.part.is_file():
            try:
                export_html(self.part, self.folder / "notebook.html", self.name)
                os.replace(self.part, self.folder / "notebook.ipynb")
            except ValueError as error:  # the process was killed while it wrote the notebook
                failure = failure or self._failed(str(error))
                self.part.unlink()
        result = Result(
            notebook=self.name,
            title=notebook.title(notebook.read(self.path), self.name),
            profile=self.profile,
            status="passed" if failure is None else "failed",
            seconds=round(seconds, 1),
            parameters=self.given,
            inputs=self.started_inputs,
            numbers_hash=self.started_made.numbers,
            outputs_hash=self.started_made.outputs,
            fits=fits,
            failure=failure,
        )
        write_text(self.folder / STATE, json.dumps(asdict(result), indent=1, ensure_ascii=False) + "\n")
        return result

    def _failed(self, message: str) -> dict:
        log = (self.folder / "log.txt").read_text(encoding="utf-8", errors="replace")
        return {"cell": self.cell, "source": "", "message": message, "traceback": log[-2000:]}


def _read(stream, messages: SimpleQueue) -> None:
    """Puts each whole line of a pipe into the queue, until the pipe ends; Windows knows no pipe that does not block."""
    for line in stream:
        if line.endswith(b"\n"):  # else the process was killed while it wrote
            messages.put(line)


def _environment(jobs: int) -> dict[str, str]:
    """Kernel of this interpreter whatever kernels the user has installed, and this checkout's lib."""
    env = dict(os.environ)
    kernels = os.path.join(sys.prefix, "share", "jupyter")
    env["JUPYTER_PATH"] = os.pathsep.join(filter(None, [kernels, env.get("JUPYTER_PATH")]))
    env["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), env.get("PYTHONPATH")]))
    env["PYDEVD_DISABLE_FILE_VALIDATION"] = "1"  # else the kernel's debugger prints a warning into every log
    if jobs > 1:
        env.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // jobs)))
    return env
