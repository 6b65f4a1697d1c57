"""Image-text retrieval: recall at K, median and mean rank in both directions, under a named protocol."""

from __future__ import annotations

import html
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lib.evaluation.parallel import workers
from lib.evaluation.ranks import Ranks, constant_ranks, count_ranks
from lib.evaluation.scoring import EmbeddingScores, MatrixScores, full_float32

COCO_IMAGES, COCO_FOLD = 5_000, 1_000
PROTOCOLS = ("full", "coco-1k", "coco-5k")
TIE_RULE = "ties: expectation over random order (one positive: the middle rank)"
RECALLS = (1, 5, 10)
MEASURES = {"r1": "R@1", "r5": "R@5", "r10": "R@10", "medr": "Med r", "meanr": "Mean r"}
DIRECTIONS = {"i2t": "image to text", "t2i": "text to image"}
TILE = 4_000_000  # scores held at a time, and as many comparisons: 32 MB


@dataclass(frozen=True, repr=False)
class Scores:
    """Retrieval scores with the ranks they come from and the protocol they were counted under.

    Recalls are in percent. Median rank is the plain median of ranks counted from 1; VSE++ (Faghri et al.,
    BMVC 2018) takes floor(median of ranks from 0) + 1, half a rank less where the median falls between two.
    Scores of several folds are means over the folds of each fold's value, the median included (VSE++).

    Attributes:
        name: of the protocol.
        images: number of images N.
        fold: images in a fold, N if there is one fold.
        image_of_text: (M,) int64.
        i2t: counts of the images that have a text, in order.
        t2i: counts of all M texts.
        folds: for "coco-5k", the "coco-1k" scores, which come out of the same pass; otherwise None.
    """

    name: str
    images: int
    fold: int
    image_of_text: Tensor
    i2t: Ranks
    t2i: Ranks
    folds: Scores | None = None

    @property
    def queries(self) -> Tensor:
        """Images that have a text, so that they are queries, (Q,) int64."""
        return self.image_of_text.unique()

    @property
    def i2t_ranks(self) -> np.ndarray:
        """Rank of each image's first caption, from 1, (N,) float64; NaN for an image without a caption."""
        ranks = np.full(self.images, np.nan)
        ranks[self.queries.numpy()] = self.i2t.rank().numpy()
        return ranks

    @property
    def t2i_ranks(self) -> np.ndarray:
        """Rank of each text's image, from 1, (M,) float64."""
        return self.t2i.rank().numpy()

    def as_dict(self) -> dict[str, float]:
        """i2t_r1, i2t_r5, i2t_r10 in percent, i2t_medr, i2t_meanr in ranks, the same for t2i, and rsum."""
        fold_of_query, fold_of_text = self.queries // self.fold, self.image_of_text // self.fold
        per_fold = []
        for number in fold_of_query.unique():
            values: dict[str, float] = {}
            for direction, ranks in (
                ("i2t", self.i2t.take(fold_of_query == number)),
                ("t2i", self.t2i.take(fold_of_text == number)),
            ):
                values |= {f"{direction}_{name}": value for name, value in measures(ranks).items()}
            per_fold.append(values)
        means = {name: float(np.mean([values[name] for values in per_fold])) for name in per_fold[0]}
        return means | {"rsum": sum(means[f"{d}_r{k}"] for d in DIRECTIONS for k in RECALLS)}

    @property
    def protocol(self) -> str:
        """Queries, gallery, folds, positives per query and tie rule in one line."""
        captions = torch.bincount(self.image_of_text)
        few, many = int(captions[captions > 0].min()), int(captions.max())
        text = f"{self.name}: {self.images:,} images, {len(self.image_of_text):,} texts"
        text += f", {few} per image" if few == many else f", {few} to {many} per image"
        if len(self.queries) < self.images:
            text += f", {self.images - len(self.queries):,} images without text: in the gallery, no queries"
        if self.fold < self.images:
            text += f"; mean over {self.images // self.fold} sequential folds of {self.fold:,} images"
        return f"{text}; {TIE_RULE}"

    def __str__(self) -> str:
        values = self.as_dict()
        lines = [self.protocol, " " * 13 + "".join(f"{label:>8}" for label in MEASURES.values())]
        for direction, label in DIRECTIONS.items():
            lines.append(label + "".join(f"{values[f'{direction}_{name}']:8.1f}" for name in MEASURES))
        return "\n".join([*lines, f"sum of recalls {values['rsum']:.1f}"])

    def __repr__(self) -> str:
        texts = len(self.image_of_text)
        return f"Scores({self.name}, {self.images:,} images, {texts:,} texts, rsum {self.as_dict()['rsum']:.1f})"

    def _repr_html_(self) -> str:
        values = self.as_dict()
        rows = "<tr><th></th>" + "".join(f"<th>{label}</th>" for label in MEASURES.values()) + "</tr>"
        for direction, label in DIRECTIONS.items():
            cells = "".join(f"<td>{values[f'{direction}_{name}']:.1f}</td>" for name in MEASURES)
            rows += f"<tr><th>{label}</th>{cells}</tr>"
        caption = f"sum of recalls {values['rsum']:.1f}<br>{html.escape(self.protocol)}"
        return f"<table><caption>{caption}</caption>{rows}</table>"


