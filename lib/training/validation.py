"""Retrieval scores of a model on pairs: what a training run chooses its epoch by, and what is reported of it."""

import torch
from torch import nn

from lib.base.device import resolve_device
from lib.evaluation import Scores, evaluate, evaluate_similarity
from lib.models.interface import retrieval_model
from lib.training.batches import Pairs


@torch.no_grad()
def validate(
    model: nn.Module, pairs: Pairs, protocol: str = "full", batch_size: int = 256, device: str | torch.device = "auto"
) -> Scores:
    """Return the retrieval scores of a model on pairs, both directions.

    A model whose `encode_images` gives one vector an image is scored from its embeddings; one that gives a set of
    vectors (cross attention) from `model(images, texts)` on blocks of images and texts.

    Args:
        model: `JointEmbedding`, `CrossAttention`, or anything with their methods.
        pairs: images and texts to rank; images without a text are distractors.
        protocol: see `lib.evaluation.evaluate`.
        batch_size: images or texts encoded at a time.
        device: "auto" takes the GPU if there is one.

    Raises:
        TypeError: the model lacks one of these methods.
    """
    device = resolve_device(device)
    network = retrieval_model(model.to(device).eval())
    image_rows = torch.arange(len(pairs.images)).split(batch_size)
    text_rows = torch.arange(len(pairs)).split(batch_size)
    if network.encode_images(pairs.image_rows(image_rows[0][:1], device)).ndim == 2:
        images = torch.cat([network.encode_images(pairs.image_rows(rows, device)) for rows in image_rows])
        texts = torch.cat([network.encode_sentences(pairs.text_rows(rows, device)) for rows in text_rows])
        return evaluate(images, texts, pairs.image_of_text, protocol=protocol)
    similarity = torch.cat(
        [
            torch.cat([network(images, pairs.text_rows(rows, device)) for rows in text_rows], dim=1)
            for images in (pairs.image_rows(rows, device) for rows in image_rows)
        ]
    )
    return evaluate_similarity(similarity, pairs.image_of_text, protocol=protocol)
