"""Training on items with labels: the loop that keeps the epoch of highest validation mAP, and the baselines."""

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from lib.base.device import resolve_device
from lib.evaluation.categories import CLEAN, evaluate_categories
from lib.losses import info_nce
from lib.losses.category import (
    dcmh_loss,
    discriminative_loss,
    hash_loss,
    projection_classification,
    projection_matching,
    shared_labels,
)
from lib.training.batches import epoch_seed
from lib.training.loop import History


@dataclass(frozen=True)
class LabelledItems:
    """Images with one text each and labels.

    images: (N, D) float; texts: (N, E) float; labels: (N, C) bool, at least one a row. Raises ValueError naming the
    part and the first bad row.
    """

    images: Tensor
    texts: Tensor
    labels: Tensor

    def __post_init__(self):
        object.__setattr__(self, "labels", torch.as_tensor(self.labels))
        for name in ("texts", "labels"):
            if len(getattr(self, name)) != len(self.images):
                raise ValueError(f"{name} has {len(getattr(self, name))} rows, images has {len(self.images)}")
        bare = (~self.labels.any(1)).nonzero()
        if len(bare):
            raise ValueError(f"item {int(bare[0])} has no label; leave items without labels out")

    def __len__(self) -> int:
        return len(self.images)

    def take(self, rows: Tensor, device: torch.device | str = "cpu") -> "LabelledItems":
        """The items at these rows, on a device."""
        return LabelledItems(*(part[rows].to(device) for part in (self.images, self.texts, self.labels)))


Objective = Callable[[nn.Module, LabelledItems], Tensor]


@dataclass(frozen=True)
class CategoryConfig:
    """How to train; the defaults are CRCGS's for MIRFLICKR.

    plateau: halve the rate after five epochs without a better validation mAP (published for COCO alone).
    """

    epochs: int = 20
    batch_size: int = 80
    learning_rate: float = 1e-4
    weight_decay: float = 0.0
    betas: tuple[float, float] = (0.5, 0.999)
    plateau: bool = False
    seed: int = 0


def embed(model: nn.Module, items: LabelledItems, batch_size: int = 4096) -> tuple[Tensor, Tensor]:
    """Return image and text features (N, D) of all items on the CPU, of the model in eval mode."""
    model.eval()
    device = next(model.parameters()).device
    parts = torch.arange(len(items)).split(batch_size)
    with torch.no_grad():
        images = [model.encode_images(items.images[rows].to(device)).cpu() for rows in parts]
        texts = [model.encode_sentences(items.texts[rows].to(device)).cpu() for rows in parts]
    return torch.cat(images), torch.cat(texts)


