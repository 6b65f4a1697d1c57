"""Independent pieces of work on several processes or machines, through Ray Data.

On one machine nothing has to be set up. For several: `ray start --head` on the first, `ray start --address=...` on the
others, all seeing the same folders, and RAY_ADDRESS=auto for the command. Ray is the extra `scale` of this package.
"""

import json
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

RETRIES = 3  # of a piece whose worker dies; an exception in the work is raised at once


def on_workers(
    work: Callable[[Any], Any], pieces: Sequence, workers: int = 2, cpus: float = 1, gpus: float = 0
) -> Iterator[Any]:
    """Yield `work(piece)` of every piece, as they are finished, `workers` of them at a time.

    The piece of a worker that dies is done again, so `work` must bear to be repeated: skip what is there already, write
    under a temporary name and rename. Pieces and results are what JSON can hold.

    Args:
        work: a function that workers can import, or one that Ray can send.
        pieces: one argument for each call.
        workers: calls at the same time.
        cpus, gpus: that one call occupies.

    Raises:
        RuntimeError: Ray is not installed, or a worker died again and again at the same piece.
        Exception: what `work` raises; pieces that were finished by then stay finished.
    """
    ray = start(max(1, round(workers * cpus)))

    def do(row: dict) -> dict:
        return {"result": json.dumps(work(json.loads(row["piece"])))}

    rows = ray.data.from_items([{"piece": json.dumps(piece)} for piece in pieces], override_num_blocks=len(pieces))
    done = rows.map(do, concurrency=workers, num_cpus=cpus, num_gpus=gpus, max_retries=RETRIES)
    for row in done.iter_rows():
        yield json.loads(row["result"])


def start(cpus: int):
    """Return Ray, connected to the cluster at RAY_ADDRESS, or to one of `cpus` cores that ends with this process."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # read when Ray is imported: it would tell its makers
    os.environ.setdefault("RAY_agent_register_timeout_ms", "300000")  # a busy machine needs more than its 30 seconds
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise RuntimeError(f"this needs Ray ({error}): pip install 'ray[data]', or the extra `scale`") from error
    if not ray.is_initialized():
        local = {} if "RAY_ADDRESS" in os.environ else {"num_cpus": cpus, "include_dashboard": False}
        ray.init(log_to_driver=False, logging_level="error", **local)
    ray.data.DataContext.get_current().enable_progress_bars = False
    return ray
