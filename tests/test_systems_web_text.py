"""Text regression: scaling of the targets, what is trained, planted structure learned, the fine-tuned tail."""

import numpy as np
import pytest
import torch
from torch import nn

from lib.evaluation import chance
from lib.losses import cosine_loss, soft_contrastive, soft_cross_entropy, soft_triplet
from lib.models import Projection
from lib.systems.web_text import CosineRegression, SigmoidRegression, min_max
from lib.training import Pairs, TrainConfig, fit, validate
from lib.vision.backbones import Preprocess, TimmBackbone
from lib.vision.tail import Tail, split_encoder

WAYS = [
    (SigmoidRegression, soft_cross_entropy),
    (CosineRegression, cosine_loss),
    (CosineRegression, soft_triplet),
    (CosineRegression, soft_contrastive),
]


def objective(loss):
    return lambda model, batch: loss(model.image(batch.images), model.targets(batch.texts), batch.positives)


def test_min_max_by_hand():
    vectors = torch.tensor([[-2.0, 0.0, 6.0], [5.0, 5.0, 5.0], [1.0, -1.0, 0.0]])
    expected = torch.tensor([[0.0, 0.25, 1.0], [0.0, 0.0, 0.0], [1.0, 0.0, 0.5]])
    torch.testing.assert_close(min_max(vectors), expected)
    torch.testing.assert_close(min_max(3 * vectors + 7), expected)


def test_sigmoid_regression_reads_outputs_as_the_paper_does():
    vectors = torch.randn(20, 6, generator=torch.Generator().manual_seed(0))
    model = SigmoidRegression(nn.Identity(), vectors, centred=False)
    torch.testing.assert_close(model.encode_images(vectors), vectors.sigmoid())
    torch.testing.assert_close(model.encode_sentences(vectors), min_max(vectors))
    perfect = min_max(vectors).clamp(1e-6, 1 - 1e-6).logit()
    assert model(perfect, vectors).argmax(1).tolist() == list(range(20))


