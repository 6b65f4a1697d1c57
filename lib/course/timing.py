"""How long a line of a notebook takes."""

import time
from collections.abc import Callable

import torch


def seconds(action: Callable[[], object], repeats: int = 3, device: torch.device | None = None) -> float:
    """The shortest of some runs: what disturbs a measurement only ever makes it slower.

    Args:
        action: what is timed.
        repeats: how often.
        device: None for the clock on the wall. A CPU: the time of its cores together, so that other programs of a busy
            machine do not count. A GPU: the clock on the wall, once it has finished what `action` asked of it.
    """
    clock = time.process_time if device is not None and device.type == "cpu" else time.perf_counter
    times = []
    for _ in range(repeats):
        begin = clock()
        action()
        if device is not None and device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(clock() - begin)
    return min(times)
