"""Generators between frozen features: from a picture's vector to its text's, and back."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lib.models import Dropout
from lib.systems.crcgs.items import LabelledItems
from lib.training import History, TrainConfig, fit
from lib.training.batches import epoch_seed


class FeatureGenerator(nn.Module):
    """Generate the feature of the other modality; its narrow middle layer is the generative feature.

    Dropout, two layers with ReLU down to the generative feature, two layers up to the target. Teacher of CRCGS (Zhang
    et al. 2022), after Liu et al., "Two-Teacher One-Student" (TCSVT 2021): 4096-2048-1024-2000-2000 units for images to
    texts there, with a last ReLU because both features there are never negative.

    Args:
        source_dim, target_dim: sizes of the two features.
        hidden: units of the outer layers.
        dim: size of the generative feature.
        dropout: share of the source's numbers that training hides.
        relu_output: for targets that are never negative (bags of words, ReLU features).
    """

    def __init__(
        self,
        source_dim: int,
        target_dim: int,
        hidden: int = 2048,
        dim: int = 1024,
        dropout: float = 0.3,
        relu_output: bool = False,
    ):
        super().__init__()
        self.encoder = nn.Sequential(
            Dropout(dropout), nn.Linear(source_dim, hidden), nn.ReLU(), nn.Linear(hidden, dim), nn.ReLU()
        )
        self.target_dim = target_dim
        self.decoder = nn.Sequential(nn.Linear(dim, hidden), nn.ReLU(), nn.Linear(hidden, target_dim))
        if relu_output:
            self.decoder.append(nn.ReLU())

    def forward(self, source: Tensor) -> Tensor:
        """Return the generated target features (B, target_dim) of source features (B, source_dim)."""
        return self.decoder(self.encoder(source))


class Generators(nn.Module):
    """The two teachers, frozen once they are trained.

    Args:
        image_to_text: from image features; text_to_image: from text features. Both have generative features of one
            size.
    """

    def __init__(self, image_to_text: FeatureGenerator, text_to_image: FeatureGenerator):
        super().__init__()
        self.image_to_text, self.text_to_image = image_to_text, text_to_image

    def freeze(self) -> "Generators":
        """Take the teachers out of training: no gradient to their weights, no dropout. Returns itself."""
        return self.eval().requires_grad_(False)

    @torch.no_grad()
    def features(self, images: Tensor, texts: Tensor) -> tuple[Tensor, Tensor]:
        """Return the generative features g_v, g_t (B, dim) of image and text features."""
        return self.image_to_text.encoder(images), self.text_to_image.encoder(texts)


@dataclass(frozen=True)
class FeaturePairs:
    """Sources (N, D) and the targets (N, E) that a generator is to reach; also its validation, by the mean error."""

    sources: Tensor
    targets: Tensor
    chooses = "loss"

    def __len__(self) -> int:
        return len(self.sources)

    def turned(self) -> "FeaturePairs":
        """The same pairs, from the targets to the sources."""
        return FeaturePairs(self.targets, self.sources)

    def epoch(
        self, batch_size: int, seed: int, epoch: int, device: torch.device | str = "cpu"
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield batches of sources and targets; a pure function of `seed` and `epoch`."""
        generator = torch.Generator().manual_seed(epoch_seed(seed, epoch))
        for rows in torch.randperm(len(self), generator=generator).split(batch_size):
            yield self.sources[rows].to(device), self.targets[rows].to(device)

    @torch.no_grad()
    def scores(self, model: nn.Module, device: torch.device) -> dict[str, float]:
        """Return the mean absolute error of all targets."""
        model.eval()
        return {"loss": float(F.l1_loss(model(self.sources.to(device)), self.targets.to(device)))}


def generation(generator: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    """Return the mean absolute error of the generated features: the objective of the generators."""
    sources, targets = batch
    return F.l1_loss(generator(sources).float(), targets)


def generation_config(epochs: int, batch_size: int = 80, learning_rate: float = 1e-3, seed: int = 0) -> TrainConfig:
    """Return how the generators are trained. The paper gives the loss and nothing else; this is ours.

    Adam with the betas of CRCGS, gradients cut at norm 1, and the rate halved after two epochs without a smaller
    validation error, whose smallest chooses the epoch.
    """
    return TrainConfig(
        epochs,
        batch_size,
        learning_rate,
        schedule="plateau",
        decay_every=2,
        clip_norm=1.0,
        betas=(0.5, 0.999),
        seed=seed,
    )


def fit_generators(
    train: LabelledItems,
    val: LabelledItems,
    config: TrainConfig,
    hidden: int = 2048,
    dim: int = 1024,
    relu_output: bool = False,
    device: str = "auto",
) -> tuple[Generators, tuple[History, History]]:
    """Return both teachers, trained on the pairs of the items and frozen, and their histories.

    Args:
        train, val: the items; the epoch of smallest validation error is kept.
        config: see `generation_config`; its seed is also that of the first weights.
        hidden, dim, relu_output: see `FeatureGenerator`.
        device: as in `fit`.
    """
    sizes = train.images.shape[1], train.texts.shape[1]
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        there, back = (FeatureGenerator(*ends, hidden, dim, relu_output=relu_output) for ends in (sizes, sizes[::-1]))
    of_train, of_val = FeaturePairs(train.images, train.texts), FeaturePairs(val.images, val.texts)
    options: dict[str, Any] = {"objective": generation, "device": device, "progress": False}
    histories = (
        fit(there, of_train, config, val=of_val, **options),
        fit(back, of_train.turned(), config, val=of_val.turned(), **options),
    )
    return Generators(there, back).freeze(), histories
