"""An encoder in two parts: a frozen one that runs once a picture, and the last layers, which may learn."""

from typing import Any

import torch
from torch import Tensor, nn

from lib.vision.backbones import Backbone


class Tail(nn.Sequential):
    """The last layers of an encoder, feature maps (N, C, H, W) to vectors (N, D); they learn.

    Their batch normalisation keeps the statistics and weights of the pretraining, in training too: a picture's vector
    must not depend on its batch mates.
    """

    def __init__(self, *layers: nn.Module):
        super().__init__(*layers)
        self.requires_grad_(True)
        for layer in self._normalisations():
            layer.requires_grad_(False)
        self.train(False)

    def train(self, mode: bool = True) -> "Tail":
        super().train(mode)
        for layer in self._normalisations():
            layer.eval()
        return self

    def _normalisations(self) -> list[nn.Module]:
        return [layer for layer in self.modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm)]


class Stem(nn.Module):
    """The first layers of an encoder, frozen: pixels (N, S, S, 3) uint8 to feature maps (N, C, H, W) float32."""

    mean: Tensor
    std: Tensor

    def __init__(self, encoder: Backbone, layers: nn.Sequential):
        super().__init__()
        self.register_buffer("mean", encoder.mean, persistent=False)
        self.register_buffer("std", encoder.std, persistent=False)
        self.layers = layers.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> "Stem":
        return self

    @torch.no_grad()
    def forward(self, pixels: Tensor) -> Tensor:
        return self.layers((pixels.permute(0, 3, 1, 2).float() - self.mean) / self.std)


def split_encoder(encoder: Backbone, trained: int = 2) -> tuple[Stem, Tail]:
    """Return the frozen first part of an EfficientNet and its last `trained` stages with the pooling after them.

    Stage by stage an EfficientNet of timm is its stem, its blocks (seven), and the last 1 x 1 convolution; `trained=2`
    is the last block and that convolution, about a quarter of the weights. Both parts share the encoder's weights, so
    training the tail changes the encoder. ValueError for another architecture or number of stages.
    """
    model: Any = getattr(encoder, "model", None)
    parts = ("conv_stem", "bn1", "blocks", "conv_head", "bn2", "global_pool")
    missing = [part for part in parts if not hasattr(model, part)]
    if missing:
        raise ValueError(f"{type(model).__name__} has no {', '.join(missing)}: only EfficientNets of timm can be split")
    stages = [nn.Sequential(model.conv_stem, model.bn1), *model.blocks, nn.Sequential(model.conv_head, model.bn2)]
    if not 1 <= trained < len(stages):
        raise ValueError(f"trained is {trained}, not 1 to {len(stages) - 1} of the {len(stages)} stages")
    return Stem(encoder, nn.Sequential(*stages[:-trained])), Tail(*stages[-trained:], model.global_pool)