def measures(ranks: Ranks) -> dict[str, float]:
    """Recall at 1, 5 and 10 in percent, median and mean rank of some queries."""
    values = {f"r{k}": 100 * float(ranks.hit(k).mean()) for k in RECALLS}
    rank = ranks.rank().numpy()
    return values | {"medr": float(np.median(rank)), "meanr": float(rank.mean())}


def evaluate(
    images: Tensor | np.ndarray,
    texts: Tensor | np.ndarray,
    image_of_text: Tensor | np.ndarray,
    protocol: str = "full",
    *,
    cosine: bool = True,
    tile: int | None = None,
) -> Scores:
    """Rank all texts for every image and all images for every text by the similarity of their embeddings.

    An image's rank is that of its first caption (Karpathy and Fei-Fei, CVPR 2015). Scores are float32 also
    for half-precision embeddings, under autocast and where training allows TF32: scoring in bfloat16 has
    been seen to raise R@1 from 68.56 to 69.54. Cosines within 1e-6 of each other tie: float32 products do not tell
    them apart. (Dot products: within 1e-6 of the product of the norms.)

    Args:
        images: (N, D), any floating type, any device.
        texts: (M, D), as the images.
        image_of_text: (M,) integers, any number of texts per image. An image without a text is no query; it stays in
            the gallery of the texts.
        protocol: "full", "coco-5k" (the same, for 5,000 images, with the scores of the folds beside it) or "coco-1k"
            (mean over five sequential folds of 1,000 images).
        cosine: divide by the norms; otherwise dot products.
        tile: scores held at a time.

    Returns:
        Recalls in percent and ranks, both directions; `as_dict()` gives them by name.

    Raises:
        ValueError: shapes that do not fit, an unknown protocol, NaN or infinity in an embedding.

    Example:
        Three images, four texts; the last text lies nearer to image 1 than to its own, image 2.

        >>> import torch
        >>> from lib.evaluation import evaluate
        >>> images = torch.eye(3)
        >>> texts = torch.tensor([[1.0, 0.0, 0.0], [0.9, 0.1, 0.0], [0.0, 1.0, 0.0], [0.0, 0.8, 0.6]])
        >>> scores = evaluate(images, texts, torch.tensor([0, 0, 1, 2]))
        >>> scores
        Scores(full, 3 images, 4 texts, rsum 575.0)
        >>> scores.as_dict()["t2i_r1"], scores.t2i_ranks.tolist()
        (75.0, [1.0, 1.0, 1.0, 2.0])
    """
    score_tile = EmbeddingScores(images, texts, cosine)
    size = (len(images), len(texts))
    return _evaluate(score_tile, size, score_tile.rows.device, image_of_text, protocol, tile)


