"""Executes one notebook by papermill, in a process of its own that lib.run starts and speaks to in JSON lines.

Reads one request from standard input, writes {"cell": k, "cells": n} before each code cell and at the end of a failed
run {"failure": {...}} to standard output, and exits with 0 only if every code cell ran. Everything else goes to
standard error. When standard input closes the runner is gone: then the kernel is killed and the process ends.
"""

import contextlib
import json
import logging
import os
import re
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import papermill
import psutil
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from papermill.clientwrap import PapermillNotebookClient
from papermill.engines import Engine, papermill_engines
from papermill.exceptions import PapermillExecutionError

from lib.run.notebook import code_cells, is_code, read

LARGEST = 20_000_000  # characters of outputs that are kept of a notebook
CUT = f"outputs beyond {LARGEST / 1e6:.0f} MB were cut"
SHOWING = ("stream", "display_data", "execute_result", "update_display_data")
COLOURS = re.compile(r"\x1b\[[0-9;]*m")


class _Client(PapermillNotebookClient):
    """Keeps outputs up to a limit: what prints without an end would fill memory and the notebook instead of the run."""

    cut: Callable[..., None]
    size = 0

    def process_message(self, msg, cell, cell_index):
        if msg["msg_type"] in SHOWING:
            content, before = msg["content"], self.size
            shown = content.get("text") or "".join(map(str, content.get("data", {}).values()))
            self.size += len(shown)
            if before > LARGEST:
                return None
            if self.size > LARGEST:
                self.cut()
                kept = content.get("text", "")[: LARGEST - before]  # one message may hold many prints
                msg = {**msg, "msg_type": "stream", "header": {**msg["header"], "msg_type": "stream"}}
                msg["content"] = {"name": content.get("name", "stdout"), "text": f"{kept}\n[{CUT}]\n"}
        return super().process_message(msg, cell, cell_index)


class _Engine(Engine):
    """Papermill's own engine, with this client."""

    @classmethod
    def execute_managed_notebook(cls, nb_man, kernel_name, execution_timeout=None, on_cell_start=None, **_):
        client = _Client(
            nb_man,
            kernel_name=kernel_name,
            timeout=execution_timeout,
            startup_timeout=60,
            iopub_timeout=30,
            on_cell_start=on_cell_start,
            log=logging.getLogger("papermill"),
            log_output=True,
        )
        return client.execute()


def main() -> int:
    """Executes the notebook of the request; 0 if every code cell ran without an error, else 1."""
    # the kernel and all it starts inherit descriptor 1: what they print must not mix with the messages
    messages = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def say(message: dict) -> None:
        print(json.dumps(message), file=messages, flush=True)

    request = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_the_runner, daemon=True).start()
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    _Client.cut = staticmethod(lambda: say({"note": f"{CUT} (code cell {running['cell']})"}))
    papermill_engines.register("limited", _Engine)
    total = len(code_cells(read(request["notebook"])))
    running: dict[str, Any] = {
        "cell": 0,
        "source": "",
        "since": time.monotonic(),
    }  # the author's code cell that was started last

    def cell_starts(cell, cell_index):  # called for every cell in order, also for Markdown
        if is_code(cell):
            running.update(cell=running["cell"] + 1, source=cell.source, since=time.monotonic())
            say({"cell": running["cell"], "cells": total})

    try:
        nb = papermill.execute_notebook(
            request["notebook"],
            request["output"],
            parameters=request["parameters"],
            kernel_name="python3",
            engine_name="limited",
            cwd=request["cwd"],
            execution_timeout=request["cell_timeout"],
            progress_bar=False,
            log_output=True,
            on_cell_start=cell_starts,
        )
        failure = _unfinished(nb)
    except PapermillExecutionError as error:
        text = COLOURS.sub("", "\n".join(error.traceback))
        failure = {"message": f"{error.ename}: {error.evalue}", "traceback": text}
    except CellTimeoutError:
        taken = time.monotonic() - running["since"]
        if taken >= request["cell_timeout"]:
            failure = {"message": f"timed out: the cell ran for more than {request['cell_timeout']} seconds"}
        else:
            failure = {"message": f"the cell ended after {taken:.0f} seconds, its outputs did not come to their end"}
    except DeadKernelError:
        failure = {"message": "the kernel died (killed, out of memory, or a crash in compiled code)"}
    if failure is None:
        return 0
    place = {"cell": running["cell"], "source": running["source"]}
    say({"failure": {**place, "traceback": "", **failure}})
    return 1


def _unfinished(nb) -> dict | None:
    """What is wrong although papermill reports success: it does so after sys.exit(0), leaving out all later cells."""
    for number, cell in enumerate(code_cells(nb), start=1):
        place = {"cell": number, "source": cell.source}
        for output in cell.outputs:
            if output.output_type == "error":
                text = COLOURS.sub("", "\n".join(output.traceback))
                ended = f"{output.ename}: {output.evalue}; the cells after it did not run"
                return {**place, "message": ended, "traceback": text}
        if cell.source.strip() and cell.execution_count is None:
            return {**place, "message": "this cell did not run"}
    return None


def _end_with_the_runner() -> None:
    sys.stdin.read()
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main())
