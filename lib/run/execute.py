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
from typing import Any

import papermill
import psutil
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from papermill.exceptions import PapermillExecutionError

from lib.run.notebook import code_cells, is_code, read

COLOURS = re.compile(r"\x1b\[[0-9;]*m")


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
    total = len(code_cells(read(request["notebook"])))
    running: dict[str, Any] = {"cell": 0, "source": ""}  # the author's code cell that was started last

    def cell_starts(cell, cell_index):  # called for every cell in order, also for Markdown
        if is_code(cell):
            running.update(cell=running["cell"] + 1, source=cell.source)
            say({"cell": running["cell"], "cells": total})

    try:
        nb = papermill.execute_notebook(
            request["notebook"],
            request["output"],
            parameters=request["parameters"],
            kernel_name="python3",
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
        failure = {"message": f"timed out: the cell ran for more than {request['cell_timeout']} seconds"}
    except DeadKernelError:
        failure = {"message": "the kernel died (killed, out of memory, or a crash in compiled code)"}
    if failure is None:
        return 0
    say({"failure": {**running, "traceback": "", **failure}})
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
