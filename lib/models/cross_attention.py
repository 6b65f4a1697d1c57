"""Cross-attention similarity: every word looks for its regions, or every region for its words (SCAN)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from lib.models.interface import Texts, word_ids
from lib.models.joint_embedding import unit
from lib.models.pooling import lengths_to_mask


def cross_attention_similarity(
    regions: Tensor,
    words: Tensor,
    lengths: Tensor,
    direction: str = "t2i",
    smooth: float = 9.0,
    tile: int = 32,
) -> Tensor:
    """Return how well each text matches each image, attending between words and regions.

    "t2i": each word attends over the regions, and the similarity is the mean over the words of
    cos(word, attended regions); "i2t" exchanges the roles. The attention is
    `softmax(smooth * [cos]+ / ||[cos]+||)`, the norm taken over the attending side. SCAN, Lee et al. 2018, Eqs. 1-8
    with average pooling. (The authors' program has a leaky ReLU of slope 0.1 in place of [.]+.)

    The attended vector a = sum_r weight_r region_r is never formed: its product with the word and its length follow
    from the cosines and from the regions' inner products, which takes D / R times less work and memory. Texts come
    in tiles, recomputed in the backward pass, so that memory grows with I * tile * L * R and not with I * T * L * R.

    Args:
        regions: (I, R, D) unit vectors.
        words: (T, L, D) unit vectors.
        lengths: (T,) number of words of each text.
        direction: "t2i" or "i2t".
        smooth: inverse temperature of the attention (9 for t2i and 4 for i2t in SCAN).
        tile: texts a tile.

    Returns:
        (I, T) similarities in [-1, 1].

    Raises:
        ValueError: unknown direction.
    """
    attend = {"t2i": _words_attend, "i2t": _regions_attend}.get(direction)
    if attend is None:
        raise ValueError(f"direction must be 't2i' or 'i2t', got {direction!r}")
    columns = []
    for start in range(0, len(words), tile):
        size = lengths[start : start + tile]
        part = words[start : start + tile, : int(size.max())]
        arguments = (regions, part, lengths_to_mask(size, part.shape[1]), smooth)
        if torch.is_grad_enabled():
            columns.append(checkpoint(attend, *arguments, use_reentrant=False))
        else:
            columns.append(attend(*arguments))
    return torch.cat(columns, dim=1)


def _words_attend(regions: Tensor, words: Tensor, mask: Tensor, smooth: float) -> Tensor:
    cosine = torch.einsum("ird,tld->itlr", regions, words)
    positive = cosine.relu().masked_fill(~mask[None, :, :, None], 0)
    weight = (smooth * F.normalize(positive, dim=2)).softmax(-1)
    gram = regions @ regions.transpose(1, 2)
    return _mean_cosine(cosine, weight, torch.einsum("itlr,irs->itls", weight, gram), mask[None])


def _regions_attend(regions: Tensor, words: Tensor, mask: Tensor, smooth: float) -> Tensor:
    cosine = torch.einsum("ird,tld->itrl", regions, words)
    logits = smooth * F.normalize(cosine.relu(), dim=2)
    weight = logits.masked_fill(~mask[None, :, None, :], -torch.inf).softmax(-1)
    gram = words @ words.transpose(1, 2)
    everywhere = torch.ones(1, 1, cosine.shape[2], dtype=torch.bool, device=mask.device)
    return _mean_cosine(cosine, weight, torch.einsum("itrl,tlk->itrk", weight, gram), everywhere)


def _mean_cosine(cosine: Tensor, weight: Tensor, gram_weight: Tensor, mask: Tensor) -> Tensor:
    """Return the mean over the attending side (dim 2) of cos(attending vector, attended vector)."""
    length = (weight * gram_weight).sum(-1).clamp(min=1e-12).sqrt()
    similarity = (weight * cosine).sum(-1) / length
    return (similarity * mask).sum(-1) / mask.sum(-1)


class CrossAttention(nn.Module):
    """Stacked cross attention (SCAN, Lee et al. 2018) between image regions and words.

    Args:
        image: (I, R, F) region features -> (I, R, D), such as a `Projection`.
        sentence: (word ids, lengths) -> (T, L, D), such as a bidirectional `GRUEncoder`.
        direction, smooth: see `cross_attention_similarity`.
    """

    def __init__(self, image: nn.Module, sentence: nn.Module, direction: str = "t2i", smooth: float = 9.0):
        super().__init__()
        self.image, self.sentence, self.direction, self.smooth = image, sentence, direction, smooth

    def encode_images(self, images: Tensor) -> Tensor:
        """Return (I, R, D) unit vectors of the regions."""
        return unit(self.image(images))

    def encode_sentences(self, sentences: Texts) -> Tensor:
        """Return (T, L, D) unit vectors of the words of `Tokens`; TypeError for vectors of whole texts."""
        return unit(self.sentence(*word_ids(sentences, "CrossAttention")))

    def forward(self, images: Tensor, sentences: Texts) -> Tensor:
        """Return the (I, T) similarities of region features and the sentences of `Tokens`."""
        return cross_attention_similarity(
            self.encode_images(images),
            self.encode_sentences(sentences),
            word_ids(sentences, "CrossAttention").lengths,
            self.direction,
            self.smooth,
        )
