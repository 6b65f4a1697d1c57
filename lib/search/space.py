"""The small joint space behind the search page: two linear maps on frozen features, learned in seconds."""

import functools

import torch
from torch import Tensor
from torch.nn import functional as F

from lib.data import Corpus
from lib.losses import info_nce
from lib.models import CCA, JointEmbedding, Projection
from lib.text.transformer import MiniLM
from lib.training import Pairs, TrainConfig, fit
from lib.vision import extract_features

DIM, RIDGE, TEMPERATURE, DROPOUT = 128, 1.0, 0.1, 0.5  # chosen on validation in notebook 04


def training_pairs(corpus: Corpus, device: str = "auto") -> Pairs:
    """Frozen features of the pictures and MiniLM vectors of their texts: captions, tags, and the mean of both.

    Raises ValueError where no picture has a text.
    """
    minilm = MiniLM(device=device)
    vectors, owners = [], []
    for texts, owner in (corpus.texts(), corpus.tag_texts()):
        vectors.append(torch.from_numpy(minilm.transform(texts).copy()))
        owners.append(torch.from_numpy(owner))
    captions, tags = vectors
    first = {int(image): row for row, image in reversed(list(enumerate(owners[0])))}  # picture -> its first caption
    both = [(first[int(image)], row) for row, image in enumerate(owners[1]) if int(image) in first]
    if both:
        caption, tag = torch.tensor(both).T
        vectors.append(F.normalize(captions[caption] + tags[tag], dim=1))
        owners.append(owners[1][tag])
    return Pairs(features(corpus, device), torch.cat(vectors), torch.cat(owners))


def features(corpus: Corpus, device: str = "auto") -> Tensor:
    """Frozen image features (N, 1280) of all pictures, from the cache where they were computed before."""
    return torch.from_numpy(extract_features(corpus.images, device=device, progress=False).copy())


def new_space(image_dim: int, text_dim: int, dim: int) -> JointEmbedding:
    """Two linear maps with random weights."""
    return JointEmbedding(Projection(image_dim, dim, dropout=DROPOUT), Projection(text_dim, dim, dropout=DROPOUT))


def learn_space(train: Pairs, val: Pairs | None, epochs: int = 15, seed: int = 0, device: str = "auto"):
    """A JointEmbedding that starts at canonical correlation analysis and goes on with InfoNCE (notebook 04).

    train: features and text vectors; val: chooses the epoch, None keeps the last. Returns the model, on the CPU.
    """
    rows = train.image_rows(train.image_of_text)
    dim = min(DIM, rows.shape[1], train.texts.shape[1], len(rows) - 1)
    cca = CCA(dim, ridge=RIDGE, power=1.0).fit(rows, train.texts)
    torch.manual_seed(seed)
    model = new_space(rows.shape[1], train.texts.shape[1], dim)
    cca.put_into(model.image, model.sentence)
    config = TrainConfig(epochs, 128, 1e-4, weight_decay=0.01, schedule="cosine", seed=seed)
    fit(
        model,
        train,
        config,
        functools.partial(info_nce, temperature=TEMPERATURE),
        val=val,
        device=device,
        progress=False,
    )
    return model.cpu()


@torch.no_grad()
def image_vectors(model: JointEmbedding, features: Tensor) -> Tensor:
    """Unit vectors (N, dim) of image features (N, D)."""
    return model.encode_images(features)
