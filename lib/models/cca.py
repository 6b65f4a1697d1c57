"""Canonical correlation analysis: the joint space that needs no gradient step."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lib.models.interface import Texts, text_vectors

LEARNED = ("image_mean", "text_mean", "image_map", "text_map", "correlations")


class CCA(nn.Module):
    """Find the linear maps of two views whose outputs correlate most, in closed form.

    Solves the whitened cross-covariance's singular value decomposition (Hotelling 1936) in float64 with a ridge on
    each covariance. Each direction is scaled by its correlation to the power `power`, which ranks far better than
    unscaled directions (Gong et al. 2014, Eq. 4, who use 4).

    A model like the others, which `validate` takes and `state_dict` keeps; it has no parameter to train. What it has
    learned: image_mean (D,), text_mean (E,), image_map (D, dim), text_map (E, dim), correlations (dim,), all float64
    and empty before `fit`.

    Args:
        dim: directions kept.
        ridge: added to each covariance's diagonal, as a share of its mean diagonal.
        power: of the correlations that scale the directions; 0 leaves them unscaled.
    """

    image_mean: Tensor
    text_mean: Tensor
    image_map: Tensor
    text_map: Tensor
    correlations: Tensor

    def __init__(self, dim: int = 128, ridge: float = 0.1, power: float = 4.0):
        super().__init__()
        self.dim, self.ridge, self.power = dim, ridge, power
        for name in LEARNED:
            self.register_buffer(name, torch.empty(0, dtype=torch.float64))

    def fit(self, images: Tensor, texts: Tensor) -> "CCA":
        """Fit to (N, D) image and (N, E) text features, row i of one belonging to row i of the other.

        Raises:
            ValueError: the two have different numbers of rows, fewer than two, or a number that is not finite; all
                rows of one are equal; or `dim` exceeds what they can give.
        """
        if len(images) != len(texts):
            raise ValueError(f"CCA needs pairs: got {len(images)} images and {len(texts)} texts")
        if len(images) < 2:
            raise ValueError(f"CCA needs at least two pairs, got {len(images)}: one has nothing to vary with")
        if self.dim > min(images.shape[1], texts.shape[1], len(images) - 1):
            raise ValueError(f"dim {self.dim} exceeds what {tuple(images.shape)} and {tuple(texts.shape)} can give")
        for name, rows in (("image", images), ("text", texts)):
            if not torch.isfinite(rows).all():
                raise ValueError(f"CCA: the {name} features have a number that is not finite")
            if (rows == rows[0]).all():
                raise ValueError(f"CCA: all {len(rows):,} {name} features are equal: nothing in them can correlate")
        x, y = images.double(), texts.double()
        self.image_mean, self.text_mean = x.mean(0), y.mean(0)
        x, y = x - self.image_mean, y - self.text_mean
        whiten_x, whiten_y = self._whitening(x), self._whitening(y)
        u, correlations, vt = torch.linalg.svd(whiten_x.T @ (x.T @ y / len(x)) @ whiten_y, full_matrices=False)
        self.correlations = correlations[: self.dim]
        scale = self.correlations.clamp(min=0) ** self.power
        self.image_map = whiten_x @ u[:, : self.dim] * scale
        self.text_map = whiten_y @ vt.T[:, : self.dim] * scale
        return self

    def put_into(self, images: nn.Module, texts: nn.Module) -> None:
        """Make these maps the weights of two branches (`nn.Sequential`) that end in a linear layer, as `Projection`.

        Each map gets the norm 16: no cosine notices the scale, but the learning rate does.

        Raises:
            TypeError: a branch ends in something else than a linear layer.
        """
        for branch, weights, mean in (
            (images, self.image_map, self.image_mean),
            (texts, self.text_map, self.text_mean),
        ):
            last = branch[-1] if isinstance(branch, nn.Sequential) else branch
            if not isinstance(last, nn.Linear):
                raise TypeError(f"the maps of CCA go into a linear layer, but the branch ends in {last}")
            weights = 16 * weights / weights.norm()
            last.weight.data.copy_(weights.T)
            last.bias.data.copy_(-mean @ weights)

    def _whitening(self, centred: Tensor) -> Tensor:
        """Return W (D, D) with W' C W = 1 for the ridged covariance C of (N, D) centred rows."""
        covariance = centred.T @ centred / len(centred)
        covariance.diagonal().add_(self.ridge * covariance.diagonal().mean())
        values, directions = torch.linalg.eigh(covariance)
        return directions / values.clamp(min=1e-12 * values[-1]).sqrt()

    def encode_images(self, images: Tensor) -> Tensor:
        """Return (N, dim) float32 canonical variables of (N, D) image features; compare them by cosine."""
        return self._encode(images, self.image_mean, self.image_map)

    def encode_sentences(self, sentences: Texts) -> Tensor:
        """Return (N, dim) float32 canonical variables of (N, E) text features; compare them by cosine."""
        return self._encode(text_vectors(sentences, "CCA"), self.text_mean, self.text_map)

    def forward(self, images: Tensor, sentences: Texts) -> Tensor:
        """Return the (I, T) cosine similarities of image and text features."""
        left, right = self.encode_images(images), self.encode_sentences(sentences)
        return F.normalize(left, dim=1) @ F.normalize(right, dim=1).T

    def _encode(self, features: Tensor, mean: Tensor, weights: Tensor) -> Tensor:
        if not weights.numel():
            raise RuntimeError("this CCA has learned nothing yet: call fit, or load a state dict")
        return ((features.to(mean) - mean) @ weights).float()  # in the precision and on the device of the maps

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        for name in LEARNED:  # the sizes are those of the data it was fitted to
            if prefix + name in state_dict:
                setattr(self, name, state_dict[prefix + name].to(getattr(self, name), copy=True))
        super()._load_from_state_dict(state_dict, prefix, *args)
