"""The hash layer of CRCGS, on features of the trained network."""

from torch import Tensor, nn

from lib.losses.category import hash_loss, shared_labels
from lib.models.interface import RetrievalModel
from lib.systems.crcgs.items import LabelledItems, SearchedItems, embed
from lib.training import History, Objective, TrainConfig, fit


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

    def objective(model: RetrievalModel, batch: LabelledItems) -> Tensor:
        bits = model.encode_images(batch.images).float(), model.encode_sentences(batch.texts).float()
        alike = shared_labels(batch.labels) > 0
        return hash_loss(batch.images, batch.texts, *bits, alike, structure, likelihood, quantisation)

    return objective


def fit_hash_layer(
    network: nn.Module,
    layer: nn.Module,
    train: LabelledItems,
    config: TrainConfig,
    *,
    val: LabelledItems | None = None,
    quantisation: float = 0.0,
    device: str = "auto",
    progress: bool = True,
) -> tuple[HashedNetwork, History]:
    """Train a hash layer on the frozen features of a trained network; validation mAP is that of the codes.

    Args:
        network: the trained network, and layer: K numbers of its features.
        train, val: the items that the network was trained and chosen on.
        config: see `category_config`.
        quantisation: weight of the distance of the bits from their signs, 0 in the published programs. Without it the
            signs at test time are further from what was trained.
        device, progress: as in `fit`.
    """
    hashed = HashedNetwork(layer)
    of_train = LabelledItems(*embed(network, train), train.labels)
    of_val = None if val is None else SearchedItems(LabelledItems(*embed(network, val), val.labels), codes=True)
    objective = hashing(quantisation=quantisation)
    return hashed, fit(hashed, of_train, config, objective=objective, val=of_val, device=device, progress=progress)
