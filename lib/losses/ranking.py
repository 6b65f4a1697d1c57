"""Triplet ranking losses with in-batch negatives: all of them, or the hardest."""

import torch
import torch.nn.functional as F
from torch import Tensor


def positives_from_ids(image_ids: Tensor, text_ids: Tensor) -> Tensor:
    """Return which texts belong to which images, from the image id of each.

    Args:
        image_ids: (I,) integer id of each image.
        text_ids: (T,) integer id of the image that each text describes.

    Returns:
        (I, T) bool. Two captions of one image are both positives, so they never serve as each other's negatives.

    Example:
        >>> import torch
        >>> from lib.losses import positives_from_ids
        >>> positives_from_ids(torch.tensor([7, 8]), torch.tensor([7, 7, 8]))
        tensor([[ True,  True, False],
                [False, False,  True]])
    """
    return image_ids[:, None] == text_ids[None, :]


def positive_pairs(similarity: Tensor, positives: Tensor) -> tuple[Tensor, Tensor]:
    """Return the (image, text) indices of the positive pairs, each (P,), after checking the two matrices.

    Raises:
        ValueError: the shapes differ, the mask is not boolean, or no pair is positive.
    """
    if similarity.ndim != 2 or similarity.shape != positives.shape:
        raise ValueError(
            f"similarity and positives must be matrices of one shape (images, texts), got "
            f"{tuple(similarity.shape)} and {tuple(positives.shape)}"
        )
    if positives.dtype != torch.bool:
        raise ValueError(f"positives must be boolean, got {positives.dtype}")
    image, text = positives.nonzero(as_tuple=True)
    if not len(image):
        raise ValueError("positives has no True entry: a batch without a matching pair has no loss")
    return image, text


def at_least_float32(vectors: Tensor) -> Tensor:
    """Return the vectors in float32, or in float64 if they are: half precision tells cosines apart too badly."""
    return vectors.to(torch.promote_types(vectors.dtype, torch.float32))


def mean_of_smallest(values: Tensor, keep: float) -> Tensor:
    """Return the mean of the smallest `keep` of the values (P,), at least one of them.

    Small-loss selection (Han et al. 2018, Co-teaching): while a network still learns what the data have in common, the
    pairs that it finds hardest are the mislabelled ones.

    Raises:
        ValueError: `keep` is not in (0, 1].
    """
    if not 0 < keep <= 1:
        raise ValueError(f"keep is {keep}, a share above 0 and at most 1")
    kept = max(1, round(keep * len(values)))
    return values.mean() if kept == len(values) else values.topk(kept, largest=False).values.mean()


def sum_of_hinges(similarity: Tensor, positives: Tensor, margin: float | Tensor = 0.2, keep: float = 1.0) -> Tensor:
    """Return the triplet loss summed over every negative of the batch, in both directions.

    For each positive pair (i, t): `sum_t' [margin - s(i, t) + s(i, t')]+ + sum_i' [margin - s(i, t) + s(i', t)]+`,
    averaged over the positive pairs. Kiros et al. 2014; VSE in Mithun et al. 2018, Eq. 1. (The authors' programs
    sum over the batch as well, so their learning rates depend on its size.)

    With one positive for each image in a batch of n, it is worth about `2 * margin * (n - 1)` at chance in many
    dimensions, and exactly that at collapse.

    Args:
        similarity: (I, T) scores, cosine in the papers.
        positives: (I, T) bool, True where the text describes the image.
        margin: by how much a positive must lead, in units of the scores; or (I, T), by how much it must lead each
            negative, for negatives that may be half true (`soft_margin`).
        keep: share of the positive pairs that count, those of smallest loss (`mean_of_smallest`).

    Returns:
        Scalar. Zero once every positive leads every negative by the margin.

    Raises:
        ValueError: see `positive_pairs`.

    Example:
        Image 0 leads its negatives by 0.1 and 0.2 where 0.2 is asked for, image 1 by more.

        >>> import torch
        >>> from lib.losses import sum_of_hinges
        >>> similarity = torch.tensor([[0.5, 0.4], [0.3, 0.9]])
        >>> round(float(sum_of_hinges(similarity, torch.eye(2, dtype=torch.bool))), 3)
        0.05
    """
    image, text = positive_pairs(similarity, positives)
    positive = similarity[image, text][:, None]
    raised = similarity + margin
    other_texts = (raised[image] - positive).clamp(min=0).masked_fill(positives[image], 0)
    other_images = (raised.T[text] - positive).clamp(min=0).masked_fill(positives.T[text], 0)
    return mean_of_smallest(other_texts.sum(1) + other_images.sum(1), keep)


