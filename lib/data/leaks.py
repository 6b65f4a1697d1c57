"""Find test pictures in training data: by photo id, and by how the pictures look.

A picture is described by the 64-bit perceptual hash of package imagehash (the signs of its lowest 8 x 8 cosine
frequencies against their median); the same photo after scaling or recompression differs in a few bits. A picture of one
colour has no such signs, so no hash, and is near nothing. `lib.data.copies` also finds mirrored and cropped pictures.
"""

import re
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from tqdm.auto import tqdm

from lib.data.copies import is_flat
from lib.data.corpus import Corpus
from lib.data.images import Images

NO_HASH = np.uint64(0)  # half of the bits of a hash are set
CHUNKS = 4  # of 16 bits
# Measured on the 8,091 photos of Flickr8k. A photo and itself at JPEG quality 30, or at half size, are at most 2 bits
# apart; made brighter by a fifth, 99.8 % are within 6, with 2.5 % cut off each side 77 %. Of 33 million pairs of two
# photos one, which is one photo twice, is within 6, another within 8, 24 more within 10. Distances are even, because
# half of the bits are always set. A mirrored photo is not found.
RADIUS = 6
MAX_RADIUS = 3 * CHUNKS - 1
PAIRS_AT_ONCE = 1 << 22  # candidates in memory
# "1000092795_ab12cd34ef.jpg" in Flickr8k, "1000092795.jpg" in Flickr30k, "actor/0001_1000092795.jpg" in NUS-WIDE.
FLICKR = re.compile(r"(?:.*/)?(?:\d{4}_)?([1-9]\d{4,10})(?:_[0-9a-f]{6,}.*|\.\w+)?")


def flickr_id(image_id: str) -> str | None:
    """The Flickr photo id in a file name of Flickr8k, Flickr30k or NUS-WIDE; None for other names.

    A file name that is a number of 5 to 11 digits is taken for one: corpora that number their pictures themselves need
    another `id_of`.
    """
    found = FLICKR.fullmatch(image_id)
    return found[1] if found else None


def perceptual_hashes(images: Images, threads: int = 4, progress: bool = True) -> tuple[np.ndarray, list[int]]:
    """Hashes (N,) uint64 of pictures, and the positions of those that could not be read.

    0 stands for no hash, of a picture that could not be read or that is of one colour.
    """
    import imagehash

    def hash_one(i: int) -> np.uint64 | None:
        try:
            image = images[i]
            bits = imagehash.phash(image).hash
        except (OSError, ValueError):
            return None  # `check` says what is wrong with it; here it is counted
        return NO_HASH if is_flat(image) else np.packbits(bits).view(">u8")[0]

    with ThreadPoolExecutor(threads) as pool:
        hashes = pool.map(hash_one, range(len(images)))
        found = list(tqdm(hashes, total=len(images), desc="picture hashes", disable=not progress))
    unreadable = [i for i, value in enumerate(found) if value is None]
    return np.array([NO_HASH if value is None else value for value in found], dtype=np.uint64), unreadable


