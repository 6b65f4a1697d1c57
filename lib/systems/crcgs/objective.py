"""CRCGS (Zhang et al., SIGIR 2022): its objective with all parts, and its published settings."""

from dataclasses import dataclass
from functools import reduce

import torch
from torch import Tensor, nn

from lib.losses.category import discriminative_loss
from lib.systems.crcgs.generators import Generators
from lib.systems.crcgs.items import LabelledItems, category_config
from lib.systems.crcgs.losses import (
    discrimination_loss,
    feature_distillation,
    fooling_loss,
    generative_contrast,
    support_set_loss,
)
from lib.systems.crcgs.networks import CategoryNetwork, Discriminator
from lib.training import TrainConfig


@dataclass(frozen=True)
class CrcgsWeights:
    """Weights and temperatures of the terms; a weight of 0 takes a term out. The defaults are those for MIRFLICKR.

    classification, likelihood, gap: phi, alpha and beta of L_o; distillation: of L_t; adversarial: of L_ta;
    contrastive: of L_c, with its temperature; support: of L_ssl, with its temperature.
    """

    classification: float = 1.0
    likelihood: float = 1.0
    gap: float = 1e-3
    distillation: float = 0.2
    adversarial: float = 0.01
    contrastive: float = 0.03
    temperature: float = 0.2
    support: float = 1e-3
    support_temperature: float = 0.04
    discriminator_steps: int = 3


@dataclass(frozen=True)
class PublishedRun:
    """Settings of one run of the paper: weights, training, and training of the hash layer."""

    weights: CrcgsWeights
    train: TrainConfig
    hashing: TrainConfig


def _published(epochs: int, hash_epochs: int, plateau: bool = False, **weights) -> PublishedRun:
    return PublishedRun(
        CrcgsWeights(**weights),
        category_config(epochs, plateau=plateau),
        category_config(hash_epochs, 100),
    )


# As the authors' programs have them. The weight of L_ssl differs by four orders of magnitude: the program for NUS-WIDE
# leaves the option out and gets its default of 40.
PUBLISHED_RUNS = {
    "mirflickr25k-dcmh": _published(20, 30),
    "nuswide": _published(30, 60, temperature=0.07, support_temperature=0.06, support=40.0),
    "coco": _published(60, 200, plateau=True, temperature=0.1, support_temperature=0.06, gap=0.011),
}


class CrcgsObjective(nn.Module):
    """The total loss L_o + L_t + L_ta + L_c + L_ssl of a batch, for `fit` and a `CategoryNetwork`.

    Each call first takes `discriminator_steps` steps of the two discriminators on the batch (their own Adam, with the
    settings of `config`) and then returns the loss of the network: three to one in the paper.

    Args:
        generators: the frozen teachers.
        weights: of the terms.
        items: number of training items.
        config: of the training, for the discriminators and the batch size.
        published_batches: as the published program has it, count N of L_c as the number of batches in place of the
            number of training items, and take the full batch size for a smaller last batch.
        widest: most units of a discriminator's layer; the paper's have up to 2048, and take most of the time of a step.

    After a call, `terms` holds the last value of each term, unweighted.
    """

    def __init__(
        self,
        generators: Generators,
        weights: CrcgsWeights,
        items: int,
        config: TrainConfig,
        published_batches: bool = False,
        widest: int = 2048,
    ):
        super().__init__()
        self.generators, self.weights = generators, weights
        self.terms: dict[str, float] = {}
        self.base = weights.classification, weights.likelihood, weights.gap
        self.samples, self.batch_size = items, None
        self.rate, self.betas = config.learning_rate, config.betas
        if published_batches:
            self.samples, self.batch_size = -(-items // config.batch_size), config.batch_size
        if weights.adversarial:
            sizes = [side.target_dim for side in (generators.text_to_image, generators.image_to_text)]
            with torch.random.fork_rng():
                torch.manual_seed(config.seed)
                hidden = (2048, 1024, 512), (512, 64, 32)
                shapes = [tuple(min(h, widest) for h in layers) for layers in hidden]
                pairs = zip(sizes, shapes, strict=True)
                self.discriminators = nn.ModuleList(Discriminator(size, layers) for size, layers in pairs)
            self.discriminators.requires_grad_(False)  # they have an optimiser of their own
            self.optimiser = torch.optim.Adam(self.discriminators.parameters(), self.rate, betas=self.betas, fused=True)

    def get_extra_state(self) -> dict:
        """What the discriminators' optimiser remembers, for `state_dict`."""
        return self.optimiser.state_dict() if self.weights.adversarial else {}

    def set_extra_state(self, state: dict) -> None:
        """Take what `get_extra_state` gave."""
        if self.weights.adversarial:
            self.optimiser.load_state_dict(state)

    def forward(self, model: CategoryNetwork, batch: LabelledItems) -> Tensor:
        """Train the discriminators on the batch, and return the loss of the network, a scalar."""
        weights = self.weights
        images, texts = model.encode_images(batch.images).float(), model.encode_sentences(batch.texts).float()
        s_v, s_t = model.convert_image(images), model.convert_text(texts)
        g_v, g_t = self.generators.features(batch.images, batch.texts)
        logits = model.classifier(images), model.classifier(texts)
        total = discriminative_loss(images, texts, *logits, batch.labels, *self.base)
        self.terms = {"discriminative": float(total.detach())}
        for name, weight, term in (
            ("distillation", weights.distillation, lambda: feature_distillation(s_v, s_t, g_v, g_t)),
            ("adversarial", weights.adversarial, lambda: self._adversarial(s_v, s_t, g_v, g_t)),
            ("contrastive", weights.contrastive, lambda: self._contrastive(s_v, s_t, g_v, g_t)),
            ("support", weights.support, lambda: self._support(s_v, s_t, batch.labels)),
        ):
            if weight:
                value = term()
                self.terms[name] = float(value.detach())
                total = total + weight * value
        return total

    def _contrastive(self, s_v, s_t, g_v, g_t) -> Tensor:
        return generative_contrast(s_v, s_t, g_v, g_t, self.weights.temperature, self.samples, self.batch_size)

    def _support(self, s_v, s_t, labels) -> Tensor:
        return support_set_loss(s_v, s_t, labels, self.weights.support_temperature)

    def _adversarial(self, s_v, s_t, g_v, g_t) -> Tensor:
        """Decode both features into the other modality; teach the discriminators, then ask them."""
        decoders = self.generators.text_to_image.decoder, self.generators.image_to_text.decoder
        with torch.no_grad():
            real = [decode(g) for decode, g in zip(decoders, (g_t, g_v), strict=True)]
        fake = [decode(s) for decode, s in zip(decoders, (s_t, s_v), strict=True)]
        self.discriminators.requires_grad_(True)
        for _ in range(self.weights.discriminator_steps):
            pairs = zip(self.discriminators, real, fake, strict=True)
            loss = reduce(torch.add, [discrimination_loss(judge(r), judge(f.detach())) for judge, r, f in pairs])
            self.optimiser.zero_grad(set_to_none=True)
            loss.backward()
            self.optimiser.step()
        self.discriminators.requires_grad_(False)  # they are asked, not taught, by what follows
        judged = zip(self.discriminators, fake, strict=True)
        return reduce(torch.add, [fooling_loss(judge(f)) for judge, f in judged])