def test_centred_vectors_have_mean_zero_and_targets_stay():
    vectors = torch.randn(20, 6, generator=torch.Generator().manual_seed(0)) + 1
    model = SigmoidRegression(nn.Identity(), vectors)
    for dimension in (0, 1):
        mean = model.encode_sentences(vectors).mean(dimension)
        torch.testing.assert_close(mean, torch.zeros_like(mean), atol=1e-6, rtol=0)
    shifted = model.encode_images(vectors.sigmoid().add(0.1).logit(eps=1e-6))
    kept = (vectors.sigmoid() + 0.1 < 1).all(1)
    torch.testing.assert_close(shifted[kept], model.encode_images(vectors)[kept], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(model.targets(vectors), min_max(vectors))
    model = CosineRegression(nn.Identity(), vectors)
    torch.testing.assert_close(model.targets(vectors).norm(dim=1), torch.ones(20))
    torch.testing.assert_close(model.centre, vectors.mean(0))


def planted(images=240, dim=16, width=12):
    """Features from which the text vector can be read off by a linear map, up to noise."""
    generator = torch.Generator().manual_seed(0)
    texts = torch.randn(images, width, generator=generator)
    mix = torch.randn(width, dim, generator=generator)
    features = texts @ mix + 0.1 * torch.randn(images, dim, generator=generator)
    return Pairs(features, texts, torch.arange(images))


@pytest.mark.parametrize(("model_class", "loss"), WAYS, ids=lambda part: part.__name__)
def test_planted_structure_is_learned_and_shuffled_pairs_are_not(model_class, loss):
    data = planted()
    train = Pairs(data.images[:180], data.texts[:180], torch.arange(180))
    test = Pairs(data.images[180:], data.texts[180:], torch.arange(60))
    wrong = Pairs(train.images, train.texts, torch.randperm(180, generator=torch.Generator().manual_seed(1)))
    reached = {}
    for name, pairs in {"true": train, "shuffled": wrong}.items():
        torch.manual_seed(0)
        model = model_class(Projection(16, 12), train.texts)
        config = TrainConfig(epochs=60, batch_size=60, learning_rate=0.02, schedule="cosine")
        history = fit(model, pairs, config, objective=objective(loss), progress=False, device="cpu")
        assert history.rows[-1]["loss"] < history.rows[0]["loss"]
        reached[name] = validate(model, test, device="cpu").as_dict()["t2i_r1"]
    luck = chance(60, torch.arange(60))["t2i_r1"]
    assert reached["true"] > 60
    assert reached["shuffled"] < luck + 10


def test_text_vectors_get_no_gradient():
    texts = torch.randn(8, 4, requires_grad=True)
    model = SigmoidRegression(Projection(3, 4), texts.detach())
    assert [name for name, _ in model.named_parameters()] == ["image.1.weight", "image.1.bias"]


# --------------------------------------------------------------------------------------------------- fine-tuning
@pytest.fixture(scope="module")
def encoder():
    torch.manual_seed(0)
    import timm

    return TimmBackbone(timm.create_model("tf_efficientnet_lite0", pretrained=False), Preprocess(size=32, resize=32))


@pytest.mark.parametrize("trained", [1, 2, 4])
def test_both_parts_together_are_the_encoder(encoder, trained):
    pixels = torch.randint(0, 256, (3, 32, 32, 3), dtype=torch.uint8)
    stem, tail = split_encoder(encoder, trained)
    with torch.no_grad():
        torch.testing.assert_close(tail(stem(pixels)), encoder(pixels)[0])


def test_only_the_tail_learns_and_its_normalisation_stays(encoder):
    stem, tail = split_encoder(encoder)
    model = CosineRegression(nn.Sequential(tail, Projection(1280, 4)), torch.randn(6, 4))
    pixels = torch.randint(0, 256, (6, 32, 32, 3), dtype=torch.uint8)
    maps = stem(pixels)
    assert not maps.requires_grad
    before = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
    pairs = Pairs(maps, torch.randn(6, 4, generator=torch.Generator().manual_seed(0)), torch.arange(6))
    history = fit(model, pairs, TrainConfig(epochs=8, batch_size=6, learning_rate=1e-3), device="cpu", progress=False,
                  objective=objective(cosine_loss))  # fmt: skip
    assert history.rows[-1]["loss"] < history.rows[0]["loss"] - 0.2
    changed = {name for name, tensor in encoder.state_dict().items() if not torch.equal(tensor, before[name])}
    convolutions = {f"model.{name}.weight" for name, layer in encoder.model.named_modules()
                    if isinstance(layer, nn.Conv2d) and name.startswith(("blocks.6", "conv_head"))}  # fmt: skip
    assert changed == convolutions


def test_vector_of_a_picture_does_not_depend_on_its_batch(encoder):
    stem, tail = split_encoder(encoder)
    tail.train()
    pixels = torch.randint(0, 256, (4, 32, 32, 3), dtype=torch.uint8)
    with torch.no_grad():
        torch.testing.assert_close(tail(stem(pixels))[:1], tail(stem(pixels[:1])), rtol=1e-4, atol=1e-5)


def test_half_precision_maps_on_disk_can_be_trained_on(encoder, tmp_path):
    stem, tail = split_encoder(encoder)
    maps = stem(torch.randint(0, 256, (4, 32, 32, 3), dtype=torch.uint8)).half().numpy()
    np.save(tmp_path / "maps.npy", maps)
    pairs = Pairs(np.load(tmp_path / "maps.npy", mmap_mode="r"), torch.randn(4, 3), torch.arange(4))
    model = CosineRegression(nn.Sequential(tail, Projection(1280, 3)), pairs.texts)
    fit(
        model,
        pairs,
        TrainConfig(epochs=1, batch_size=4),
        objective=objective(cosine_loss),
        device="cpu",
        progress=False,
    )
    assert isinstance(tail, Tail)


def test_split_refuses_what_it_cannot_split(encoder):
    with pytest.raises(ValueError, match="trained is 9"):
        split_encoder(encoder, 9)
    other = nn.Module()
    other.model = nn.Linear(2, 2)
    with pytest.raises(ValueError, match="Linear has no conv_stem"):
        split_encoder(other)
