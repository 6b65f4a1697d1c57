"""Time and memory of notebooks 06 and 07 on Flickr30k and MSCOCO with the tags of MIRFLICKR-25K: an estimate.

    python -m tests.benchmarks.webly [--profiles flickr30k coco]

Rates are measured here, on one thread, in CPU seconds, with made-up data of the shapes that the profiles ask for:
pictures of 500 x 375 through the frozen network, captions of ten words through MiniLM and the tagger, training steps,
validations, intervals. They are multiplied by what the notebooks do with the profile's numbers. Assumed: no web picture
is filtered out, and nothing is in the cache yet. Beside each estimate stands what a recorded run took, if there is one
in results/ (its wall time, on the machine it names). No judgement is passed.
"""

import argparse
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from lib.base.files import ROOT
from lib.data import ImageFiles
from lib.data.leaks import perceptual_hashes
from lib.evaluation import paired_bootstrap
from lib.losses import sum_of_hinges
from lib.report.rows import read_metrics
from lib.run import notebook
from lib.run.profile import given_to, load_profile
from lib.systems.webly import webly_embedding
from lib.systems.webly.nouns_and_verbs import NounsAndVerbs
from lib.systems.webly.objective import WeblyObjective, clean_pairs, mixed_pairs, web_pairs
from lib.text.transformer import MiniLM
from lib.training import Pairs, TrainConfig, fit, validate
from lib.vision import extract_features

# Pictures of training, validation and test; five captions each. COCO has a few more captions.
CORPORA = {"flickr8k": (6_000, 1_000, 1_000), "flickr30k": (29_000, 1_014, 1_000), "coco": (113_287, 5_000, 5_000)}
WEB = {"mirflickr25k": 25_000, "tweets": 4_869}
NOTEBOOKS = ("06_webly_pretraining", "07_webly_fine_tuning")
IMAGE, TEXT, CAPTIONS, LOSSES, CHOICES = 1_280, 384, 5, 3, 9
SMALL = 1_000  # pictures of the validation that is timed
WORDS = (
    "a the two one on in of with and is are near young brown white red small large man woman girl boy dog cat horse "
    "ball beach grass water snow street bench shirt hat bike table plate runs jumps stands sitting playing walking "
    "wearing holding looking through behind next crowd people mountain park field"
)


