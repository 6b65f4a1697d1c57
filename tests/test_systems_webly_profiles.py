"""Notebooks 06 and 07 with the profiles flickr30k and coco, on small corpora in the published formats."""

import io
import json

import numpy as np
import pytest
from PIL import Image

from lib.base.files import ROOT
from lib.data import cache_dir
from lib.report.rows import read_metrics
from lib.run import notebook, run_notebooks
from lib.run.profile import load_profile
from lib.systems.webly.objective import WeblyChoices
from lib.training import TrainConfig
from tests.picture_files import write
from tests.test_data_coco import CATEGORIES, filename
from tests.test_systems_webly_web_pictures import UNTAGGED, mirflickr_files

PROFILES = ("flickr30k", "coco")
TINY = {
    "passes": 8,
    "web_passes": 8,
    "seeds": [0],
    "shares": [0.25, 1.0],
    "protocol": "full",
}  # coco-1k: 5,000 pictures
COUNTS = {"train": 48, "val": 10, "test": 10}
THINGS = {"rose": (210, 30, 50), "lemon": (240, 230, 60), "grass": (50, 160, 60), "ocean": (20, 70, 200),
          "snow": (240, 245, 250), "coal": (25, 25, 25), "carrot": (240, 130, 30), "plum": (120, 40, 130)}  # fmt: skip
WORDS = (  # one a web picture, so that no two have the same tags
    "apple bridge candle desert engine feather garden hammer island jacket kitchen ladder mirror needle orange pencil "
    "quarter ribbon saddle ticket umbrella valley window yellow anchor basket camera dragon eagle forest guitar helmet "
    "insect jungle kettle lantern market noodle onion palace"
)
WAYS = ["a {} beside a {}", "the {} is near the {}", "one {} and one {}", "some {} with a {}", "a {} next to the {}"]


def scene(number: int, seed: int) -> tuple[tuple[str, str], bytes]:
    """Two things, and a picture of them: two colours with patches that no other picture has."""
    rng = np.random.default_rng([number, seed])
    things = tuple(rng.choice(list(THINGS), 2, replace=False))
    halves = np.repeat(np.array([THINGS[thing] for thing in things])[None], 8, axis=0).repeat(4, axis=1)
    patches = np.clip(halves + rng.normal(0, 40, (8, 8, 1)), 0, 255).astype(np.uint8)
    stream = io.BytesIO()
    Image.fromarray(patches).resize((64, 48), Image.Resampling.NEAREST).save(stream, "JPEG", quality=90)
    return things, stream.getvalue()


def entries(folder: str | None) -> tuple[list[dict], dict[str, bytes]]:
    """Records of a split file of Karpathy, and the pictures; `folder` None: those of COCO."""
    records, files = [], {}
    for number, split in enumerate(split for split, count in COUNTS.items() for _ in range(count)):
        things, picture = scene(number, 0 if folder else 1)
        record = {"split": split, "sentences": [{"raw": way.format(*things)} for way in WAYS]}
        if folder:
            record["filename"] = f"{1000 + number}.jpg"
            files[f"{folder}/{record['filename']}"] = picture
        else:
            part = "train2014" if split == "train" and number % 2 else "val2014"
            split = "restval" if split == "train" and part == "val2014" else split
            record |= {"filename": filename(number, part), "filepath": part, "cocoid": number, "split": split}
            files[f"{part}/{record['filename']}"] = picture
        records.append(record)
    return records, files


def flickr30k_files() -> dict[str, bytes | str]:
    records, files = entries("flickr30k-images")
    return files | {"dataset_flickr30k.json": json.dumps({"images": records})}


def coco_files() -> dict[str, bytes | str]:
    records, files = entries(None)
    for part in ("train2014", "val2014"):
        annotations = [{"image_id": r["cocoid"], "category_id": 1} for r in records if r["filepath"] == part]
        content = {"images": [], "annotations": annotations, "categories": CATEGORIES}
        files[f"annotations/instances_{part}.json"] = json.dumps(content)
    return files | {"dataset_coco.json": json.dumps({"images": records})}


def web_files(count: int = 40) -> dict[str, bytes | str]:
    """MIRFLICKR; the first picture is one of Flickr30k's test, the second has one English tag."""
    scenes = [scene(sum(COUNTS.values()) - 1, 0), *(scene(number, 2) for number in range(1, count))]
    tags = ["\n".join([*things, WORDS.split()[n], "beachholiday", "nikon"]) for n, (things, _) in enumerate(scenes)]
    tags[1] = "rose\ndsc0001\n"
    return mirflickr_files(tags, [picture for _, picture in scenes])


