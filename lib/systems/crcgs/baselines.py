"""What CRCGS is compared with: objectives of DSCMR, CMPM + CMPC, CLIP and DCMH on items with labels."""

import torch
from torch import Tensor, nn

from lib.losses import info_nce
from lib.losses.category import (
    dcmh_loss,
    discriminative_loss,
    pair_likelihoods,
    projection_classification,
    projection_matching,
    shared_labels,
)
from lib.systems.crcgs.items import LabelledItems
from lib.systems.crcgs.networks import CategoryNetwork
from lib.training import Objective


def discriminative(classification: float = 1.0, likelihood: float = 1.0, gap: float = 1e-3) -> Objective:
    """The objective L_o alone, for a `CategoryNetwork`: the base of the ablation, DSCMR for several labels an item."""

    def objective(model: CategoryNetwork, batch: LabelledItems) -> Tensor:
        images, texts = _encoded(model, batch)
        logits = model.classifier(images), model.classifier(texts)
        return discriminative_loss(images, texts, *logits, batch.labels, classification, likelihood, gap)

    return objective


def dscmr(likelihood: float = 1e-3, gap: float = 0.1) -> Objective:
    """The objective of DSCMR (Zhen et al. 2019) by its own loss, with the weights of its published program.

    The distance of the classifier's outputs from the labels, `mean_i |y_i - P s_i|` on both sides, and the two other
    terms of `discriminative_loss`.
    """

    def objective(model: CategoryNetwork, batch: LabelledItems) -> Tensor:
        images, texts = _encoded(model, batch)
        target = batch.labels.float()
        labelled = sum((model.classifier(side).float() - target).norm(dim=1).mean() for side in (images, texts))
        pairs = pair_likelihoods(images, texts, shared_labels(batch.labels) > 0)
        return labelled + likelihood * pairs + gap * (images - texts).norm(dim=1).mean()

    return objective


def projection() -> Objective:
    """The objective of deep cross-modal projection, CMPM + CMPC, with the classifier's weights as class vectors."""

    def objective(model: CategoryNetwork, batch: LabelledItems) -> Tensor:
        images, texts = _encoded(model, batch)
        alike = shared_labels(batch.labels) > 0
        classified = projection_classification(images, texts, model.classifier.weight, batch.labels)
        return projection_matching(images, texts, alike) + classified

    return objective


def contrastive(temperature: float = 0.1) -> Objective:
    """The objective of CLIP: find the partner among the batch; labels are not used."""

    def objective(model: CategoryNetwork, batch: LabelledItems) -> Tensor:
        images, texts = _encoded(model, batch)
        cosine = nn.functional.normalize(images, dim=1) @ nn.functional.normalize(texts, dim=1).T
        return info_nce(cosine, torch.eye(len(batch), dtype=torch.bool, device=cosine.device), temperature)

    return objective


def dcmh(quantisation: float = 1.0, balance: float = 1.0) -> Objective:
    """The objective of deep cross-modal hashing, for a network whose `dim` is the number of bits."""

    def objective(model: CategoryNetwork, batch: LabelledItems) -> Tensor:
        images, texts = _encoded(model, batch)
        return dcmh_loss(images, texts, shared_labels(batch.labels) > 0, quantisation, balance)

    return objective


def _encoded(model: CategoryNetwork, batch: LabelledItems) -> tuple[Tensor, Tensor]:
    return model.encode_images(batch.images).float(), model.encode_sentences(batch.texts).float()
