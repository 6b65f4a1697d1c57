"""Whatever is damaged, killed or full: the outcome is the right one, or an error that names what is wrong."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch

from lib.base import checkpoint
from lib.base.feature_store import FeatureStore
from lib.base.files import ROOT, write_text
from lib.report import rows as metrics
from lib.run.result import Result, changed_since, file_hashes, read_result, write_result
from lib.search import Engine, Index
from tests.search_engine import colour_engine, save_space

pytestmark = pytest.mark.slow
FLIPS, KILLS = 200, 8


def flips(path: Path, seed: int = 0):
    """Damage one bit of a file at a time; each time the file is whole again afterwards."""
    content = path.read_bytes()
    for place in np.random.default_rng(seed).integers(0, 8 * len(content), FLIPS):
        flipped = bytearray(content)
        flipped[place // 8] ^= 1 << (place % 8)
        path.write_bytes(flipped)
        yield int(place)
        path.write_bytes(content)


def test_bit_flips_in_a_checkpoint(tmp_path, survived):
    path = tmp_path / "model.pt"
    checkpoint.save(path, {"weights": torch.randn(50, 20), "epoch": 3})
    for _ in flips(path):
        with pytest.raises(checkpoint.Damaged, match=r"model\.pt"):
            checkpoint.load(path)
        survived("bit flip in a checkpoint", "named")


@pytest.mark.parametrize("name", ["vectors.faiss", "index.json"])
def test_bit_flips_in_an_index(tmp_path, survived, name):
    vectors = np.random.default_rng(0).standard_normal((40, 8))
    checksums = Index(vectors, [f"picture {i}" for i in range(40)]).save(tmp_path)
    for _ in flips(tmp_path / name):
        with pytest.raises(ValueError, match="damaged"):
            Index.load(tmp_path, checksums)
        survived(f"bit flip in {name} of an index", "named")


@pytest.mark.parametrize("name", ["space.pt", "vectors.faiss", "index.json"])
def test_bit_flips_in_the_cache_of_the_search_page(tmp_path, monkeypatch, survived, name):
    engine = colour_engine()
    monkeypatch.setenv("LIB_CACHE", str(tmp_path))
    monkeypatch.setattr("lib.search.engine._learn", lambda corpus, folder, device, say: save_space(engine, folder))
    Engine.of(engine.corpus, "cpu")
    (path,) = tmp_path.rglob(name)
    for _ in flips(path):
        said: list[str] = []
        found = Engine.of(engine.corpus, "cpu", say=said.append)
        assert "removed and made anew" in said[0]
        assert np.array_equal(found.index.vector("red"), engine.index.vector("red"))
        survived(f"bit flip in {name} of the search page", "made anew")


@pytest.mark.parametrize("name", ["run.json", "metrics.json", "notebook.ipynb"])
def test_bit_flips_in_a_run(tmp_path, survived, name):
    metrics.write_metrics(
        tmp_path / "metrics.json",
        [metrics.row("toy", "none", "test", "r1", [1])],
        notebook="01_toy",
        protocol="none",
        device="cpu",
    )
    write_text(tmp_path / "notebook.ipynb", json.dumps({"cells": [], "metadata": {}, "nbformat": 4}))
    facts = {"inputs": "", "numbers_hash": "", "outputs_hash": "", "files": file_hashes(tmp_path)}
    ended = Result("01_toy", "Toy", "toy", "passed", 1.0, {}, **facts)
    write_result(tmp_path, ended)
    for _ in flips(tmp_path / name):
        try:
            found = read_result(tmp_path)
            wrong = found is None or changed_since(tmp_path, found)
        except ValueError as error:
            wrong = str(error)
        # A flipped bit between two values (a line break, say) leaves the same facts, sealed by their checksum.
        assert wrong or (name == "run.json" and found == ended)
        survived(f"bit flip in {name} of a run", "run again" if wrong else "nothing changed")


SAVE = """
import sys, torch
from lib.base import checkpoint
number = 0
while True:
    number += 1
    checkpoint.save(sys.argv[1], {"number": number, "weights": torch.full((200_000,), number)})
    print(number, flush=True)
"""
EXTRACT = """
import sys, hashlib, numpy as np
from lib.base.feature_store import FeatureStore
FeatureStore.commit_every = 5
prints = [hashlib.sha256(str(i).encode()).hexdigest() for i in range(100_000)]
def compute(rows):
    for row in rows:
        print(row, flush=True)
        yield [row], np.full((1, 64), int(prints[row][:6], 16), np.float32)
FeatureStore(sys.argv[1]).get(prints, compute)
"""


@contextlib.contextmanager
def working(code: str, *arguments, lines: int = 1):
    """A process that has said some lines; it is killed at the end."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            for _ in range(lines):
                assert process.stdout is not None
                assert process.stdout.readline()
            yield process
        finally:
            process.send_signal(signal.SIGKILL)


