"""Pairs and batches: Tokens, images of any kind, and two sets of pairs as one."""

import tracemalloc

import numpy as np
import pytest
import torch

from lib.models import Tokens
from lib.systems.webly.objective import clean_pairs, mixed_pairs, web_pairs
from lib.text import pad
from lib.training import Pairs, concatenated
from lib.training.batches import Concatenation
from lib.training.throughput import ahead, pad_to_multiple

KINDS = ("tensor", "array", "memory map", "concatenation")


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def kept_as(kind: str, features: torch.Tensor, tmp_path):
    """The features in one of the forms that `Pairs` takes."""
    if kind == "tensor":
        return features
    if kind == "array":
        return features.numpy()
    if kind == "concatenation":
        return Concatenation(features[:1], features[1:].numpy())
    path = tmp_path / f"{len(list(tmp_path.iterdir()))}.npy"
    np.save(path, features.numpy())
    return np.load(path, mmap_mode="r")


# ------------------------------------------------------------------------------------------------------------- tokens
def test_tokens_are_what_pad_gives_and_pairs_take_and_give():
    tokens = pad([[5, 6, 7], [8], [9, 4]])
    assert isinstance(tokens, Tokens)
    pairs = Pairs(random(3, 2), tokens, torch.arange(3))
    assert pairs.texts is tokens.ids
    assert pairs.lengths is tokens.lengths
    some = pairs.text_rows(torch.tensor([1, 2]))
    assert isinstance(some, Tokens)
    assert some.ids.tolist() == [[8, 0], [9, 4]]
    assert some.lengths.tolist() == [1, 2]
    batch = pairs.batch(torch.arange(3))
    assert isinstance(batch.texts, Tokens)
    longer = pad_to_multiple(batch, 4).texts
    assert isinstance(longer, Tokens)
    assert longer.ids.shape == (3, 4)
    assert isinstance(next(ahead([batch], "cpu")).texts, Tokens)
    with pytest.raises(ValueError, match="give no others"):
        Pairs(random(3, 2), tokens, torch.arange(3), torch.ones(3, dtype=torch.long))


# ------------------------------------------------------------------------------------------------- two sets in one
@pytest.mark.parametrize("first", KINDS)
@pytest.mark.parametrize("second", KINDS)
def test_pairs_of_any_images_become_one(first, second, tmp_path):
    parts = random(5, 3, 2), random(4, 3, 2, seed=1)
    texts, owners = (random(6, 4, seed=2), random(5, 4, seed=3)), (torch.arange(6) % 5, torch.arange(5) % 4)
    kinds = zip((first, second), parts, strict=True)
    sides = [
        Pairs(kept_as(kind, part, tmp_path), *rest) for (kind, part), *rest in zip(kinds, texts, owners, strict=True)
    ]
    both = concatenated(*sides)
    expected = Pairs(torch.cat(parts), torch.cat(texts), torch.cat([owners[0], owners[1] + 5]))
    assert isinstance(both.images, torch.Tensor) == (first == second == "tensor")
    assert both.images.shape == (9, 3, 2)
    for mine, theirs in zip(both.epoch(4, 0, 0), expected.epoch(4, 0, 0), strict=True):
        for name in ("images", "texts", "positives", "image_ids", "text_ids"):
            assert torch.equal(getattr(mine, name), getattr(theirs, name))


