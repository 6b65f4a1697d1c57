"""Settings shared by all tests: few threads, reproducible property tests."""

import itertools
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("LIB_FITS", "off")  # what a test trains, it trains; tests of the store switch it on

import pytest
import torch
from hypothesis import settings

from lib.base import fit_store
from lib.base.device import autocast

torch.set_num_threads(1)
settings.register_profile("default", deadline=None, max_examples=50, derandomize=True)
settings.load_profile("default")


def pytest_collection_modifyitems(items):
    if not torch.cuda.is_available():
        for item in items:
            if "gpu" in item.keywords:
                item.add_marker(pytest.mark.skip(reason="needs an NVIDIA GPU; torch.cuda.is_available() is False"))


class Interrupted(Exception):
    """What `stop_at` raises."""


@pytest.fixture
def store(tmp_path, monkeypatch):
    """A store of its own, whose progress is written after every step."""
    monkeypatch.setenv("LIB_CACHE", str(tmp_path))
    monkeypatch.setenv("LIB_FITS", "on")
    monkeypatch.setattr(fit_store, "PAUSE", 0.0)
    monkeypatch.setattr(fit_store, "PART", 0)
    return tmp_path / "fits"


@pytest.fixture
def stop_at(monkeypatch):
    """A function that lets the process die, as it were, in the n-th training step from now; 0: never."""

    def at(n: int) -> None:
        steps = itertools.count(1)

        def dying(device, wanted):
            if next(steps) == n:
                raise Interrupted
            return autocast(device, wanted)

        monkeypatch.setattr("lib.training.loop.autocast", dying)

    return at
