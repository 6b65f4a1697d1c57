"""What every retrieval model must do, tested of each one that exists: a new model is tested by being there.

A model is an `nn.Module` of `lib.models` or of a system that has `encode_images` and `encode_sentences`. `MODELS` says
how a tiny one is made; a class that is not made there is a red test.
"""

import importlib
import inspect
import io
import pkgutil
from collections.abc import Callable
from typing import NamedTuple

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import lib.models
import lib.systems
from lib.models import CCA, CrossAttention, GeneralizedPooling, JointEmbedding, PooledBranch, Projection, last_pool
from lib.models.gru import GRUEncoder
from lib.models.interface import RetrievalModel, Texts, Tokens
from lib.systems.a3vse import A3VSE
from lib.systems.crcgs import CategoryNetwork, HashedNetwork, HashLayer
from lib.systems.web_text import CosineRegression, SigmoidRegression
from lib.systems.webly import webly_embedding

BASES = {"TextRegression"}  # to be inherited from

# Inputs that all tiny models share: 5 images, 5 texts.
DRAWN = torch.Generator().manual_seed(0)
REGIONS = torch.randn(5, 4, 12, generator=DRAWN)
IMAGES = REGIONS.mean(1)
TEXTS = torch.randn(5, 6, generator=DRAWN)
WORDS = torch.randn(20, 6, generator=DRAWN)
TOKENS = Tokens(torch.randint(1, 20, (5, 7), generator=DRAWN), torch.tensor([7, 1, 4, 2, 6]))


class Case(NamedTuple):
    """How a tiny model is made (anew, from torch's random state), and what it reads."""

    make: Callable[[], nn.Module]
    images: Tensor
    texts: Texts
    others: Callable[[nn.Module], list[Tensor]] = lambda model: []  # outputs of parts that encode neither
    idle: frozenset[str] = frozenset()  # parameters that this way of using the class has no use for


def recurrent(**options) -> GRUEncoder:
    return GRUEncoder(20, 6, 8, **options)


def pooled_regions() -> nn.Module:
    image = PooledBranch(Projection(12, 8, dropout=0.5), GeneralizedPooling())
    return JointEmbedding(image, PooledBranch(recurrent(), last_pool))


def category_parts(model: CategoryNetwork) -> list[Tensor]:
    features = model.encode_images(IMAGES)
    return [model.classifier(features), model.convert_image(features), model.convert_text(features)]


def domains(model: A3VSE) -> list[Tensor]:
    images, texts = model.encode_images(IMAGES), model.encode_sentences(TEXTS if model.words is None else TOKENS)
    return [model.domain_logits("image", images), model.domain_logits("text", texts)]


QUERIES = frozenset({"image_pool.query", "word_pool.query"})
MODELS = {
    "JointEmbedding of regions and words": Case(pooled_regions, REGIONS, TOKENS),
    "JointEmbedding of vectors": Case(
        lambda: JointEmbedding(Projection(12, 8, hidden=9, dropout=0.5), Projection(6, 8)), IMAGES, TEXTS
    ),
    "JointEmbedding with tags": Case(
        lambda: webly_embedding(12, 6, 3, dim=8, dropout=0.5),
        IMAGES,
        TEXTS,
        lambda model: [model.encode_tags(TEXTS[:, :3])],
    ),
    "CrossAttention": Case(
        lambda: CrossAttention(Projection(12, 8, dropout=0.5), recurrent(bidirectional=True)), REGIONS, TOKENS
    ),
    "A3VSE of regions and words": Case(lambda: A3VSE(12, 6, dim=8, words=WORDS), REGIONS, TOKENS, domains),
    "A3VSE of vectors": Case(lambda: A3VSE(12, 6, dim=8), IMAGES, TEXTS, domains, QUERIES),
    "A3VSE with attention": Case(
        lambda: A3VSE(12, 6, dim=8, words=WORDS, attend=True), REGIONS, TOKENS, domains, QUERIES
    ),
    "CategoryNetwork": Case(
        lambda: CategoryNetwork(12, 6, labels=3, hidden=9, dim=8, converted_dim=7, dropout=0.5),
        IMAGES,
        TEXTS,
        category_parts,
    ),
    "HashedNetwork": Case(lambda: HashedNetwork(HashLayer(12, bits=4, hidden=9)), IMAGES, IMAGES + 1),
    "SigmoidRegression": Case(
        lambda: SigmoidRegression(Projection(12, 6, dropout=0.5), torch.randn(9, 6)), IMAGES, TEXTS
    ),
    "CosineRegression": Case(
        lambda: CosineRegression(Projection(12, 6, dropout=0.5), torch.randn(9, 6)), IMAGES, TEXTS
    ),
    "CCA": Case(lambda: CCA(3).fit(torch.randn(30, 12), torch.randn(30, 6)), IMAGES, TEXTS),
}


def classes() -> dict[str, type]:
    """Name -> class of every retrieval model there is."""
    found = {}
    for room in (lib.models, lib.systems):
        for info in pkgutil.walk_packages(room.__path__, f"{room.__name__}."):
            for name, thing in vars(importlib.import_module(info.name)).items():
                encodes = all(callable(getattr(thing, call, None)) for call in ("encode_images", "encode_sentences"))
                here = inspect.isclass(thing) and thing.__module__ == info.name
                if here and encodes and issubclass(thing, nn.Module) and name not in BASES:
                    found[name] = thing
    return found


CLASSES = classes()
CASES = [case for case in MODELS if case.split()[0] in CLASSES]
EACH = pytest.mark.parametrize("case", CASES)