@pytest.mark.parametrize("first", KINDS)
@pytest.mark.parametrize("second", KINDS)
@pytest.mark.parametrize("words", [True, False])
def test_clean_and_web_images_of_any_kind_are_mixed(first, second, words, tmp_path):
    images, web_images, tags, web_tags = random(5, 3), random(4, 3, seed=1), random(5, 6, seed=2), random(4, 6, seed=3)
    texts = pad([[3, 4], [5], [6, 7, 8], [9], [4]]) if words else random(5, 7, seed=4)

    def mixed(left, right):
        return mixed_pairs(clean_pairs(Pairs(left, texts, torch.arange(5)), tags), web_pairs(right, web_tags), repeat=2)

    expected = mixed(images, web_images)
    assert len(expected) == 5 + 2 * 4
    assert torch.equal(expected.images, torch.cat([images, web_images]))
    assert expected.image_of_text.tolist() == [0, 1, 2, 3, 4, *[5, 6, 7, 8] * 2]
    assert expected.described.tolist() == [True] * 5 + [False] * 8
    assert torch.equal(expected.tags, torch.cat([tags, web_tags]))
    found = mixed(kept_as(first, images, tmp_path), kept_as(second, web_images, tmp_path))
    for mine, theirs in zip(found.epoch(4, 0, 0), expected.epoch(4, 0, 0), strict=True):
        assert torch.equal(mine.images, theirs.images)
        assert torch.equal(mine.positives, theirs.positives)
        for part, wanted in zip(*(b.texts if words else [b.texts] for b in (mine, theirs)), strict=True):
            assert torch.equal(part, wanted)


def test_word_ids_are_filled_up_to_the_longest():
    sides = [Pairs(random(1, 3), pad([ids]), torch.tensor([0])) for ids in ([4, 5], [4, 5, 6])]
    both = concatenated(*sides)
    assert both.texts.tolist() == [[4, 5, 0], [4, 5, 6]]
    assert both.lengths.tolist() == [2, 3]


def test_pairs_that_cannot_be_one_are_refused():
    vectors = Pairs(random(1, 3), random(1, 4), torch.tensor([0]))
    for one, other in ((vectors, pad([[4]])), (Pairs(random(1, 3), pad([[4]]), torch.tensor([0])), random(1, 4))):
        with pytest.raises(ValueError, match="one has word ids, the other vectors"):
            concatenated(one, Pairs(random(1, 3), other, torch.tensor([0])))
    for images in (random(1, 5), random(1, 5).numpy()):
        with pytest.raises(ValueError, match=r"images of shapes \(1, 3\) and \(1, 5\) cannot be one"):
            concatenated(vectors, Pairs(images, random(1, 4), torch.tensor([0])))


# ------------------------------------------------------------------------------------------------------ concatenation
def test_a_concatenation_is_read_like_an_array():
    parts = [random(3, 2).numpy(), random(1, 2, seed=1).numpy().astype(np.float16), random(4, 2, seed=2)]
    rows, whole = Concatenation(Concatenation(*parts[:2]), parts[2]), np.concatenate([np.asarray(p) for p in parts])
    assert (len(rows), rows.shape, rows.dtype) == (8, (8, 2), np.float32)
    for wanted in ([7, 0, 3, 3], [], 5, [[1, 2], [6, 7]], slice(2, 6), slice(None, None, -3), torch.tensor([4, 2])):
        index = np.asarray(wanted, dtype=np.int64) if isinstance(wanted, list) else wanted
        np.testing.assert_array_equal(rows[index], whole[index])
    np.testing.assert_array_equal(np.asarray(rows), whole)
    for wrong in ([8], [-1]):
        with pytest.raises(IndexError, match="of 8"):
            rows[np.array(wrong)]
    with pytest.raises(ValueError, match=r"rows of shapes \(2,\) and \(3,\)"):
        Concatenation(random(2, 2), random(2, 3))


def test_a_memory_map_is_not_loaded(tmp_path):
    rows, size = 4000, 1000  # 16 MB
    images = np.lib.format.open_memmap(tmp_path / "large.npy", "w+", np.float32, (rows, size))
    images[-1] = 7
    images.flush()
    pairs = Pairs(np.load(tmp_path / "large.npy", mmap_mode="r"), random(rows, 2), torch.arange(rows))
    tracemalloc.start()
    both = concatenated(Pairs(random(2, size), random(2, 2), torch.arange(2)), pairs)
    batch = both.batch(torch.tensor([1, 2, len(both) - 1]))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < images.nbytes / 10
    assert batch.images[2].tolist() == [7] * size
