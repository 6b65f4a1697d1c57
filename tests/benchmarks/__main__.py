"""All benchmarks, one after the other, each in a process of its own; or some, by name.

    python -m tests.benchmarks [--quick] [losses training evaluation ...]

First the physical floor of this machine on one thread: the rates of the matrix product, of memory and of the decoder
of pictures. Each benchmark measures the one that bounds it again and says how far its rows are from it. Every file of
this folder that can be run is a benchmark; `gpu` runs where there is a GPU. `--quick` takes smaller sizes, about ten
minutes of one core in all. No judgement is passed.
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path

import torch

from tests.benchmarks import floor

FOLDER = Path(__file__).parent
NAMES = sorted(path.stem for path in FOLDER.glob("*.py") if "__main__" in path.read_text() and path.stem[0] != "_")
QUICK = {
    "evaluation": "--quick --rounds 2 --threads 1",
    "features": "--pictures 32 --rounds 2 --threads 1",
    "kills": "--only 00 --kills 2",
    "hashing": "--items 200000 --rounds 2",
    "loading": "--rounds 3",
    "losses": "--rounds 3",
    "search": "--vectors 100000 --queries 200",
    "text": "--words 500000 --rounds 2",
    "training": "--steps 6",
    "visitors": "--visitors 50 --requests 1000 --half-open 100",
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", choices=[*NAMES, []], default=[], help="which; all without a name")
    parser.add_argument("--quick", action="store_true", help="smaller sizes, one thread")
    options = parser.parse_args()
    chosen = options.names or [name for name in NAMES if name != "gpu" or torch.cuda.is_available()]
    torch.set_num_threads(1)
    print(f"floor: one thread, {torch.backends.cpu.get_cpu_capability()}")
    for dtype in (torch.float32, torch.bfloat16):
        print(f"  matrix product, {dtype}: {floor.product_rate(dtype) / 1e9:.0f} GFLOP/s")
    print(f"  memory, read and write: {floor.memory_rate() / 1e9:.1f} GB/s")
    print(f"  decoder: {floor.decoder_rate():.0f} JPEG pictures of 500 x 375 a second", flush=True)
    failed = []
    for name in chosen:
        arguments = QUICK.get(name, "").split() if options.quick else []
        print(f"\n=== {' '.join([name, *arguments])}", flush=True)
        started = time.time()
        command = [sys.executable, "-m", f"tests.benchmarks.{name}", *arguments]
        if subprocess.run(command, cwd=FOLDER.parents[1]).returncode:
            failed.append(name)
        print(f"({time.time() - started:.0f} s)", flush=True)
    if failed:
        print(f"\nfailed: {', '.join(failed)}")
    return len(failed)


if __name__ == "__main__":
    sys.exit(main())