def test_kills_while_a_checkpoint_is_written(tmp_path, survived):
    path = tmp_path / "model.pt"
    for kill in range(KILLS):
        with working(SAVE, path, lines=1 + kill):
            time.sleep(0.003 * kill)
        state = checkpoint.load(path)
        assert (state["weights"] == state["number"]).all()
        survived("kill while a checkpoint is written", "whole")


def test_kills_of_an_extraction(tmp_path, survived):
    import hashlib

    for kill in range(KILLS):
        with working(EXTRACT, tmp_path, lines=20 + 7 * kill):
            time.sleep(0.001 * kill)
        store = FeatureStore(tmp_path)
        prints = [hashlib.sha256(str(i).encode()).hexdigest() for i in range(len(store.keys))]
        kept = store.get(prints, lambda rows: pytest.fail("computed again")) if prints else np.zeros((0, 64))
        assert all((row == int(fingerprint[:6], 16)).all() for row, fingerprint in zip(kept, prints, strict=True))
        survived("kill of an extraction", "all that counts is whole")


class Slowly(BaseHTTPRequestHandler):
    """Gives a file a piece at a time, from where it is asked to."""

    content = bytes(range(256)) * 2048

    def do_GET(self):
        start = int((self.headers.get("Range") or "bytes=0-").removeprefix("bytes=").rstrip("-"))
        rest = self.content[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(rest)))
        self.send_header("ETag", '"1"')
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(self.content) - 1}/{len(self.content)}")
        self.end_headers()
        with contextlib.suppress(OSError):
            for piece in range(0, len(rest), 8192):
                self.wfile.write(rest[piece : piece + 8192])
                time.sleep(0.005)

    def log_message(self, *_):
        """Says nothing."""


DOWNLOAD = """
import sys
from pathlib import Path
from lib.data.obtain.download import download
from lib.data.obtain.registry import RemoteFile
print("ready", flush=True)
print(download(RemoteFile(name="a.bin", urls=(sys.argv[2],)), Path(sys.argv[1]), progress=False), flush=True)
"""


def test_kills_of_a_download(tmp_path, survived):
    with ThreadingHTTPServer(("127.0.0.1", 0), Slowly) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        target, url = tmp_path / "a.bin", f"http://127.0.0.1:{server.server_port}/a.bin"
        for kill in range(KILLS):
            with working(DOWNLOAD, target, url):
                time.sleep(0.1 + 0.03 * kill)
            assert not target.exists() or target.read_bytes() == Slowly.content
            survived("kill of a download", "whole or not there")
        with working(DOWNLOAD, target, url, lines=2):
            assert target.read_bytes() == Slowly.content
        server.shutdown()
        thread.join()


def test_two_at_once(tmp_path, survived):
    """Two that save the same checkpoint, two that extract the same features."""
    with working(SAVE, tmp_path / "model.pt", lines=3), working(SAVE, tmp_path / "model.pt", lines=3):
        for _ in range(20):
            state = checkpoint.load(tmp_path / "model.pt")
            assert (state["weights"] == state["number"]).all()
        survived("two that save one checkpoint", "whole")
    with working(EXTRACT, tmp_path / "store", lines=50) as first:
        other = subprocess.Popen(
            [sys.executable, "-c", EXTRACT, str(tmp_path / "store")], cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        assert "waiting for another process" in other.stdout.readline()
        first.kill()
        assert other.stdout.readline().strip().isdecimal()  # it goes on where the killed one ended
        other.kill()
        other.wait()
        survived("two that extract the same features", "one waits, then goes on")


@pytest.fixture
def small_disk(tmp_path):
    """A folder on a disk of 2 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "none", folder], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"a small disk cannot be mounted here: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def test_a_full_disk(small_disk, survived):
    path = small_disk / "model.pt"
    checkpoint.save(path, {"number": 1})
    with pytest.raises(OSError, match="No space left"):
        checkpoint.save(path, {"number": 2, "weights": torch.zeros(10**6)})
    assert checkpoint.load(path) == {"number": 1}
    assert [left.name for left in small_disk.iterdir()] == ["model.pt"]
    survived("full disk while a checkpoint is written", "the old one stays")
    with pytest.raises(OSError, match="No space left"):
        Index(np.random.default_rng(0).standard_normal((20_000, 32))).save(small_disk)
    survived("full disk while an index is written", "named")


def test_missing_and_read_only_folders(tmp_path, survived):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        write_text(tmp_path / "nowhere" / "a.txt", "x")
    survived("a folder that is missing", "named")
    if os.name == "nt" or os.geteuid() == 0:
        pytest.skip("whoever may do everything can write into a read-only folder")
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(PermissionError):
            write_text(tmp_path / "a.txt", "x")
    finally:
        tmp_path.chmod(0o700)
    survived("a folder that is read-only", "named")
