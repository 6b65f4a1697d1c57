"""The one type in which every collection of pictures and words is passed around."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from lib.data.images import Images, as_images, unreadable

SPLITS = ("train", "val", "test", "web")


@dataclass(frozen=True, repr=False)
class Corpus:
    """Pictures with their captions, tags, labels and split; everything is aligned with `images`.

    `images` may also be a plain sequence of PIL images, such as a list; it becomes an `ImageList`.
    `captions[i]` and `tags[i]` are lists of any length, also empty. `labels` is (N, C) bool with one name per
    column, or None. `split` is (N,) of "train", "val", "test", "web" (web: no human caption).
    `problems` says what was wrong in the files it was read from, and where; the items concerned are left out or were
    repaired, as it says. `notes` say how it was read: in which layout, and which files were not used. Pictures
    with the same entry in `groups` (one for each picture; None: each by itself) show the same and stay in one split.
    Raises ValueError with the field and the row where the parts do not fit each other.
    """

    name: str
    images: Images
    image_ids: list[str]
    captions: list[list[str]]
    tags: list[list[str]]
    labels: np.ndarray | None
    label_names: list[str]
    split: np.ndarray
    licence: str
    source: str
    attribution: str
    problems: Sequence[str] = ()
    notes: Sequence[str] = ()
    groups: list[str] | None = None

    def __post_init__(self):
        object.__setattr__(self, "images", as_images(self.images))
        n = len(self.images)
        for field in ("image_ids", "captions", "tags", "split", *(["groups"] if self.groups is not None else [])):
            if len(getattr(self, field)) != n:
                raise ValueError(f"corpus {self.name}: {field} has {len(getattr(self, field))} rows for {n} images")
        for image_id, count in Counter(self.image_ids).items():
            if count > 1:
                rows = [row for row, other in enumerate(self.image_ids) if other == image_id]
                raise ValueError(f"corpus {self.name}: image_ids repeats {image_id!r} in rows {rows}")
        for field in ("captions", "tags"):
            for row, texts in enumerate(getattr(self, field)):
                if isinstance(texts, str) or not all(isinstance(text, str) and text.strip() for text in texts):
                    raise ValueError(f"corpus {self.name}: {field} row {row} is no list of non-empty texts: {texts!r}")
                if not _encodable(texts):
                    raise ValueError(f"corpus {self.name}: {field} row {row} has half a character: {texts!r}")
        for row, image_id in enumerate(self.image_ids):
            if not _encodable([image_id]):
                raise ValueError(f"corpus {self.name}: image_ids row {row} has half a character: {image_id!r}")
        for row, split in enumerate(self.split):
            if split not in SPLITS:
                raise ValueError(f"corpus {self.name}: split row {row} is {str(split)!r}, not one of {SPLITS}")
        self._check_labels(n)

    def _check_labels(self, n: int) -> None:
        if self.labels is None:
            if self.label_names:
                raise ValueError(f"corpus {self.name}: label_names without labels")
            return
        expected = (n, len(self.label_names))
        if self.labels.shape != expected or self.labels.dtype != bool:
            raise ValueError(
                f"corpus {self.name}: labels is {self.labels.dtype} of shape {self.labels.shape}, "
                f"not bool of shape {expected} (images, label_names)"
            )

    def __len__(self) -> int:
        return len(self.images)

    def __repr__(self) -> str:
        sizes = Counter(self.split.tolist())
        parts = [f"{sizes[split]:,} {split}" for split in SPLITS if sizes[split]]
        words = f"{sum(map(len, self.captions)):,} captions, {sum(map(len, self.tags)):,} tags"
        labels = "no labels" if self.labels is None else f"{len(self.label_names)} labels"
        problems = f"; problems: {len(self.problems):,}" if self.problems else ""
        images = f"{len(self):,} images ({', '.join(parts)})"
        return f"Corpus {self.name}: {images}; {words}, {labels}; {self.licence}{problems}"

    def take(self, index) -> "Corpus":
        """The sub-corpus at these positions (integers, in this order, or a boolean mask of length N)."""
        index = np.asarray(index)
        if index.dtype == bool:
            if index.shape != (len(self),):
                raise ValueError(f"corpus {self.name}: mask of shape {index.shape} for {len(self)} images")
            index = np.flatnonzero(index)
        rows = index.astype(np.int64).tolist()
        return replace(
            self,
            images=self.images.take(rows),
            image_ids=[self.image_ids[i] for i in rows],
            captions=[self.captions[i] for i in rows],
            tags=[self.tags[i] for i in rows],
            labels=None if self.labels is None else self.labels[rows],
            split=self.split[rows],
            groups=None if self.groups is None else [self.groups[i] for i in rows],
        )

    def select(self, split: str) -> "Corpus":
        """The sub-corpus of one split; ValueError where the split is unknown or has no image."""
        if split not in SPLITS:
            raise ValueError(f"unknown split {split!r}: one of {SPLITS}")
        mask = self.split == split
        if not mask.any():
            has = sorted(set(self.split.tolist()))
            raise ValueError(f"corpus {self.name} has no image in split {split!r}; it has {has}")
        return self.take(mask)

    def readable(self, progress: bool = True) -> "Corpus":
        """The corpus without the images that cannot be decoded, each of which becomes a problem with file and reason.

        Every image is opened. Raises ValueError where none is left.
        """
        damaged = unreadable(self.images, progress=progress)
        if not damaged:
            return self
        if len(damaged) == len(self):
            raise ValueError(f"corpus {self.name}: no image can be read, the first is {': '.join(damaged[0][1:])}")
        kept = self.take(np.setdiff1d(np.arange(len(self)), [found.row for found in damaged]))
        told = [f"{found.name}: {found.reason}; left out" for found in damaged]
        return replace(kept, problems=(*self.problems, *told))

    def annotate(self, share: float, seed: int = 0) -> "Corpus":
        """The same corpus where captions are few: `share` of the training groups keep theirs, the others form "web".

        Only groups with captions count; what loses them keeps its tags. Drawn by a hash of seed and group, so that a
        smaller share lies inside a larger one. Raises ValueError for no share, or where no training picture has one.
        """
        if not 0 <= share <= 1:
            raise ValueError(f"annotated is {share}: a share between 0 and 1")
        groups = self.image_ids if self.groups is None else self.groups
        rows = [row for row in np.flatnonzero(self.split == "train").tolist() if self.captions[row]]
        if share < 1 and not rows:
            raise ValueError(f"corpus {self.name}: no training picture has captions, annotated={share} is impossible")
        order = sorted(
            {groups[row] for row in rows},
            key=lambda group: hashlib.sha256(f"annotated-{seed}:{group}".encode()).digest(),
        )
        kept = set(order[: round(share * len(order))])
        lost = [row for row in rows if groups[row] not in kept]
        captions, split = list(self.captions), self.split.astype("<U5")
        split[lost] = "web"
        for row in lost:
            captions[row] = []
        return replace(self, captions=captions, split=split)

    def texts(self) -> tuple[list[str], np.ndarray]:
        """All captions in one list of length M, and the image of each: image_of_text (M,) int64."""
        return _flatten(self.captions)

    def tag_texts(self) -> tuple[list[str], np.ndarray]:
        """The tags of each image that has some, joined by spaces, and the image of each: (M,) int64."""
        return _flatten([[" ".join(tags)] if tags else [] for tags in self.tags])

    def fingerprint(self) -> str:
        """Hash (16 hexadecimal digits) of ids, texts, labels, splits and image contents: the "data hash" of results."""
        return self._fingerprint

    @cached_property
    def _fingerprint(self) -> str:
        digest = hashlib.sha256()
        for row in self._rows():
            digest.update(json.dumps(row, ensure_ascii=False).encode() + b"\n")
        return digest.hexdigest()[:16]

    def _rows(self) -> Iterator[list]:
        yield [self.name, self.label_names]
        for i, image_id in enumerate(self.image_ids):
            labels = [] if self.labels is None else np.flatnonzero(self.labels[i]).tolist()
            content = self.images.fingerprint(i)
            yield [image_id, self.captions[i], self.tags[i], labels, str(self.split[i]), content]


def _encodable(texts: Sequence[str]) -> bool:
    """Whether no text has a lone surrogate, which can neither be written nor hashed."""
    try:
        "".join(texts).encode()
    except UnicodeEncodeError:
        return False
    return True


def _flatten(texts_of_image: list[list[str]]) -> tuple[list[str], np.ndarray]:
    texts = [text for texts in texts_of_image for text in texts]
    counts = [len(texts) for texts in texts_of_image]
    return texts, np.repeat(np.arange(len(texts_of_image), dtype=np.int64), counts)
