"""Kill a run of the notebooks again and again, start it again, and compare its numbers with those of an unbroken run.

    python -m tests.benchmarks.kills                                    # all notebooks, profile smoke, 50 kills
    python -m tests.benchmarks.kills --profile openmoji --only 07 --kills 10

Both runs begin without any fit; the features of pictures are made first and shared. Every process of the run gets
`kill -9` at a random moment, then the same command is given again. Exit code 0: the same rows to the last bit, but for
those that measure time or memory, and at no kill more training lost than the larger of 60 seconds and 2 % of the whole
run.
"""

import argparse
import contextlib
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from lib.base.files import ROOT, cache_dir

MEASURED = ("memory", "second", "time")  # in the names of metrics that differ from run to run


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--profile", default="smoke", help="default: smoke")
    parser.add_argument("--only", nargs="+", metavar="NN", help="numbers of notebooks (default: all)")
    parser.add_argument("--kills", type=int, default=50, metavar="N", help="default: 50")
    parser.add_argument("--jobs", type=int, default=2, metavar="N", help="notebooks at the same time (default: 2)")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="of the moments (default: 0)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        return compare(options, Path(folder))


def compare(options: argparse.Namespace, folder: Path) -> int:
    """Run both and print what was found; the exit code."""
    command = [sys.executable, "-m", "lib.run", "--profile", options.profile, "--jobs", str(options.jobs), "--resume"]
    command += ["--only", *options.only] if options.only else []
    caches = {name: folder / f"cache-{name}" for name in ("whole", "killed")}
    for cache in caches.values():
        shutil.copytree(cache_dir(), cache, ignore=shutil.ignore_patterns("fits"))
    began = time.monotonic()
    if _start([*command, "--out", str(folder / "whole")], caches["whole"], folder / "whole.log").wait():
        print((folder / "whole.log").read_text(encoding="utf-8")[-3000:])
        return 1
    whole = time.monotonic() - began
    print(f"unbroken run: {whole:.0f} s", flush=True)
    again = [*command, "--out", str(folder / "killed")]
    lost, code = _broken(again, caches["killed"], folder / "killed.log", options, whole)
    allowed = max(60.0, 0.02 * whole)
    most = max(lost, default=0.0)
    print(
        f"{len(lost)} kills, {sum(lost):.0f} s of training lost, at one {most:.1f} s at most (allowed: {allowed:.0f})"
    )
    different, compared, left_out = _differences(folder / "whole", folder / "killed")
    print(f"{compared:,} rows compared, {left_out:,} measure time or memory, {len(different):,} differ")
    print("\n".join(different[:20]))
    return int(bool(code or different or most > allowed or len(lost) < options.kills))


def _broken(command: list[str], cache: Path, log: Path, options, whole: float) -> tuple[list[float], int]:
    """Run to the end in spite of the kills: seconds of training that each kill cost, and the last exit code."""
    moments, lost = random.Random(options.seed), []
    longest = min(whole, 120.0)  # a start takes a quarter of a minute: most kills have to come later
    while True:
        process, began = _start(command, cache, log), time.time()
        wait = moments.uniform(0, longest) if len(lost) < options.kills else None
        with contextlib.suppress(subprocess.TimeoutExpired):
            if process.wait(wait) == 0 and len(lost) >= options.kills:
                return lost, 0
            if process.returncode:
                print(log.read_text(encoding="utf-8")[-3000:])
                return lost, process.returncode
            shutil.rmtree(log.with_suffix(""))  # done before all kills were: once more from the beginning
            shutil.rmtree(cache / "fits", ignore_errors=True)
            continue
        now = time.time()
        _kill(process)
        lost.append(max((now - _safe(path) for path in _in_flight(cache, began)), default=0.0))
        print(f"kill {len(lost)} after {now - began:.1f} s: {lost[-1]:.1f} s of training lost", flush=True)


def _start(command: list[str], cache: Path, log: Path) -> subprocess.Popen:
    environment = {**os.environ, "LIB_CACHE": str(cache), "LIB_FITS": "on"}
    with log.open("a", encoding="utf-8") as out:
        return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=out, stderr=subprocess.STDOUT)


def _kill(process: subprocess.Popen) -> None:
    members = [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]
    for member in members:
        with contextlib.suppress(psutil.NoSuchProcess):
            member.kill()
    process.wait()
    psutil.wait_procs(members)


def _in_flight(cache: Path, since: float) -> list[Path]:
    """The locks of fits that were under way: whoever finishes removes its lock."""
    return [path for path in (cache / "fits").glob("*/*.lock") if path.stat().st_mtime >= since]


def _safe(lock: Path) -> float:
    """When the fit of a lock was begun, or last written."""
    part = lock.with_suffix(".part")
    return max(lock.stat().st_mtime, part.stat().st_mtime if part.exists() else 0.0)


def _differences(whole: Path, killed: Path) -> tuple[list[str], int, int]:
    different, compared, left_out = [], 0, 0
    for path in sorted(whole.glob("*/metrics.json")):
        other = killed / path.parent.name / path.name
        if not other.is_file():
            different.append(f"{path.parent.name}: no metrics.json")
            continue
        left, right = (json.loads(p.read_text(encoding="utf-8"))["rows"] for p in (path, other))
        if len(left) != len(right):
            different.append(f"{path.parent.name}: {len(left)} rows and {len(right)}")
        for a, b in zip(left, right, strict=False):
            name = f"{path.parent.name}: {a['method']}, {a['setting']}, {a['metric']}"
            if any(word in a["metric"] for word in MEASURED):
                left_out += 1
                continue
            compared += 1
            if a != b:
                different.append(f"{name}: {a['values']} and {b['values']}")
    return different, compared, left_out


if __name__ == "__main__":
    sys.exit(main())
