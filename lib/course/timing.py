"""How long a line of a notebook takes."""

import time
from collections.abc import Callable


def seconds(action: Callable[[], object], repeats: int = 3, clock: Callable[[], float] = time.perf_counter) -> float:
    """The shortest of some runs: what disturbs a measurement only ever makes it slower.

    With `time.process_time` as the clock it is the time of all cores together, in which other programs do not count.
    """
    times = []
    for _ in range(repeats):
        begin = clock()
        action()
        times.append(clock() - begin)
    return min(times)