def near_pairs(first: np.ndarray, second: np.ndarray, radius: int = RADIUS) -> tuple[np.ndarray, np.ndarray]:
    """Pairs (P, 2) int64 of positions whose hashes differ in at most `radius` bits, sorted, and the distances (P,).

    `first` (N,) and `second` (M,) are uint64; what has no hash is in no pair. Not all N x M are compared: of two hashes
    that differ in r bits, one of the four 16-bit chunks differs in at most r // 4, so that it is found by looking up
    the few chunks so near (1 for a radius up to 3, 17 up to 7, 137 up to 11). Raises ValueError for a larger radius.
    """
    if not 0 <= radius <= MAX_RADIUS:
        raise ValueError(f"radius is {radius}, not between 0 and {MAX_RADIUS} of 64 bits")
    masks = _masks(radius // CHUNKS)
    pairs = [np.empty((0, 2), dtype=np.int64)]
    for chunk in range(CHUNKS):
        shift = np.uint64(16 * chunk)
        keys, wanted = ((hashes >> shift).astype(np.uint16) for hashes in (second, first))
        order = np.argsort(keys, kind="stable")
        keys = keys[order]
        for mask in masks:
            begin = np.searchsorted(keys, wanted ^ mask, side="left")
            end = np.searchsorted(keys, wanted ^ mask, side="right")
            for i, position in _ranges(begin, end):
                j = order[position]
                near = np.bitwise_count(first[i] ^ second[j]) <= radius
                pairs.append(np.stack([i[near], j[near]], axis=1))
    found = np.unique(np.concatenate(pairs), axis=0)
    found = found[(first[found[:, 0]] != NO_HASH) & (second[found[:, 1]] != NO_HASH)]
    return found, np.bitwise_count(first[found[:, 0]] ^ second[found[:, 1]]).astype(np.int64)


def near_duplicates(hashes: np.ndarray, radius: int = RADIUS) -> tuple[np.ndarray, np.ndarray]:
    """Pairs (P, 2), the smaller position first, of equal or nearly equal pictures in one set; distances (P,)."""
    pairs, distances = near_pairs(hashes, hashes, radius)
    once = pairs[:, 0] < pairs[:, 1]
    return pairs[once], distances[once]


@dataclass(frozen=True)
class Leaks:
    """Rows of a training corpus that are in a test corpus, too.

    `by_id` (P, 2) and `by_picture` (Q, 2) are pairs of a training and a test row, `distances` (Q,) are bits.
    """

    train: str
    test: str
    n_train: int
    n_test: int
    by_id: np.ndarray
    by_picture: np.ndarray
    distances: np.ndarray
    unreadable: int

    @property
    def rows(self) -> np.ndarray:
        """Training rows to leave out (R,) int64, rising, found either way."""
        return np.unique(np.concatenate([self.by_id[:, 0], self.by_picture[:, 0]]))

    def without(self, train: Corpus) -> Corpus:
        """The training corpus without these rows; ValueError where it is not the one that was checked."""
        if len(train) != self.n_train or train.name != self.train:
            raise ValueError(f"{self.train} with {self.n_train} images was checked, not {train.name} with {len(train)}")
        return train.take(np.setdiff1d(np.arange(len(train)), self.rows))

    def __str__(self) -> str:
        test_rows = np.union1d(self.by_id[:, 1], self.by_picture[:, 1])
        only_picture = np.setdiff1d(self.by_picture[:, 0], self.by_id[:, 0])
        lines = [
            f"{len(self.rows):,} of {self.n_train:,} images of {self.train} are in {self.test}, "
            f"which is {len(test_rows):,} of its {self.n_test:,}",
            f"  by photo id      {len(np.unique(self.by_id[:, 0])):>9,}",
            f"  by picture       {len(np.unique(self.by_picture[:, 0])):>9,}, {len(only_picture):,} only by it",
        ]
        return "\n".join(lines + [f"  not readable     {self.unreadable:>9,}"] * (self.unreadable > 0))


def shared_ids(train: Iterable[str], test: Iterable[str], id_of: Callable[[str], str | None] = flickr_id) -> np.ndarray:
    """Pairs (P, 2) int64 of positions of the same photo in two lists of image ids; ids that give None match nothing."""
    place_of: dict[str, list[int]] = {}
    for j, image_id in enumerate(test):
        if (photo := id_of(image_id)) is not None:
            place_of.setdefault(photo, []).append(j)
    found = ((i, id_of(image_id)) for i, image_id in enumerate(train))
    pairs = [(i, j) for i, photo in found if photo is not None for j in place_of.get(photo, ())]
    return np.array(pairs, dtype=np.int64).reshape(-1, 2)


def leak_check(
    train: Corpus,
    test: Corpus,
    radius: int = RADIUS,
    id_of: Callable[[str], str | None] = flickr_id,
    pictures: bool = True,
    progress: bool = True,
) -> Leaks:
    """Which images of a training corpus are in a test corpus, by photo id and, with `pictures`, by perceptual hash.

    `id_of` makes image ids of both comparable; by default it takes the photo id out of Flickr's file names and
    compares no others. Flickr8k and Flickr30k share 7,478 photos.
    """
    by_picture, distances, unreadable = np.empty((0, 2), dtype=np.int64), np.empty(0, dtype=np.int64), 0
    if pictures:
        (of_train, bad_train), (of_test, bad_test) = (
            perceptual_hashes(corpus.images, progress=progress) for corpus in (train, test)
        )
        by_picture, distances = near_pairs(of_train, of_test, radius)
        seen = ~(np.isin(by_picture[:, 0], bad_train) | np.isin(by_picture[:, 1], bad_test))
        by_picture, distances, unreadable = by_picture[seen], distances[seen], len(bad_train) + len(bad_test)
    return Leaks(
        train=train.name, test=test.name, n_train=len(train), n_test=len(test),
        by_id=shared_ids(train.image_ids, test.image_ids, id_of),
        by_picture=by_picture, distances=distances, unreadable=unreadable,
    )  # fmt: skip


def _masks(bits: int) -> list[np.uint16]:
    """All 16-bit numbers with at most so many bits set."""
    return [np.uint16(sum(1 << b for b in set_)) for n in range(bits + 1) for set_ in combinations(range(16), n)]


def _ranges(begin: np.ndarray, end: np.ndarray):
    """Row and position for every position in begin[row]:end[row], a bounded number at a time."""
    sizes = end - begin
    rows = np.flatnonzero(sizes)
    start = 0
    while start < len(rows):
        stop = max(start + 1, start + int(np.searchsorted(np.cumsum(sizes[rows[start:]]), PAIRS_AT_ONCE, "right")))
        some = rows[start:stop]
        before = np.cumsum(sizes[some]) - sizes[some]
        i = np.repeat(some, sizes[some])
        yield i, np.arange(len(i)) + np.repeat(begin[some] - before, sizes[some])
        start = stop
