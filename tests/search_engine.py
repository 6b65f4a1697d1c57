"""A search engine of a few coloured pictures, for tests of what is around it."""

import hashlib
from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image

from lib.base import checkpoint
from lib.data.corpus import Corpus
from lib.search import Engine, Index
from lib.systems.frozen import linear_model

COLOURS = ("red", "green", "blue", "white", "black", "yellow", "purple", "orange")


class ColourEngine(Engine):
    """Finds colours by vectors that a hash makes of their names: nothing is learned, and no encoder is read."""

    encoded = 0  # texts that were encoded

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Unit vectors (n, 8)."""
        self.encoded += len(texts)
        return np.stack([colour_vector(text) for text in texts])


def colour_vector(text: str) -> np.ndarray:
    """(8,) float32 of length 1."""
    seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
    vector = np.random.default_rng(seed).standard_normal(8)
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def colour_engine(images=None) -> ColourEngine:
    """An engine of one picture a colour."""
    corpus = Corpus(
        name="colours",
        image_ids=list(COLOURS),
        images=images or [Image.new("RGB", (32, 32), colour) for colour in COLOURS],
        captions=[[colour] for colour in COLOURS],
        tags=[[] for _ in COLOURS],
        labels=None,
        label_names=[],
        split=np.array(["train"] * 6 + ["test"] * 2),
        licence="CC0",
        source="made here",
        attribution="nobody",
    )
    index = Index(np.stack([colour_vector(colour) for colour in COLOURS]), corpus.image_ids)
    return ColourEngine(corpus, linear_model(8, 8, 8), index)


def save_space(engine, folder):
    """Write what learning leaves behind, without learning it."""
    checksums = engine.index.save(folder)
    state = {"model": engine.model.state_dict(), "covariance": torch.eye(8), "index": checksums}
    checkpoint.save(folder / "space.pt", state)
