"""Noise indexes: exact in number, without fixed points, the same everywhere, and put where they belong."""

from collections import Counter
from dataclasses import replace
from itertools import chain

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from PIL import Image

from lib.data import Corpus, ImageFiles
from lib.data.noise import KINDS, Noise, apply_noise, draw_noise, dropped, mismatched, spurious

ratios = st.floats(0, 1)
seeds = st.integers(0, 2**32)


@given(n=st.integers(2, 200), ratio=ratios, seed=seeds, kind=st.sampled_from(KINDS[:2]))
def test_mismatched_is_an_exact_derangement_of_a_part(n, ratio, seed, kind):
    assume(round(ratio * n) != 1)
    index = mismatched(np.arange(n), ratio, kind, seed)
    assert index.dtype == np.int64
    assert sorted(index) == list(range(n))
    assert (index != np.arange(n)).sum() == round(ratio * n)
    assert np.array_equal(index, mismatched(np.arange(n), ratio, kind, seed))


@given(sizes=st.lists(st.integers(1, 6), min_size=2, max_size=40), ratio=ratios, seed=seeds)
def test_no_caption_gets_one_of_its_own_image(sizes, ratio, seed):
    groups = np.repeat(np.arange(len(sizes)), sizes)
    try:
        index = mismatched(groups, ratio, seed=seed)
    except ValueError:  # it may give up only where the largest image can have more than half of the captions
        assert round(ratio * len(groups)) < 2 * max(sizes)
        return
    changed = index != np.arange(len(groups))
    assert changed.sum() == round(ratio * len(groups))
    assert (groups[index] != groups)[changed].all()
    assert sorted(index) == list(range(len(groups)))


@pytest.mark.parametrize("groups", [[0, 0, 0, 1, 1, 1], [0, 0, 1, 2], [0, 1], [0] * 50 + [1] * 25 + list(range(2, 27))])
def test_the_tightest_cases_are_solved(groups):
    groups = np.array(groups)
    for seed in range(20):
        index = mismatched(groups, 1.0, seed=seed)
        assert (groups[index] != groups).all()


@pytest.mark.parametrize(("groups", "ratio"), [([0, 0, 0, 1, 2], 1.0), ([0, 0, 0], 1.0), (np.arange(10), 0.1)])
def test_the_impossible_is_refused(groups, ratio):
    with pytest.raises(ValueError, match=r"cannot be mismatched: . of them belong together"):
        mismatched(groups, ratio)


def test_all_derangements_come_up_and_all_partners_alike():
    drawn = np.array([mismatched(np.arange(4), 1.0, seed=seed) for seed in range(1800)])
    assert len(np.unique(drawn, axis=0)) == 9  # the subfactorial of 4
    partners = np.array([np.bincount(drawn[:, i], minlength=4) for i in range(4)])
    assert np.abs(partners - 600 * (1 - np.eye(4))).max() < 80  # 4 standard deviations


def test_all_parts_come_up_alike():
    hits = sum(mismatched(np.arange(20), 0.3, seed=seed) != np.arange(20) for seed in range(1000))
    assert 235 < hits.min() <= hits.max() < 365  # 300 each, standard deviation 14.5


@given(n=st.integers(2, 100), small=ratios, large=ratios, seed=seeds)
def test_less_noise_lies_inside_more(n, small, large, seed):
    small, large = sorted((small, large))
    assert set(dropped(n, small, seed)) <= set(dropped(n, large, seed))
    assume(1 not in (round(small * n), round(large * n)))
    few, many = (np.flatnonzero(mismatched(np.arange(n), r, seed=seed) != np.arange(n)) for r in (small, large))
    assert set(few) <= set(many)


tag_lists = st.lists(st.lists(st.integers(0, 99).map(str), unique=True, max_size=6), min_size=2, max_size=20)


def flat(tags):
    return np.repeat(np.arange(len(tags)), list(map(len, tags))), [tag for of_image in tags for tag in of_image]


@given(tags=tag_lists, ratio=st.floats(0, 0.3), seed=seeds)
def test_spurious_tags_are_new_to_their_image(tags, ratio, seed):
    image_of_tag, words = flat(tags)
    added = round(ratio * len(words))
    assume(all(len(of_image) + added < len(set(words)) for of_image in tags))  # enough words for any choice of images
    pairs = spurious(image_of_tag, words, ratio, seed)
    assert pairs.shape == (round(ratio * len(words)), 2)
    assert len(set(pairs[:, 0])) == len(pairs)
    for target, origin in pairs:
        tags[image_of_tag[target]].append(words[origin])
    assert all(len(set(of_image)) == len(of_image) for of_image in tags)


def test_spurious_words_come_as_often_as_others_have_them():
    tags = [["x"]] * 400 + [["common"]] * 300 + [["rare"]] * 100
    image_of_tag, words = flat(tags)
    drawn = Counter()
    for seed in range(20):
        drawn.update(words[origin] for target, origin in spurious(image_of_tag, words, 0.5, seed) if target < 400)
    assert drawn["x"] == 0
    assert 2.7 < drawn["common"] / drawn["rare"] < 3.3


def test_spurious_gives_up_where_nothing_is_left():
    with pytest.raises(ValueError, match="image 0 has all words"):
        spurious([0, 0], ["a", "b"], 0.5)
    assert spurious([], [], 0.5).shape == (0, 2)


@given(n=st.integers(0, 300), ratio=ratios, seed=seeds)
def test_dropped_is_exact(n, ratio, seed):
    index = dropped(n, ratio, seed)
    assert len(set(index)) == len(index) == round(ratio * n)
    assert index.tolist() == sorted(index)
    assert set(index) <= set(range(n))


