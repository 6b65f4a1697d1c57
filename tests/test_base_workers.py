"""Work on two local Ray workers: what the serial run gives, also when a worker is killed in the middle."""

import json
import os
import signal
import tarfile
from pathlib import Path

import numpy as np
import pytest

from lib.base import workers
from lib.base.feature_store import FeatureStore
from lib.data import load
from lib.report import rows as metrics
from lib.run import ProfileError, run_notebooks, sweep
from lib.vision import extract_features
from lib.vision import extract_shards as vision_shards
from tests.test_data_webdataset import sample, tar
from tests.test_run import WRITE, write_profile, write_toy

pytestmark = pytest.mark.slow
FOLDER = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module", autouse=True)
def cluster(tmp_path_factory):
    """One cluster for all tests: it takes ten seconds to start."""
    ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'ray[data]', or the extra `scale`")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(FOLDER))  # workers must find lib and tests, and share a feature cache
        patch.setenv("LIB_CACHE", os.environ.get("LIB_CACHE", str(FOLDER / "data" / "cache")))
        workers.start(2)
        yield
        ray.shutdown()


@pytest.fixture
def folder(tmp_path):
    """Three shards of four pictures."""
    for shard in range(3):
        files = [f for i in range(4) for f in sample(f"{shard:05d}{i:04d}", 4 * shard + i, f"picture {i}")]
        tar(tmp_path / "shards" / f"{shard:05d}.tar", files)
    return tmp_path / "shards"


def test_a_killed_worker_loses_nothing(tmp_path):
    def work(number):
        if number == 3 and not (tmp_path / "killed").exists():
            (tmp_path / "killed").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        with (tmp_path / f"{number}").open("a") as file:
            file.write("x")
        return [number, number**2]

    assert sorted(workers.on_workers(work, list(range(6)))) == [[n, n**2] for n in range(6)]
    assert (tmp_path / "killed").exists()
    assert all((tmp_path / f"{n}").exists() for n in range(6))


def test_an_error_in_the_work_is_raised():
    def work(number):
        raise ValueError(f"piece {number} is bad")

    with pytest.raises(Exception, match="piece 7 is bad"):
        list(workers.on_workers(work, [7]))


def test_features_of_shards_are_those_of_the_serial_run_although_a_worker_dies(folder, tmp_path, monkeypatch):
    images = load("webdataset", folder).images
    serial = extract_features(images, cache=False, progress=False)
    killed, store = tmp_path / "killed", tmp_path / "store"
    encode = vision_shards.encode_shard

    def encode_or_die(piece):
        if piece[0].endswith("00001.tar") and not killed.exists():
            killed.touch()
            Path(piece[1]).with_suffix(".part").write_bytes(b"half a file")  # as an interrupted writer leaves it
            os.kill(os.getpid(), signal.SIGKILL)
        return encode(piece)

    store.mkdir()
    monkeypatch.setattr(vision_shards, "encode_shard", encode_or_die)
    monkeypatch.setattr(vision_shards, "feature_folder", lambda *_: (store, "cpu"))
    features = vision_shards.extract_shards(folder, device="cpu")
    assert killed.exists()
    np.testing.assert_array_equal(features, serial)
    assert not list((store / "parts").glob("*.npz"))  # all rows are in the cache
    monkeypatch.setattr(vision_shards, "encode_shard", None)
    np.testing.assert_array_equal(vision_shards.extract_shards(folder, device="cpu"), serial)  # without any work


def test_a_damaged_picture_is_named_when_all_others_are_done(folder, tmp_path, monkeypatch):
    images = load("webdataset", folder).images
    content = bytearray((folder / "00000.tar").read_bytes())
    start = images.members[1].offset
    content[start : start + 60] = bytes(60)
    (folder / "00000.tar").write_bytes(bytes(content))
    monkeypatch.setattr(vision_shards, "feature_folder", lambda *_: (tmp_path / "store", "cpu"))
    monkeypatch.setattr(vision_shards, "on_workers", lambda encode, pieces, *_: map(encode, pieces))
    with pytest.raises(OSError, match=r"1 of \d+ images are damaged .*\n  image 1: .* in .*00000\.tar"):
        vision_shards.extract_shards(folder, device="cpu", progress=False)
    assert len(FeatureStore(tmp_path / "store").row_of) == len(images) - 1


def test_what_an_interrupted_run_has_finished_is_not_done_again(folder, tmp_path):
    piece = [str(folder / "00000.tar"), str(tmp_path / "part.npz"), "efficientnet_lite0", "global", "cpu"]
    Path(piece[1]).write_bytes(b"")
    assert vision_shards.encode_shard(piece) == ["00000.tar", 4]
    assert Path(piece[1]).read_bytes() == b""


def test_a_changed_shard_is_another_one(folder):
    shard = folder / "00000.tar"
    before = vision_shards._identity(shard)
    with tarfile.open(shard, "a") as archive:
        archive.addfile(tarfile.TarInfo("more.txt"))
    assert vision_shards._identity(shard) != before


@pytest.mark.notebooks
def test_a_sweep_gives_the_numbers_of_the_serial_run(tmp_path):
    cell = WRITE.replace("[epochs, epochs + 2]", "[epochs + 10 * seed for seed in seeds]")
    write_toy(tmp_path, "01_toy", [cell], "seeds = [0, 1]  # of the runs\nepochs = 3  # passes")
    write_toy(tmp_path, "02_reads_others", ["print(runs_dir)", WRITE], "epochs = 3  # passes")
    write_profile(tmp_path, "all: {epochs: 5}")
    (serial,) = run_notebooks("toy", ["01"], out=tmp_path / "serial", notebooks=tmp_path)
    assert serial.passed
    options = {"out": tmp_path / "sweep", "notebooks": tmp_path}
    assert sorted(sweep.sweep(["toy"], [0, 1], **options)) == [["toy", "01_toy", 0, True], ["toy", "01_toy", 1, True]]
    together = metrics.read_metrics(tmp_path / "sweep" / "toy" / "01_toy" / "metrics.json")
    assert together["rows"] == metrics.read_metrics(tmp_path / "serial" / "01_toy" / "metrics.json")["rows"]
    assert together["rows"][0]["values"] == [5, 15]


def test_rows_of_several_seeds_stand_side_by_side():
    runs = [
        {"rows": [metrics.row("a", "toy", "test", "r1", [value]), *more], "provenance": {"seconds": value}}
        for value, more in ((1.0, []), (3.0, [metrics.row("b", "toy", "test", "r1", [4.0])]))
    ]
    content = json.loads(json.dumps(sweep.together(runs)))
    assert [(row["method"], row["values"]) for row in content["rows"]] == [("a", [1.0, 3.0]), ("b", [4.0])]
    assert content["provenance"]["seconds"] == 4


def test_a_sweep_that_does_not_fit_is_refused(tmp_path):
    write_toy(tmp_path, "01_toy", [WRITE])
    with pytest.raises(ProfileError, match="no parameter 'seeds'"):
        sweep.sweep(["toy"], [0], notebooks=tmp_path)
    with pytest.raises(ProfileError, match="--only 07"):
        sweep.sweep(["toy"], [0], only=["07"], notebooks=tmp_path)