def tiny(case: str, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return MODELS[case].make()


def rows(texts: Texts, index) -> Texts:
    return texts[index] if isinstance(texts, Tensor) else Tokens(*(part[index] for part in texts))


def compares(model: nn.Module) -> bool:
    return type(model).forward is not nn.Module.forward


@pytest.mark.parametrize("name", CLASSES)
def test_every_model_is_made_here(name):
    made = [case for case in CASES if case.split()[0] == name]
    assert made, f"{CLASSES[name].__module__}.{name} is a model without a tiny one: add it to MODELS in {__file__}"
    for case in made:
        assert isinstance(tiny(case), CLASSES[name])
        assert isinstance(tiny(case), RetrievalModel)


@EACH
def test_an_embedding_does_not_depend_on_its_batch_mates(case):
    """To the bit with other mates in the same places; to 1e-6 alone, where BLAS adds up in another order."""
    model, images, texts = tiny(case).eval(), MODELS[case].images, MODELS[case].texts
    lengths = None if isinstance(texts, Tensor) else texts[1]
    together = [model.encode_images(images), model.encode_sentences(texts)]
    for row in range(5):
        mates = torch.tensor([row if place == row else (place + 1) % 5 for place in range(5)])
        other_texts = texts[mates] if lengths is None else (texts[0][mates], lengths)
        words = slice(None) if lengths is None or together[1].ndim == 2 else slice(int(lengths[row]))
        assert torch.equal(model.encode_images(images[mates])[row], together[0][row])
        assert torch.equal(model.encode_sentences(other_texts)[row][words], together[1][row][words])
        alone = rows(texts, [row])
        if lengths is not None:
            alone = (alone[0][:, : int(lengths[row])], alone[1])
        near = {"rtol": 1e-5, "atol": 1e-6}
        torch.testing.assert_close(model.encode_images(images[[row]])[0], together[0][row], **near)
        torch.testing.assert_close(model.encode_sentences(alone)[0], together[1][row][words], **near)
        if compares(model):
            torch.testing.assert_close(model(images[[1]], alone)[0, 0], model(images, texts)[1, row], **near)


@pytest.mark.parametrize("case", [case for case in CASES if isinstance(MODELS[case].texts, tuple)])
def test_what_stands_in_the_padding_does_not_matter(case):
    model, (tokens, lengths) = tiny(case).eval(), MODELS[case].texts
    beyond = torch.arange(tokens.shape[1]) >= lengths[:, None]
    noisy = tokens.masked_fill(beyond, 7)
    expected, found = (model.encode_sentences((ids, lengths)) for ids in (tokens.masked_fill(beyond, 0), noisy))
    if expected.ndim == 3:
        expected, found = expected[~beyond], found[~beyond]
    assert torch.equal(found, expected)
    assert torch.equal(model(MODELS[case].images, (noisy, lengths)), model(MODELS[case].images, (tokens, lengths)))


@EACH
def test_evaluation_repeats_itself_and_dropout_belongs_to_training(case):
    model, images, texts = tiny(case), MODELS[case].images, MODELS[case].texts
    if any(isinstance(module, nn.Dropout) for module in model.modules()):
        assert not torch.equal(model.train().encode_images(images), model.encode_images(images)), "no dropout is set"
    model.eval()
    for encode, inputs in ((model.encode_images, images), (model.encode_sentences, texts)):
        first, second = encode(inputs), encode(inputs)
        assert torch.equal(first, second)
        assert first.dtype == torch.float32
        assert first.isfinite().all()


@EACH
def test_embeddings_are_unit_vectors_or_say_how_to_compare_them(case):
    model, images, texts = tiny(case).eval(), MODELS[case].images, MODELS[case].texts
    for encode, inputs in ((model.encode_images, images), (model.encode_sentences, texts)):
        promise = inspect.getdoc(encode)
        if "unit vectors" in promise:
            vectors = encode(inputs)
            if isinstance(inputs, tuple) and vectors.ndim == 3:
                vectors = vectors[torch.arange(vectors.shape[1]) < inputs[1][:, None]]
            torch.testing.assert_close(vectors.norm(dim=-1), torch.ones(vectors.shape[:-1]))
        else:
            assert "cosine" in promise or "signs" in promise, f"{encode.__qualname__}: unit vectors, or how to compare?"


@EACH
def test_a_similarity_is_that_of_the_embeddings(case):
    model, images, texts = tiny(case).eval(), MODELS[case].images, MODELS[case].texts
    if not compares(model):
        pytest.skip("the class only encodes")
    found = model(images, texts)
    assert found.shape == (5, 5)
    assert (found.abs() <= 1 + 1e-5).all()
    embedded = model.encode_images(images), model.encode_sentences(texts)
    if all(part.ndim == 2 for part in embedded):
        cosines = F.normalize(embedded[0], dim=1) @ F.normalize(embedded[1], dim=1).T
        torch.testing.assert_close(found, cosines)


@EACH
def test_weights_that_are_saved_and_loaded_give_the_same(case):
    model, other = tiny(case, seed=0).eval(), tiny(case, seed=1).eval()
    images, texts = MODELS[case].images, MODELS[case].texts
    assert not torch.equal(other.encode_images(images), model.encode_images(images))
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    file.seek(0)
    other.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(other.encode_images(images), model.encode_images(images))
    assert torch.equal(other.encode_sentences(texts), model.encode_sentences(texts))


@EACH
def test_every_parameter_learns(case):
    model, (_, images, texts, others, idle) = tiny(case).eval(), MODELS[case]
    outputs = [model.encode_images(images), model.encode_sentences(texts), *others(model)]
    if compares(model):
        outputs.append(model(images, texts))
    if not list(model.parameters()):
        assert not any(output.requires_grad for output in outputs)
        return
    torch.manual_seed(0)
    sum((output * torch.randn_like(output)).sum() for output in outputs).backward()
    without = {name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0}
    assert without == idle
