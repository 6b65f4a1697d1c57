"""Canonical correlation analysis: the joint space that needs no gradient step."""

import torch
from torch import Tensor, nn


class CCA:
    """Find the linear maps of two views whose outputs correlate most, in closed form.

    Solves the whitened cross-covariance's singular value decomposition (Hotelling 1936) in float64 with a ridge on
    each covariance. Each direction is scaled by its correlation to the power `power`, which ranks far better than
    unscaled directions (Gong et al. 2014, Eq. 4, who use 4).

    Args:
        dim: directions kept.
        ridge: added to each covariance's diagonal, as a share of its mean diagonal.
        power: of the correlations that scale the directions; 0 leaves them unscaled.
    """

    def __init__(self, dim: int = 128, ridge: float = 0.1, power: float = 4.0):
        self.dim, self.ridge, self.power = dim, ridge, power

    def fit(self, images: Tensor, texts: Tensor) -> "CCA":
        """Fit to (N, D) image and (N, E) text features, row i of one belonging to row i of the other.

        Raises:
            ValueError: the two have different numbers of rows, or `dim` exceeds what they can give.
        """
        if len(images) != len(texts):
            raise ValueError(f"CCA needs pairs: got {len(images)} images and {len(texts)} texts")
        if self.dim > min(images.shape[1], texts.shape[1], len(images) - 1):
            raise ValueError(f"dim {self.dim} exceeds what {tuple(images.shape)} and {tuple(texts.shape)} can give")
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

    def put_into(self, images: nn.Sequential, texts: nn.Sequential) -> None:
        """Make these maps the weights of two branches that end in a linear layer, such as `Projection`.

        Each map gets the norm 16: no cosine notices the scale, but the learning rate does.
        """
        for branch, weights, mean in (
            (images, self.image_map, self.image_mean),
            (texts, self.text_map, self.text_mean),
        ):
            weights = 16 * weights / weights.norm()
            branch[-1].weight.data.copy_(weights.T)
            branch[-1].bias.data.copy_(-mean @ weights)

    def _whitening(self, centred: Tensor) -> Tensor:
        """Return W (D, D) with W' C W = 1 for the ridged covariance C of (N, D) centred rows."""
        covariance = centred.T @ centred / len(centred)
        covariance.diagonal().add_(self.ridge * covariance.diagonal().mean())
        values, vectors = torch.linalg.eigh(covariance)
        return vectors / values.clamp(min=1e-12 * values[-1]).sqrt()

    def encode_images(self, images: Tensor) -> Tensor:
        """Return (N, dim) float32 canonical variables of (N, D) image features; compare them by cosine."""
        return ((images.double() - self.image_mean) @ self.image_map).float()

    def encode_sentences(self, texts: Tensor) -> Tensor:
        """Return (N, dim) float32 canonical variables of (N, E) text features; compare them by cosine."""
        return ((texts.double() - self.text_mean) @ self.text_map).float()
