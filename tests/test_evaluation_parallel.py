"""Tiles on several threads: the same results, errors that surface, and settings given back."""

import threading
import time

import numpy as np
import pytest
import torch

from lib.evaluation import evaluate, mean_average_precision
from lib.evaluation.parallel import Buffer, for_each

CPU = torch.device("cpu")


@pytest.fixture
def three_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("three_threads")
def test_every_tile_is_worked_on_once_and_alone():
    seen, threads = [], set()

    def work(tile):
        seen.append((tile, torch.get_num_threads()))
        threads.add(threading.get_ident())
        time.sleep(0.01)

    for_each(iter(range(20)), work, CPU)
    assert sorted(seen) == [(tile, 1) for tile in range(20)]
    assert len(threads) == 3
    assert torch.get_num_threads() == 3
    inherited = []
    thread = threading.Thread(target=lambda: inherited.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    assert inherited == [3], "threads that start later are not slowed down"


@pytest.mark.usefixtures("three_threads")
def test_an_error_ends_the_work_and_is_raised():
    done = []

    def work(tile):
        if tile == 5:
            raise RuntimeError("tile 5")
        time.sleep(0.001)
        done.append(tile)

    with pytest.raises(RuntimeError, match="tile 5"):
        for_each(range(100_000), work, CPU)
    assert len(done) < 10_000
    assert torch.get_num_threads() == 3


@pytest.mark.usefixtures("three_threads")
def test_results_do_not_depend_on_the_number_of_threads():
    generator = torch.Generator().manual_seed(0)
    owner = torch.randint(0, 300, (900,), generator=generator)
    x, y = (torch.randint(-2, 3, (n, 12), generator=generator).float() for n in (300, 900))  # exact, many ties
    labels = torch.rand(1200, 5, generator=generator) < 0.3
    inputs = (x, y, labels[:300], labels[300:])
    results = []
    for threads in (1, 3):
        torch.set_num_threads(threads)
        scores = evaluate(x, y, owner, cosine=False, tile=3_000)
        results.append((scores.as_dict(), mean_average_precision(*inputs, cosine=False, tile=9_000).per_query))
    assert results[0][0] == results[1][0]
    np.testing.assert_allclose(results[0][1], results[1][1], rtol=1e-6)


def test_a_buffer_is_reused_by_its_thread_and_by_no_other():
    buffer = Buffer(CPU)
    large, small = buffer.matrix(10, 100).data_ptr(), buffer.matrix(3, 33)
    assert small.data_ptr() == large
    assert small.shape == (3, 33)
    assert small.stride() == (48, 1)
    others = []
    thread = threading.Thread(target=lambda: others.append(buffer.matrix(3, 33)))
    thread.start()
    thread.join()
    assert others[0].data_ptr() != large