def test_indexes_are_the_same_on_every_machine():
    """Stored experiments depend on these numbers: they may never change."""
    assert mismatched(np.arange(8), 0.5, "images", 0).tolist() == [0, 5, 2, 3, 7, 4, 6, 1]
    assert mismatched([0, 0, 1, 1, 2, 2, 3, 3], 0.75, "captions", 1).tolist() == [2, 1, 6, 3, 7, 0, 5, 4]
    assert dropped(20, 0.25, 7).tolist() == [6, 8, 10, 11, 14]
    assert spurious([0, 0, 1, 2, 3], list("abcde"), 0.6, 7).tolist() == [[2, 1], [4, 3], [3, 0]]


def test_kinds_and_seeds_give_different_noise():
    drawn = [tuple(mismatched(np.arange(50), 1.0, kind, seed)) for kind in KINDS for seed in range(3)]
    assert len(set(drawn)) == len(drawn)


# ---------------------------------------------------------------------------------------------------------- in a corpus
@pytest.fixture
def corpus(tmp_path):
    n = 20
    Image.new("RGB", (2, 2)).save(tmp_path / "a.png")
    return Corpus(
        name="toy", images=ImageFiles([tmp_path / "a.png"] * n), image_ids=[str(i) for i in range(n)],
        captions=[[f"{i}.{k}" for k in range(1 + i % 5)] for i in range(n)],
        tags=[[f"t{(3 * i + k) % 23}" for k in range(i % 7)] for i in range(n)], labels=None, label_names=[],
        split=np.array(["train"] * n), licence="CC0", source="here", attribution="us",
    )  # fmt: skip


def test_mismatched_captions_and_images(corpus):
    captions = apply_noise(corpus, draw_noise(corpus, "captions", 0.5, seed=3)).captions
    assert list(map(len, captions)) == list(map(len, corpus.captions))
    moved = [text for i, texts in enumerate(captions) for text in texts if text.split(".")[0] != str(i)]
    assert len(moved) == round(0.5 * sum(map(len, captions)))
    assert sorted(chain(*captions)) == sorted(chain(*corpus.captions))

    captions = apply_noise(corpus, draw_noise(corpus, "images", 0.5, seed=3)).captions
    assert sum(texts != corpus.captions[i] for i, texts in enumerate(captions)) == 10
    assert sorted(captions) == sorted(corpus.captions)  # captions of one image stay together


def test_mismatched_tag_lists_stay_together(corpus):
    corpus = replace(corpus, tags=[[f"{i}", f"{i}b"] for i in range(len(corpus))], captions=[[]] * len(corpus))
    tags = apply_noise(corpus, draw_noise(corpus, "tags", 0.3, seed=3)).tags
    assert sum(words != before for words, before in zip(tags, corpus.tags, strict=True)) == 6
    assert sorted(tags) == sorted(corpus.tags)
    assert mismatched(np.arange(8), 0.5, "tags", 0).tolist() == [0, 5, 3, 2, 4, 1, 6, 7]


def test_dropped_and_spurious_tags(corpus):
    n = sum(map(len, corpus.tags))
    less = apply_noise(corpus, draw_noise(corpus, "dropped_tags", 0.3, seed=3)).tags
    assert sum(map(len, less)) == n - round(0.3 * n)
    for before, after in zip(corpus.tags, less, strict=True):
        assert [tag for tag in before if tag in after] == after
    more = apply_noise(corpus, draw_noise(corpus, "spurious_tags", 0.3, seed=3)).tags
    assert sum(map(len, more)) == n + round(0.3 * n)
    assert all(after[: len(before)] == before for before, after in zip(corpus.tags, more, strict=True))


@pytest.mark.parametrize("kind", KINDS)
def test_no_noise_changes_nothing_and_the_corpus_given_is_left_alone(corpus, kind):
    before = [list(corpus.captions), [list(tags) for tags in corpus.tags]]
    same = apply_noise(corpus, draw_noise(corpus, kind, 0.0))
    assert (same.captions, same.tags) == (corpus.captions, corpus.tags)
    apply_noise(corpus, draw_noise(corpus, kind, 0.4))
    assert [corpus.captions, corpus.tags] == before


@pytest.mark.parametrize("kind", KINDS)
def test_stored_noise_comes_back(corpus, kind, tmp_path):
    noise = draw_noise(corpus, kind, 0.4, seed=2)
    noise.save(tmp_path / "noise.npz")
    again = Noise.load(tmp_path / "noise.npz")
    assert (again.kind, again.n, again.ratio, again.seed) == (kind, noise.n, 0.4, 2)
    assert np.array_equal(again.index, noise.index)
    assert again.index.dtype == np.int64
    assert [path.name for path in tmp_path.glob("*.npz")] == ["noise.npz"]


def test_wrong_use_is_refused(corpus, tmp_path):
    with pytest.raises(ValueError, match="unknown kind of noise 'label'"):
        draw_noise(corpus, "label", 0.1)
    for ratio in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match="not between 0 and 1"):
            draw_noise(corpus, "captions", ratio)
    with pytest.raises(ValueError, match="has 19, not the 20 that images noise was drawn for"):
        apply_noise(corpus.take(range(19)), draw_noise(corpus, "images", 0.5))
    (tmp_path / "bad.npz").write_bytes(b"PK no")
    with pytest.raises(ValueError, match=r"bad\.npz is no stored noise"):
        Noise.load(tmp_path / "bad.npz")
    with pytest.raises(FileNotFoundError):
        Noise.load(tmp_path / "absent.npz")


def test_images_without_captions_are_refused(corpus):
    web = replace(corpus, captions=[[], *corpus.captions[1:]])
    with pytest.raises(ValueError, match="images without a caption: select the split"):
        draw_noise(web, "images", 0.5)
