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
import uuid
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import psutil

from lib.base.files import ROOT, publish
from lib.report.provenance import commit, unclean
from lib.report.rows import RUN, read_metrics
from lib.run import notebook, stale, surroundings
from lib.run.page import export_html
from lib.run.result import FILES, STATE, Result, changed_since, file_hashes, read_result, write_result

SILENT = 60  # seconds beyond the cell time-out after which a process that reports nothing is given up


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
        self.notes: list[str] = []
        self.run = uuid.uuid4().hex

    def inputs(self, made: stale.Made) -> str:
        """Hash of all that decides the outcome.

        Code, parameters, versions of all packages, device, data, the runner; and other notebooks' numbers if it reads
        them.
        """
        parts: list[Any] = [made.outputs, surroundings.described(), surroundings.data_stamp(self.path, self.given)]
        if self.reads_others:
            others = sorted(path for path in self.out.glob("*/metrics.json") if path.parent != self.folder)
            parts += [[path.parent.name, json.loads(path.read_text(encoding="utf-8"))["rows"]] for path in others]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]

    def made(self) -> stale.Made:
        """What the notebook's outputs would be made by now."""
        return stale.made(self.path, self.given)

    def earlier(self) -> Result | None:
        """The Result of an earlier run that passed with the same inputs and whose files are all there."""
        try:
            result = read_result(self.folder)
        except ValueError:
            return None  # damaged; it is run again
        if result is None or not result.passed or result.inputs != self.inputs(self.made()):
            return None
        if changed_since(self.folder, result):
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
                env=_environment(jobs) | {RUN: self.run},
                # Ctrl-C reaches the runner only, which then ends the whole tree; the second one is for Windows
                start_new_session=True,
                creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
            )
        self.messages: SimpleQueue[bytes] = SimpleQueue()
        self.reader = threading.Thread(target=_read, args=(self.process.stdout, self.messages), daemon=True)
        self.reader.start()
        with contextlib.suppress(BrokenPipeError):  # of a process that has ended already: its log says why
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
            self.notes += [message.pop("note")] if "note" in message else []
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
        end_processes(self.run)
        (self.folder / "metrics.json").unlink(missing_ok=True)

    def finish(self) -> Result:
        """Judges the run, writes its files and returns its Result."""
        seconds = time.monotonic() - self.began
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        self.process.stdout.close()
        end_processes(self.run)
        code, failure = self.process.returncode, self.failure
        if code != 0 and failure is None:
            how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
            failure = self._failed(f"the process ended with {how}")
        fits = None
        if failure is None:
            try:
                metrics = read_metrics(self.folder / "metrics.json")
                if metrics.get("run") != self.run:
                    raise ValueError(f"{self.folder / 'metrics.json'} is of another run: {metrics.get('run')}")
                fits = metrics["provenance"].get("fits")
            except (OSError, ValueError) as error:
                failure = {"cell": self.cells, "source": "", "message": str(error), "traceback": ""}
        try:
            failure = self._keep_notebook() or failure
        except OSError as error:
            failure = failure or self._failed(f"the executed notebook could not be kept: {error}")
        return self._close(seconds, fits, failure)

    def _keep_notebook(self) -> dict | None:
        """Give the executed notebook its name and make its page; what is wrong with it, None if nothing is."""
        if not self.part.is_file():
            return None
        try:
            notebook.read(self.part)
        except ValueError as error:  # the process was killed while it wrote the notebook
            self.part.unlink()
            return self._failed(str(error))
        publish(self.part, self.folder / "notebook.ipynb")
        try:
            export_html(self.folder / "notebook.ipynb", self.folder / "notebook.html", self.name)
        except Exception as error:  # a by-product, which whatever goes wrong with it undoes no result
            reason = (str(error).strip().splitlines() or [""])[0][:200]
            self.notes.append(f"there is no page of it: {type(error).__name__}: {reason}")
        return None

    def refuse(self, reason: str) -> Result:
        """The Result of a run that could not begin."""
        self.began = time.monotonic()
        made = getattr(self, "started_made", None) or self.made()
        self.started_made, self.started_inputs = made, ""
        return self._close(0.0, None, {"cell": 0, "source": "", "message": reason, "traceback": ""})

    def _close(self, seconds: float, fits: dict | None, failure: dict | None) -> Result:
        """Write and return the Result; where it cannot be written, it has failed."""
        if failure is not None:
            # no other notebook may take the numbers of a failed run for results
            with contextlib.suppress(OSError):
                (self.folder / "metrics.json").unlink(missing_ok=True)
        try:
            result = self._result(seconds, fits, failure)
            write_result(self.folder, result)
        except OSError as error:
            failure = failure or self._failed(f"its result could not be written: {error}")
            result = self._result(seconds, fits, failure)
        return result

    def _result(self, seconds: float, fits: dict | None, failure: dict | None) -> Result:
        return Result(
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
            run=self.run,
            files=file_hashes(self.folder) if failure is None else {},
            notes=self.notes,
        )

    def _failed(self, message: str) -> dict:
        path = self.folder / "log.txt"
        log = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
        return {"cell": self.cell, "source": "", "message": message, "traceback": log[-2000:]}


def end_processes(run: str) -> None:
    """End what a run has started and left behind, also in sessions of its own: all that have its id to name."""
    for _ in range(5):  # what is being started while they are ended is found the next time
        found = [process for process in psutil.process_iter() if _belongs(process, run)]
        if not found:
            return
        for process in found:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(found, timeout=2)


def _belongs(process: psutil.Process, run: str) -> bool:
    try:
        return process.pid != os.getpid() and process.environ().get(RUN) == run
    except (psutil.Error, OSError):  # of another user, or gone
        return False


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
