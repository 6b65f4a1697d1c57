"""All benchmarks, one after the other, each in a process of its own; or some, by name.

    python -m tests.benchmarks [losses training evaluation ...]

First the physical floor of this machine: the rate of the matrix product and of memory on one thread; the decoder's
rate is in the table of `loading`. Every file of this folder that can be run is a benchmark; `gpu` runs where there is
a GPU. No judgement is passed.
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path

import torch

FOLDER = Path(__file__).parent
NAMES = sorted(path.stem for path in FOLDER.glob("*.py") if "__main__" in path.read_text() and path.stem[0] != "_")


def floor() -> None:
    """Print the rates that bound everything else."""
    torch.set_num_threads(1)
    print(f"floor: one thread, {torch.backends.cpu.get_cpu_capability()}")
    for dtype in (torch.float32, torch.bfloat16):
        a, b = (torch.randn(2_048, 1_024).to(dtype) for _ in range(2))
        print(f"  matrix product, {dtype}: {2 * 2_048**2 * 1_024 / best(lambda a=a, b=b: a @ b.T) / 1e9:.0f} GFLOP/s")
    source, target = torch.randn(2**26), torch.empty(2**26)
    print(f"  memory, read and write: {2 * 2**28 / best(lambda: target.copy_(source)) / 1e9:.1f} GB/s", flush=True)


def best(work) -> float:
    """Processor seconds of the fastest of five rounds, after one to warm up."""
    taken = []
    for _ in range(6):
        start = time.thread_time()
        work()
        taken.append(time.thread_time() - start)
    return min(taken[1:])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", choices=[*NAMES, []], default=[], help="which; all without a name")
    chosen = parser.parse_args().names or [name for name in NAMES if name != "gpu" or torch.cuda.is_available()]
    floor()
    failed = []
    for name in chosen:
        print(f"\n=== {name}", flush=True)
        if subprocess.run([sys.executable, "-m", f"tests.benchmarks.{name}"], cwd=FOLDER.parents[1]).returncode:
            failed.append(name)
    if failed:
        print(f"\nfailed: {', '.join(failed)}")
    return len(failed)


if __name__ == "__main__":
    sys.exit(main())