def work(number: str, p: dict, pictures: int, web: int) -> Counter:
    """Texts or web pictures that go through training, by kind, and "validations" and "intervals", of one notebook."""
    share, seeds, curve = p["annotated"], len(p["seeds"]), len(p["curve_seeds"])
    captions = CAPTIONS * share * pictures
    tagged = web if share == 1 else (1 - share) * pictures
    real = share < 1 and web > 0  # the section on the real web has runs of its own
    done = Counter()

    def add(kind: str, runs: int, epochs: float, rows: float, validated: bool = True) -> None:
        done[kind] += runs * epochs * rows
        done["validations"] += runs * (epochs + 1) if validated else 0

    passes, web_passes = p["passes"], p["web_passes"]
    if number == "06":
        noisy, readers = (3 * len(p["noises"]) + 1) * curve, 1 + bool(p["second_reader"])
        both = readers * seeds + seeds + min(seeds, 5) * CHOICES + noisy  # tags and captions: control, choices, noise
        beside_web = real * len(p["web_shares"]) * seeds  # true tags and shuffled ones, and captions alone
        add("captions", both + readers * seeds + 3 * beside_web, passes, captions)
        add("tags", both + 2, web_passes, tagged)
        add("tags", 2 * beside_web, web_passes, web)
        add("tags", 1, 1 + max(1, web_passes // 4) + web_passes, tagged, validated=False)
        done["intervals"] = 20 + 2 * real * len(p["web_shares"])
    else:
        add("captions", LOSSES * (1 + seeds), passes, captions)
        add("both", LOSSES * (1 + seeds), passes, captions)
        add("tags", LOSSES * (len(p["rate_ratios"]) + 2 * seeds), web_passes, tagged)
        few, second = min(seeds, 5), bool(p["second_reader"])
        add("tags", few, web_passes, tagged)
        add("captions", few + second * seeds, passes, captions)
        add("mixed", (2 + second) * seeds + 2 * few, passes, captions + p["web_repeat"] * tagged)
        add("both", 2, min(passes, 5), captions, validated=False)
        if real:
            for part in p["web_shares"]:
                epochs = min(max(4, round(passes * share / part)), 2 * passes)
                add("both", 2 * seeds, epochs, CAPTIONS * part * pictures)
                add("mixed", 2 * seeds, max(4, web_passes // 2), max(CAPTIONS * part * pictures, web / 3) + web)
                add("tags", seeds, web_passes, web)
        done["intervals"] = 4 * LOSSES + 2 * LOSSES + 7 + 3 * real * len(p["web_shares"])
    for part in p["shares"]:
        epochs = max(4, round(passes * share / part))
        most = min(epochs, 2 * passes)
        rest = (1 - part) * pictures
        add("captions", curve, most, CAPTIONS * part * pictures)
        if part < 1 and number == "06":
            add("captions", curve, most, CAPTIONS * part * pictures)
            add("tags", curve, web_passes, rest)
        elif part < 1:
            add("mixed", curve, min(epochs, passes), CAPTIONS * part * pictures + p["web_repeat"] * rest)
    return done


def memory(number: str, p: dict, pictures: int, held_out: int, web: int) -> float:
    """GB of the arrays that are held at the same time, at most."""
    share = p["annotated"]
    tagged = web if share == 1 else (1 - share) * pictures
    texts = CAPTIONS * (share * pictures + held_out)
    held = (share * pictures + held_out + tagged) * (IMAGE + 2 * TEXT) + texts * TEXT
    mixed = (share * pictures + tagged) * (IMAGE + TEXT) + (CAPTIONS * share * pictures + tagged) * TEXT
    last = pictures * (IMAGE + 2 * TEXT) + 2 * CAPTIONS * pictures * TEXT  # the curve's right end, and its cached rows
    return 4 * (held + last + (3 * mixed if number == "07" else 0)) / 1e9


def taken(run, *arguments, **options) -> float:
    """CPU seconds of a call."""
    start = time.process_time()
    run(*arguments, **options)
    return time.process_time() - start


def captions(count: int, rng: np.random.Generator) -> list[str]:
    """Made-up captions of ten words."""
    return [" ".join(rng.choice(WORDS.split(), 10)) for _ in range(count)]


def rates_of_data() -> dict[str, float]:
    """Seconds a picture (features, hash) and a caption (MiniLM, tagger), without start-up."""
    rng = np.random.default_rng(0)
    minilm, tagger = MiniLM(device="cpu"), NounsAndVerbs()
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{i}.jpg" for i in range(40)]
        for path in paths:
            small = Image.fromarray(rng.integers(0, 256, (24, 32, 3), dtype=np.uint8))
            small.resize((500, 375), Image.Resampling.BICUBIC).save(path, quality=90)
        images = ImageFiles(paths)

        def features(count: int) -> None:
            extract_features(images.take(range(count)), device="cpu", cache=False, progress=False, threads=1)

        few, many = taken(features, 8), taken(features, 40)
        seconds = {"features": (many - few) / 32, "hash": taken(perceptual_hashes, images, 1, False) / 40}
    minilm.transform(captions(8, rng), cache=False)
    tagger.tags(captions(8, rng))
    seconds["minilm"] = taken(minilm.transform, captions(256, rng), cache=False) / 256
    seconds["tagger"] = taken(tagger.tags, captions(256, rng)) / 256
    return seconds


def rates_of_training(p: dict, steps: int = 24, pictures: int = 20_000) -> dict[str, float]:
    """Seconds a row of training of each kind, a validation of `SMALL` pictures, and an interval of them."""
    torch.manual_seed(0)
    size = p["texts_per_step"]
    images, tags = torch.randn(pictures, IMAGE), torch.randn(pictures, TEXT)
    owner = torch.arange(pictures)[torch.randperm(pictures)]

    def clean(count: int):
        return clean_pairs(Pairs(images, torch.randn(count, TEXT), owner[:count]), tags)

    web, few = web_pairs(images, tags), steps * size // 5
    data = {
        "captions": (clean(steps * size), (1.0, 0.0)),
        "both": (clean(steps * size), (1.0, 1.0)),
        "tags": (web, (0.0, 1.0)),
        "mixed": (mixed_pairs(clean(steps * size), web_pairs(images[:few], tags[:few])), (1.0, 1.0)),
    }
    model = webly_embedding(IMAGE, TEXT, TEXT, p["dim"], p["dropout"])
    config = TrainConfig(1, size, 2e-4)
    seconds = {}
    for kind, (pairs, weights) in data.items():
        objective = WeblyObjective(pairs, sum_of_hinges, *weights)
        run = [taken(fit, model, pairs, config, objective=objective, device="cpu", progress=False) for _ in range(2)]
        seconds[kind] = min(run) / len(pairs)
    test = Pairs(images[:SMALL], torch.randn(CAPTIONS * SMALL, TEXT), torch.arange(SMALL).repeat_interleave(CAPTIONS))
    seconds["validations"] = min(taken(validate, model, test, device="cpu") for _ in range(2))
    scores = validate(model, test, device="cpu")
    seconds["intervals"] = taken(paired_bootstrap, [scores] * 3, [scores] * 3)
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--profiles", nargs="+", default=list(CORPORA), choices=list(CORPORA))
    options = parser.parse_args()
    torch.set_num_threads(1)
    data = rates_of_data()
    print("one thread, CPU time; an estimate from rates measured here:")
    print("  " + ", ".join(f"{name} {1e3 * value:.1f} ms" for name, value in data.items()))
    for name in options.profiles:
        profile = load_profile(ROOT / "notebooks" / "profiles", name)
        train, val, test = CORPORA[name]
        web = WEB[profile["06"]["web"]]
        pictures = train + val + test
        first = data["features"] * (pictures + web) + data["minilm"] * CAPTIONS * pictures
        first += data["hash"] * (web + test)
        print(f"{name}: features of {pictures + web:,} pictures and {CAPTIONS * pictures:,} captions, "
              f"once: {first / 3600:.1f} hours")  # fmt: skip
        for path in NOTEBOOKS:
            literals = notebook.parameters(notebook.read(ROOT / "notebooks" / f"{path}.ipynb"), path)
            given = literals | given_to(profile, path, literals)
            rates = rates_of_training(given)
            grown = val * CAPTIONS * val / (CAPTIONS * SMALL**2)  # a validation compares all pictures with all captions
            done = work(path[:2], given, train, web)
            seconds = {kind: rates[kind] * amount for kind, amount in done.items()}
            seconds["validations"] *= grown
            seconds["intervals"] *= test / SMALL
            seconds["tagger"] = data["tagger"] * CAPTIONS * train
            space = memory(path[:2], given, train, val + test, web)
            parts = ", ".join(f"{kind} {value / 60:.0f}" for kind, value in seconds.items())
            print(f"  notebook {path[:2]}: {sum(seconds.values()) / 3600:.1f} hours (minutes: {parts}); "
                  f"arrays {space:.1f} GB")  # fmt: skip
            recorded = ROOT / "results" / name / f"{path}.json"
            if recorded.is_file():
                about = read_metrics(recorded)["provenance"]
                print(f"    a recorded run took {about['seconds'] / 3600:.1f} hours ({about['device']})")


if __name__ == "__main__":
    main()