@pytest.fixture(scope="module", params=PROFILES)
def runs(request, tmp_path_factory):
    """The profile, and number of the notebook -> result, rows of its metrics and what it printed."""
    data, cache, out = (tmp_path_factory.mktemp(name) for name in ("data", "cache", request.param))
    write(data / request.param, flickr30k_files() if request.param == "flickr30k" else coco_files())
    write(data / "mirflickr25k", web_files())
    (cache / "onnx").symlink_to(cache_dir("onnx"))  # the exported network; the features are those of made-up pictures
    found = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DATA", str(data))
        patch.setenv("LIB_CACHE", str(cache))
        for result in run_notebooks(request.param, only=["06", "07"], out=out, cell_timeout=600, changes=TINY):
            folder = out / result.notebook
            rows = read_metrics(folder / "metrics.json")["rows"] if result.passed else []
            found[result.notebook[:2]] = result, rows, printed(folder / "notebook.ipynb")
    return request.param, found


def printed(path) -> str:
    return "".join(
        o.text for c in notebook.code_cells(notebook.read(path)) for o in c.outputs if o.get("name") == "stdout"
    )


@pytest.mark.parametrize("profile", PROFILES)
def test_the_settings_are_those_of_the_paper(profile):
    sections, stage1, choices = load_profile(ROOT / "notebooks" / "profiles", profile), TrainConfig(), WeblyChoices()
    given = sections["all"] | sections["06"] | sections["07"]
    assert (given["corpus"], given["web"], given["annotated"]) == (profile, "mirflickr25k", 1.0)
    assert (given["dim"], given["dropout"], given["weight_decay"]) == (1024, 0.0, 0.0)
    assert given["learning_rate"] == stage1.learning_rate == 2e-4
    assert given["texts_per_step"] == stage1.batch_size == 128
    assert (given["passes"], given["schedule"]) == (stage1.epochs, stage1.schedule) == (30, "step")
    assert given["rate_ratios"] == [choices.rate_ratio] == [0.1]
    assert given["web_passes"] == choices.stage2_epochs
    assert given.get("protocol", "full") == ("coco-1k" if profile == "coco" else "full")


@pytest.mark.notebooks
@pytest.mark.timeout(2400)
@pytest.mark.parametrize("number", ["06", "07"])
def test_the_profile_runs_on_files_in_the_published_format(runs, number):
    profile, found = runs
    result, rows, text = found[number]
    assert result.passed, f"{result.failure}"
    train = COUNTS["train"]
    assert f"{train} annotated pictures with {5 * train} captions" in text
    assert f"{UNTAGGED + 1:,} of     {UNTAGGED + 40:,} images left out: fewer than 2 English tags" in text
    leaked = profile == "flickr30k"
    assert f"{int(leaked)} of 39 images of mirflickr25k are in {profile}" in text
    assert f"{38 if leaked else 39} web pictures" in text
    methods = {row["method"] for row in rows if row["metric"] == "rsum" and "100 % annotated" in row["setting"]}
    steps = ("captions only", "stage I", "stage II, random order", "stage II, curriculum")
    wanted = {
        "06": {"captions only", "tags only", "tags, then captions", "max of hinges"},
        "07": {f"{loss}: {step}" for loss in ("sum of hinges", "max of hinges", "InfoNCE") for step in steps},
    }
    assert wanted[number] <= methods
    assert all(row["corpus"] == profile for row in rows)


@pytest.mark.notebooks
@pytest.mark.timeout(2400)
def test_captions_and_web_tags_teach_and_wrong_tags_do_not(runs):
    """The colours of a picture tell its words; a caption finds one of ten pictures by chance."""
    first, second = ({row["method"]: row["mean"] for row in found[1] if row["metric"] == "t2i_r1"}
                     for found in (runs[1]["06"], runs[1]["07"]))  # fmt: skip
    chance = 100 / COUNTS["test"]
    assert second["sum of hinges: captions only"] > 4 * chance
    assert second["InfoNCE: stage II, curriculum"] > 4 * chance
    assert first["captions only"] > 4 * chance
    assert first["tags only"] > 2 * chance  # of MIRFLICKR alone: no caption was read
    assert first["control: all tags wrong, tags only"] < first["tags only"] - chance


@pytest.mark.notebooks
@pytest.mark.timeout(600)
def test_without_the_web_set_the_run_says_what_is_missing(tmp_path, monkeypatch):
    write(tmp_path / "data" / "flickr30k", flickr30k_files())
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "onnx").symlink_to(cache_dir("onnx"))
    monkeypatch.setenv("DATA", str(tmp_path / "data"))
    monkeypatch.setenv("LIB_CACHE", str(tmp_path / "cache"))
    (result,) = run_notebooks("flickr30k", only=["07"], out=tmp_path / "out", changes=TINY)
    assert not result.passed
    assert "corpus mirflickr25k: no folder" in result.failure["message"]
    assert "To get it: download" in result.failure["message"]