def fit_categories(
    model: nn.Module,
    train: LabelledItems,
    config: CategoryConfig,
    objective: Objective,
    *,
    val: LabelledItems | None = None,
    codes: bool = False,
    device: str = "auto",
) -> History:
    """Train `model` in place and leave it in eval mode with the weights of its epoch of highest validation mAP.

    objective: called as `objective(model, batch) -> scalar`; one that is an `nn.Module` has its weights trained as
    well. val: its halves search each other (protocol "clean"); without it the last weights stay. codes: score the signs
    of the outputs. Returns one row an epoch: epoch, loss, seconds, val_map_i2t, val_map_t2i, val_map_avg.

    Raises FloatingPointError when the loss is not finite.
    """
    device = resolve_device(device)
    modules = nn.ModuleList([model, *([objective] if isinstance(objective, nn.Module) else [])]).to(device)
    parameters = [parameter for parameter in modules.parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW(
        parameters, config.learning_rate, betas=config.betas, weight_decay=config.weight_decay, fused=True
    )
    schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(optimiser, "max", 0.5, patience=5, min_lr=1e-6)
    history, best, highest = History(), None, -1.0
    for epoch in range(config.epochs):
        started, losses = time.perf_counter(), []
        modules.train()
        with torch.random.fork_rng():
            torch.manual_seed(epoch_seed(config.seed, epoch))
            for rows in torch.randperm(len(train)).split(config.batch_size):
                if len(rows) < 2:
                    continue
                value = objective(model, train.take(rows, device))
                optimiser.zero_grad(set_to_none=True)
                value.backward()
                optimiser.step()
                losses.append(value.detach())
        row = {"epoch": epoch, "loss": float(torch.stack(losses).mean()), "seconds": time.perf_counter() - started}
        if not np.isfinite(row["loss"]):
            raise FloatingPointError(f"the loss became {row['loss']} in epoch {epoch}")
        if val is not None:
            scores = evaluate_categories(
                *embed(model, val), val.labels.numpy(), np.full(len(val), "test"), CLEAN, codes=codes
            )
            row |= {f"val_{name}": value for name, value in scores.as_dict().items()}
            if config.plateau:
                schedule.step(row["val_map_avg"])
        history.rows.append(row)
        if val is None or row["val_map_avg"] > highest:
            highest = row.get("val_map_avg", highest)
            best = copy.deepcopy(model.state_dict())
    model.load_state_dict(best)
    model.eval()
    return history


def dscmr(classification: float = 1.0, likelihood: float = 1.0, gap: float = 1e-3) -> Objective:
    """The objective of DSCMR, for a `CategoryNetwork`: the base of the ablation."""

    def objective(model: nn.Module, batch: LabelledItems) -> Tensor:
        images, texts = model.encode_images(batch.images), model.encode_sentences(batch.texts)
        logits = model.classifier(images), model.classifier(texts)
        return discriminative_loss(images, texts, *logits, batch.labels, classification, likelihood, gap)

    return objective


def projection() -> Objective:
    """The objective of deep cross-modal projection, CMPM + CMPC, with the classifier's weights as class vectors."""

    def objective(model: nn.Module, batch: LabelledItems) -> Tensor:
        images, texts = model.encode_images(batch.images), model.encode_sentences(batch.texts)
        alike = shared_labels(batch.labels) > 0
        classified = projection_classification(images, texts, model.classifier.weight, batch.labels)
        return projection_matching(images, texts, alike) + classified

    return objective


def contrastive(temperature: float = 0.1) -> Objective:
    """The objective of CLIP: find the partner among the batch; labels are not used."""

    def objective(model: nn.Module, batch: LabelledItems) -> Tensor:
        images, texts = model.encode_images(batch.images), model.encode_sentences(batch.texts)
        cosine = nn.functional.normalize(images, dim=1) @ nn.functional.normalize(texts, dim=1).T
        return info_nce(cosine, torch.eye(len(batch), dtype=torch.bool, device=cosine.device), temperature)

    return objective


def dcmh(quantisation: float = 1.0, balance: float = 1.0) -> Objective:
    """The objective of deep cross-modal hashing, for a network whose `dim` is the number of bits."""

    def objective(model: nn.Module, batch: LabelledItems) -> Tensor:
        images, texts = model.encode_images(batch.images), model.encode_sentences(batch.texts)
        return dcmh_loss(images, texts, shared_labels(batch.labels) > 0, quantisation, balance)

    return objective


class HashedNetwork(nn.Module):
    """A hash layer for both modalities on top of features that are already there."""

    def __init__(self, layer: nn.Module):
        super().__init__()
        self.layer = layer

    def encode_images(self, features: Tensor) -> Tensor:
        """Return the K numbers of retrieval features whose signs are the bits."""
        return self.layer(features)

    encode_sentences = encode_images


def hashing(structure: float = 1.0, likelihood: float = 1.0, quantisation: float = 0.0) -> Objective:
    """The objective of the hash layer of CRCGS, on items that hold the features of the trained network.

    (The published program for MIRFLICKR and NUS-WIDE stops here with a NameError: it adds a term `loss_c` that it never
    defines. Its program for COCO has no such term, and this is that one.)
    """

    def objective(model: nn.Module, batch: LabelledItems) -> Tensor:
        bits = model.encode_images(batch.images), model.encode_sentences(batch.texts)
        alike = shared_labels(batch.labels) > 0
        return hash_loss(batch.images, batch.texts, *bits, alike, structure, likelihood, quantisation)

    return objective


def fit_hash_layer(
    network: nn.Module,
    layer: nn.Module,
    train: LabelledItems,
    config: CategoryConfig,
    *,
    val: LabelledItems | None = None,
    quantisation: float = 0.0,
    device: str = "auto",
) -> tuple[HashedNetwork, History]:
    """Train a hash layer on the frozen features of a trained network; validation mAP is that of the codes.

    quantisation: weight of the distance of the bits from their signs, 0 in the published programs. Without it the signs
    at test time are further from what was trained.
    """
    hashed = HashedNetwork(layer)
    of_train = LabelledItems(*embed(network, train), train.labels)
    of_val = None if val is None else LabelledItems(*embed(network, val), val.labels)
    objective = hashing(quantisation=quantisation)
    return hashed, fit_categories(hashed, of_train, config, objective, val=of_val, codes=True, device=device)