def max_of_hinges(similarity: Tensor, positives: Tensor, margin: float | Tensor = 0.2, keep: float = 1.0) -> Tensor:
    """Return the triplet loss of the hardest negative only, in both directions.

    For each positive pair (i, t): `[margin - s(i, t) + max_t' s(i, t')]+ + [margin - s(i, t) + max_i' s(i', t)]+`,
    averaged over the positive pairs. VSE++, Faghri et al. 2018; Mithun et al. 2018, Eq. 2.

    From scratch it can collapse: pulling the hardest negative and the positive to one point costs `2 * margin`, less
    than a random embedding does. Start with `sum_of_hinges` for an epoch (`fit(loss={0: sum_of_hinges,
    1: max_of_hinges})`, as VSE-infinity does), or with a smaller learning rate.

    At collapse it is worth exactly `2 * margin`; at chance more, by twice the expected lead of the largest of
    n - 1 random similarities over another one.

    Of equally hard negatives the first one gets the gradient, as in the authors' program.

    Args:
        similarity, positives, margin, keep: as for `sum_of_hinges`.

    Returns:
        Scalar. Zero once every positive leads every negative by the margin.

    Raises:
        ValueError: see `positive_pairs`.

    Example:
        The three hinges of image 0 cost 0.1, 0.15 and 0; only the largest in each direction counts.

        >>> import torch
        >>> from lib.losses import max_of_hinges, sum_of_hinges
        >>> similarity = torch.tensor([[0.5, 0.4, 0.45], [0.0, 0.9, 0.0], [0.0, 0.0, 0.9]])
        >>> pairs = torch.eye(3, dtype=torch.bool)
        >>> [round(3 * float(loss(similarity, pairs)), 3) for loss in (max_of_hinges, sum_of_hinges)]
        [0.15, 0.25]
    """
    image, text = positive_pairs(similarity, positives)
    raised = (similarity + margin).masked_fill(positives, -torch.inf)
    hardest_text = (raised.max(1).values[image] - similarity[image, text]).clamp(min=0)
    hardest_image = (raised.max(0).values[text] - similarity[image, text]).clamp(min=0)
    return mean_of_smallest(hardest_text + hardest_image, keep)


def soft_margin(targets: Tensor, margin: float = 0.2) -> Tensor:
    """Return the (N, N) margins of soft positives: the more two targets are alike, the less the wrong one must trail.

    `margin * (1 - max(0, cosine))`, so that a web picture with the same tags is no negative at all: the idea of the
    semantic adaptive margin (Biten et al. 2022), with frozen tag vectors to say what is alike.

    Args:
        targets: (N, F) frozen vectors of the texts of a batch, one for each image.
        margin: between unrelated ones.

    Returns:
        (N, N) margins for `sum_of_hinges` and `max_of_hinges`.

    Example:
        >>> import torch
        >>> from lib.losses import soft_margin
        >>> soft_margin(torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]), margin=0.5)
        tensor([[0.0000, 0.0000, 0.5000],
                [0.0000, 0.0000, 0.5000],
                [0.5000, 0.5000, 0.0000]])
    """
    directions = F.normalize(at_least_float32(targets), dim=1)
    return margin * (1 - (directions @ directions.T).clamp(0, 1))
