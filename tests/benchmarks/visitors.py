"""A class at the search page: visitors at once, half-open connections beside them, seconds of each kind of request.

    python -m tests.benchmarks.visitors [--visitors 200] [--requests 4000] [--half-open 1000] [--limit-ms 300]

The server runs in a process of its own, as `python -m lib search` starts it; the visitors are in this one. Each opens
the page, searches and fetches the pictures it is shown, and does not pause between two requests, which no person does.
The queries are drawn from as many as there are examples and concepts of a class, so some are new to the server and
others not. Prints numbers; the exit code is 1 for an error, or where the 95th percentile is above the limit.
"""

import argparse
import asyncio
import json
import random
import re
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import quote

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
THINGS = ("dog", "beach", "heart", "red", "tree", "car", "sad face", "fruit", "music", "winter", "flag", "tool")
QUERIES = [f"{a} + {b}" for a in THINGS for b in THINGS if a < b] + list(THINGS)


class Visitor:
    """One kept connection, and how long each answer took."""

    def __init__(self, port: int, times: dict[str, list[float]], errors: list[str]):
        self.port, self.times, self.errors = port, times, errors

    async def visit(self, count: int, seed: int) -> None:
        """Make `count` requests."""
        choose = random.Random(seed)
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            await self.get("page", "/")
            left = count - 1
            while left > 0:
                found = json.loads(await self.get("search", f"/search?q={quote(choose.choice(QUERIES))}&k=18"))
                left -= 1
                for hit in found["hits"][:left]:
                    await self.get("picture", f"/picture/{hit['row']}")
                    left -= 1
        except (OSError, asyncio.IncompleteReadError, ValueError, KeyError) as error:
            self.errors.append(f"{type(error).__name__}: {error}")
        finally:
            self.writer.close()

    async def get(self, kind: str, path: str) -> bytes:
        """The body of an answer; ValueError where its status is not 200."""
        started = time.perf_counter()
        self.writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        head = await self.reader.readuntil(b"\r\n\r\n")
        body = await self.reader.readexactly(int(re.search(rb"(?i)content-length: (\d+)", head)[1]))
        self.times[kind].append(time.perf_counter() - started)
        if not head.startswith(b"HTTP/1.1 200"):
            raise ValueError(f"{path}: {head.splitlines()[0].decode()}")
        return body


async def crowd(port: int, visitors: int, requests: int, half_open: int) -> tuple[dict[str, list[float]], list[str]]:
    """Seconds of each request by kind, and what went wrong."""
    silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(half_open)]
    for _, writer in silent:
        writer.write(b"GET / HTTP/1.1\r\nHost: loc")
    await asyncio.sleep(1)  # they were there before the class
    times: dict[str, list[float]] = {"page": [], "search": [], "picture": []}
    errors: list[str] = []
    each = -(-requests // visitors)
    await asyncio.gather(*(Visitor(port, times, errors).visit(each, seed) for seed in range(visitors)))
    for _, writer in silent:
        writer.close()
    return times, errors


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--visitors", type=int, default=200)
    parser.add_argument("--requests", type=int, default=4000, help="of all visitors together")
    parser.add_argument("--half-open", type=int, default=1000)
    parser.add_argument("--limit-ms", type=float, default=300)
    options = parser.parse_args()
    command = [sys.executable, "-m", "lib.search", "--no-browser", "--port", "0"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    worst, errors = 0.0, []
    try:
        said = iter(process.stdout.readline, "")
        port = int(next(re.search(r":(\d+) ", line)[1] for line in said if "the search page" in line))
        for half_open in (0, options.half_open):
            started = time.perf_counter()
            times, wrong = asyncio.run(crowd(port, options.visitors, options.requests, half_open))
            taken, count = time.perf_counter() - started, sum(map(len, times.values()))
            print(
                f"{options.visitors} visitors, {half_open:,} half-open connections: {count:,} requests in {taken:.1f} s"
            )
            for kind, seconds in times.items():
                middle, late, last = 1000 * np.percentile(seconds, (50, 95, 100))
                print(
                    f"  {kind:<8}{len(seconds):>6}  median {middle:6.0f} ms  p95 {late:6.0f} ms  longest {last:6.0f} ms"
                )
                worst = max(worst, late)
            print(f"  errors: {len(wrong)}{''.join(f'{chr(10)}    {one}' for one in wrong[:5])}", flush=True)
            errors += wrong
    finally:
        process.terminate()
        process.wait()
    return int(bool(errors) or worst > options.limit_ms)


if __name__ == "__main__":
    sys.exit(main())