def evaluate_similarity(
    similarity: Tensor | np.ndarray,
    image_of_text: Tensor | np.ndarray,
    protocol: str = "full",
    *,
    tile: int | None = None,
) -> Scores:
    """The same from a similarity matrix (N, M), for models that score pairs, such as cross-attention.

    Scores are compared as float32 numbers and tie only if equal.

    Args:
        similarity: (N, M) of images and texts; infinite scores are allowed, NaN is not.
        image_of_text, protocol, tile: as for `evaluate`.

    Raises:
        ValueError: as `evaluate`.
    """
    score_tile = MatrixScores(similarity)
    return _evaluate(score_tile, similarity.shape, score_tile.similarity.device, image_of_text, protocol, tile)


def chance(n_images: int, image_of_text: Tensor | np.ndarray, protocol: str = "full") -> dict[str, float]:
    """Expected scores of a random ranking, in closed form; keys and units as in `Scores.as_dict`.

    A text finds its image among the first K of N with probability K / N; an image with k of M texts one of
    them with 1 - C(M - k, K) / C(M, K). Only the medians are not expectations: they are those of the
    expected ranks (N + 1) / 2 and (M + 1) / (k + 1).
    """
    owner = _image_of_text(image_of_text, n_images, torch.device("cpu"))
    fold, across = _folds(protocol, n_images)
    fold = n_images if across else fold
    captions = torch.bincount(owner, minlength=n_images)
    captions_of_fold = torch.bincount(owner // fold)
    queries = captions.nonzero().flatten()
    i2t = constant_ranks(captions_of_fold[queries // fold], captions[queries])
    images_of_fold = torch.full_like(owner, fold)
    t2i = constant_ranks(images_of_fold, torch.ones_like(owner))
    return Scores(protocol, n_images, fold, owner, i2t, t2i).as_dict()


@torch.no_grad()
def _evaluate(score_tile, size, device, image_of_text, protocol, tile) -> Scores:
    images, texts = size
    owner = _image_of_text(image_of_text, images, device)
    if len(owner) != texts:
        raise ValueError(f"image_of_text has {len(owner):,} entries for {texts:,} texts")
    fold, across = _folds(protocol, images)
    tile = max(1, (tile or TILE) // workers(device))
    with full_float32():
        within, whole = count_ranks(score_tile, images, owner, score_tile.rounding(owner), fold, across, tile)
    owner = owner.cpu()

    def scores(name: str, fold: int, ranks: tuple[Ranks, Ranks], folds: Scores | None = None) -> Scores:
        i2t, t2i = ranks
        return Scores(name, images, fold, owner, i2t.take(owner.unique()), t2i, folds)

    if whole is None:
        return scores(protocol, fold, within)
    return scores(protocol, images, whole, folds=scores("coco-1k", fold, within))


def _folds(protocol: str, images: int) -> tuple[int, bool]:
    """Images in a fold, and whether to rank across folds as well."""
    if protocol not in PROTOCOLS:
        raise ValueError(f"unknown protocol {protocol!r}; known are {', '.join(PROTOCOLS)}")
    if protocol == "full":
        return images, False
    if images != COCO_IMAGES:
        raise ValueError(f"protocol {protocol!r} is defined for {COCO_IMAGES:,} images, not {images:,}")
    return COCO_FOLD, protocol == "coco-5k"


def _image_of_text(image_of_text: Tensor | np.ndarray, images: int, device: torch.device) -> Tensor:
    """The index as int64 on the device; raises where it is no index of an image, or empty."""
    owner = torch.as_tensor(image_of_text)
    if owner.ndim != 1 or owner.is_floating_point() or owner.dtype == torch.bool or len(owner) == 0:
        raise ValueError(f"image_of_text must be a non-empty vector of integers, not {owner.dtype} {owner.shape}")
    wrong = ((owner < 0) | (owner >= images)).nonzero().flatten()
    if len(wrong):
        row = int(wrong[0])
        raise ValueError(f"image_of_text[{row}] is {int(owner[row])}, but there are {images:,} images")
    return owner.to(device, torch.int64)
