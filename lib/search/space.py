"""The small joint space behind the search page: two linear maps on frozen features, learned in seconds."""

import functools

import torch
from torch import Tensor

from lib.losses import info_nce
from lib.models import CCA, JointEmbedding
from lib.systems.frozen import from_cca
from lib.training import Pairs, TrainConfig, fit

DIM, RIDGE, TEMPERATURE, DROPOUT = 128, 1.0, 0.1, 0.5  # chosen on validation in notebook 04


def learn_space(train: Pairs, val: Pairs | None, epochs: int = 15, seed: int = 0, device: str = "auto"):
    """A JointEmbedding that starts at canonical correlation analysis and goes on with InfoNCE (notebook 04).

    train: `frozen_pairs`; val: chooses the epoch, None keeps the last. Returns the model, on the CPU.
    """
    rows = train.image_rows(train.image_of_text)
    dim = max(1, min(DIM, rows.shape[1], train.texts.shape[1], len(rows) - 1))
    cca = CCA(dim, ridge=RIDGE, power=1.0).fit(rows, train.texts)
    model = from_cca(cca, DROPOUT, seed=seed)
    config = TrainConfig(epochs, 128, 1e-4, weight_decay=0.01, schedule="cosine", seed=seed)
    loss = functools.partial(info_nce, temperature=TEMPERATURE)
    fit(model, train, config, loss, val=val, device=device, progress=False)
    return model.cpu()


@torch.no_grad()
def image_vectors(model: JointEmbedding, features: Tensor) -> Tensor:
    """Unit vectors (N, dim) of image features (N, D)."""
    return model.encode_images(features)
