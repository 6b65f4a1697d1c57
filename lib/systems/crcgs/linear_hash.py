"""A linear hash of features that exist already: principal components, turned so that signs lose least."""

import torch
from torch import Tensor


class LinearHash:
    """Iterative quantisation (ITQ, Gong and Lazebnik, CVPR 2011), the plain way to codes.

    Centre the features, keep their first principal components, and rotate these so that they lie close to the corners
    of a cube: alternate between the nearest corners and the rotation that comes closest to them (Procrustes).

    Args:
        bits: of the code, at most the size of the features.
        rotations: rounds; 0 takes the signs of the principal components.
        seed: of the rotation it starts from.
    """

    def __init__(self, bits: int, rotations: int = 50, seed: int = 0):
        self.bits, self.rotations, self.seed = bits, rotations, seed

    def fit(self, features: Tensor) -> "LinearHash":
        """Fit to the features (N, D) of both modalities, one below the other.

        Raises:
            ValueError: more bits than dimensions or items.
        """
        if self.bits > min(features.shape):
            raise ValueError(f"{self.bits} bits from features of shape {tuple(features.shape)}")
        self.mean = features.mean(0)
        centred = (features - self.mean).double()
        components = torch.linalg.eigh(centred.T @ centred).eigenvectors.flip(1)[:, : self.bits]
        reduced = centred @ components
        generator = torch.Generator().manual_seed(self.seed)
        rotation = torch.eye(self.bits, dtype=torch.float64)
        if self.rotations:
            rotation = torch.linalg.qr(torch.randn(self.bits, self.bits, generator=generator, dtype=torch.float64))[0]
        for _ in range(self.rotations):
            u, _, vt = torch.linalg.svd(reduced.T @ (reduced @ rotation).sign())
            rotation = u @ vt
        self.map = (components @ rotation).float()
        return self

    def encode(self, features: Tensor) -> Tensor:
        """Return (N, bits) numbers whose signs are the bits, of features (N, D)."""
        return (features - self.mean) @ self.map
