"""Items with labels, the networks of CRCGS and their training, on numbers in which labels can be learned."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from lib.base.files import ROOT
from lib.data import load
from lib.data.concepts import CONCEPTS, balanced_split, category_items, concept_labels, named_labels, with_split
from lib.data.corpus import Corpus
from lib.evaluation.categories import CLEAN, PUBLISHED, evaluate_categories
from lib.run import notebook
from lib.run.profile import load_profile, parameters_for
from lib.systems.crcgs import (
    PUBLISHED_RUNS,
    CategoryNetwork,
    CrcgsObjective,
    CrcgsWeights,
    Discriminator,
    FeatureGenerator,
    FeaturePairs,
    Generators,
    HashLayer,
    LabelledItems,
    LinearHash,
    SearchedItems,
    category_config,
    contrastive,
    dcmh,
    discriminative,
    dscmr,
    embed,
    fit_generators,
    fit_hash_layer,
    generation,
    generation_config,
    projection,
    words_present,
)
from lib.training import fit
from tests import test_data_coco
from tests.picture_files import write
from tests.test_data_mirflickr import matrices, write_hdf5  # noqa: F401  (fixture)
from tests.test_data_nuswide import nuswide  # noqa: F401  (fixture)

N, C, X, Y = 96, 3, 12, 10
CONFIG = category_config(epochs=12, batch_size=24, learning_rate=3e-3)
QUIET = {"device": "cpu", "progress": False}


def toy(seed=0):
    """Items whose two features say their label, under noise."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.eye(C, dtype=torch.bool)[torch.arange(N) % C]
    maps = (
        torch.randn(C, X, generator=torch.Generator().manual_seed(9)),
        torch.randn(C, Y, generator=torch.Generator().manual_seed(8)),
    )
    sides = [labels.float() @ m + 0.5 * torch.randn(N, m.shape[1], generator=generator) for m in maps]
    return LabelledItems(*sides, labels)


def network(dim=16, seed=0):
    torch.manual_seed(seed)
    return CategoryNetwork(X, Y, C, hidden=24, dim=dim, converted_dim=8, layers=2)


@pytest.fixture(scope="module")
def generators():
    torch.manual_seed(0)
    data, val = toy(), toy(1)
    to_text, to_image = FeatureGenerator(X, Y, 16, 8), FeatureGenerator(Y, X, 16, 8)
    config = generation_config(12, 24, 3e-3)
    for generator, there in ((to_text, True), (to_image, False)):
        pairs, unseen = (
            FeaturePairs(x.images, x.texts) if there else FeaturePairs(x.texts, x.images) for x in (data, val)
        )
        history = fit(generator, pairs, config, objective=generation, val=unseen, **QUIET)
        assert history.best["val_loss"] == min(row["val_loss"] for row in history.rows)
        assert history.best["val_loss"] < history.rows[0]["val_loss"]
        assert unseen.scores(generator, torch.device("cpu"))["loss"] == pytest.approx(history.best["val_loss"])
    return Generators(to_text, to_image).freeze()


def score(images, texts, labels, codes=False):
    return evaluate_categories(
        images, texts, labels.numpy(), np.full(len(labels), "test"), CLEAN, codes=codes
    ).as_dict()["map_avg"]


@pytest.mark.parametrize(
    "name", ["base", "dscmr", "projection", "contrastive", "dcmh", "crcgs", "crcgs, published batches"]
)
def test_every_objective_learns_the_labels(name, generators):
    train, val = toy(), toy(1)
    made = {
        "base": discriminative(30.0),
        "dscmr": dscmr(),
        "projection": projection(),
        "contrastive": contrastive(),
        "dcmh": dcmh(),
    }
    objective = made.get(name) or CrcgsObjective(generators, CrcgsWeights(), len(train), CONFIG, "batches" in name, 32)
    model = network()
    before = score(*embed(model, val), val.labels)
    history = fit(model, train, CONFIG, objective=objective, val=SearchedItems(val), **QUIET)
    after = score(*embed(model, val), val.labels)
    assert after == pytest.approx(max(row["val_map_avg"] for row in history.rows))
    assert after > max(0.9, before)


def test_the_loss_of_dscmr_is_that_of_loops():
    batch, model, total = toy().take(torch.arange(8)), network().requires_grad_(False), 0.0
    sides = model.encode_images(batch.images), model.encode_sentences(batch.texts)
    for side in sides:
        for feature, label in zip(side, batch.labels, strict=True):
            total += float((model.classifier(feature) - label.float()).square().sum().sqrt()) / 8
    for a, b in ((0, 0), (0, 1), (1, 1)):
        for i in range(8):
            for j in range(8):
                theta = float(torch.cosine_similarity(sides[a][i], sides[b][j], dim=0)) / 2
                alike = bool((batch.labels[i] & batch.labels[j]).any())
                total += 0.3 * (np.log(1 + np.exp(theta)) - alike * theta) / 64
    total += 0.2 * float((sides[0] - sides[1]).square().sum(1).sqrt().mean())
    assert float(dscmr(0.3, 0.2)(model, batch)) == pytest.approx(total, rel=1e-4)


def test_teachers_of_a_seed_are_the_same_whatever_came_before():
    config = generation_config(2, 24, seed=3)
    first, histories = fit_generators(toy(), toy(1), config, 16, 8, True, "cpu")
    torch.rand(5)
    again, _ = fit_generators(toy(), toy(1), config, 16, 8, True, "cpu")
    other, _ = fit_generators(toy(), toy(1), generation_config(2, 24, seed=4), 16, 8, True, "cpu")
    weights = [torch.cat([p.flatten() for p in made.parameters()]) for made in (first, again, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    assert (first.image_to_text.target_dim, first.text_to_image.target_dim) == (Y, X)
    assert float(first.image_to_text(toy().images).detach().min()) >= 0
    assert all("val_loss" in history.rows[-1] for history in histories)
    assert not any(parameter.requires_grad for parameter in first.parameters())


def test_words_that_are_present():
    bags = words_present(["A dog, a dog!", "", "cats"], ["dog", "cats", "a"])
    assert bags.tolist() == [[1, 0, 1], [0, 0, 0], [0, 1, 0]]


def test_each_term_can_be_taken_out(generators):
    batch, model = toy().take(torch.arange(24)), network()
    whole = CrcgsObjective(generators, CrcgsWeights(), N, CONFIG)
    whole(model, batch)
    assert set(whole.terms) == {"discriminative", "distillation", "adversarial", "contrastive", "support"}
    none = CrcgsWeights(distillation=0, adversarial=0, contrastive=0, support=0)
    bare = CrcgsObjective(generators, none, N, CONFIG)
    torch.testing.assert_close(bare(model, batch), discriminative()(model, batch))
    assert set(bare.terms) == {"discriminative"}


def test_discriminators_learn_and_the_teachers_do_not(generators):
    batch, model = toy().take(torch.arange(24)), network()
    objective = CrcgsObjective(generators, CrcgsWeights(), N, CONFIG)
    teachers = [parameter.clone() for parameter in generators.parameters()]
    judges = [parameter.clone() for parameter in objective.discriminators.parameters()]
    objective(model, batch).backward()
    assert all((a == b).all() for a, b in zip(teachers, generators.parameters(), strict=True))
    assert any((a != b).any() for a, b in zip(judges, objective.discriminators.parameters(), strict=True))
    assert all(
        parameter.grad is None or not parameter.requires_grad for parameter in objective.discriminators.parameters()
    )
    assert model.convert_image[0].weight.grad.abs().sum() > 0
    assert objective.optimiser.state[objective.discriminators[0][0].weight]["step"] == 3


def test_training_repeats_itself(generators):
    def run():
        model = network()
        objective = CrcgsObjective(generators, CrcgsWeights(), N, CONFIG)
        fit(model, toy(), category_config(2, 24, 1e-3), objective=objective, **QUIET)
        return embed(model, toy(1))[0]

    assert torch.equal(run(), run())


@pytest.mark.parametrize("bits", [16, 64])
def test_a_hash_layer_keeps_what_was_learned(bits):
    train, val, model = toy(), toy(1), network()
    fit(model, train, CONFIG, objective=discriminative(30.0), val=SearchedItems(val), **QUIET)
    continuous = score(*embed(model, val), val.labels)
    torch.manual_seed(0)
    hashed, _ = fit_hash_layer(model, HashLayer(16, bits, 32), train, CONFIG, val=val, **QUIET)
    of_val = LabelledItems(*embed(model, val), val.labels)
    assert embed(hashed, of_val)[0].shape == (N, bits)
    assert score(*embed(hashed, of_val), val.labels, codes=True) > continuous - 0.05


def test_itq_turns_signs_towards_the_features():
    torch.manual_seed(0)
    features = torch.randn(400, 20) @ torch.randn(20, 20)
    turned, plain = LinearHash(16).fit(features), LinearHash(16, rotations=0).fit(features)

    def lost(hashing):
        values = hashing.encode(features)
        return float((values - values.sign() * values.abs().mean()).square().mean() / values.square().mean())

    torch.testing.assert_close(turned.map.T @ turned.map, torch.eye(16), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(plain.encode(features).norm(), turned.encode(features).norm())
    assert lost(turned) < lost(plain)
    with pytest.raises(ValueError, match="32 bits"):
        LinearHash(32).fit(features)


def test_networks_have_the_published_shapes():
    model = CategoryNetwork(4096, 1386, 24)
    shapes = [tuple(part.weight.shape) for part in model.image if isinstance(part, nn.Linear)]
    assert shapes == [(2048, 4096), (2048, 2048), (2048, 2048)]
    assert (model.shared.out_features, model.classifier.out_features) == (1024, 24)
    judge = Discriminator(1386, (512, 64, 32))
    assert [part.out_features for part in judge if isinstance(part, nn.Linear)] == [512, 64, 32, 2]


PROFILES = {"mirflickr25k-dcmh": "mirflickr", "nuswide": "nuswide", "coco": "coco"}


def settings_of(profile):
    """What notebook 09 is run with in a profile."""
    folder = ROOT / "notebooks"  # all of them, because a profile may have keys for others, too
    literals = {path: notebook.parameters(notebook.read(path), path.name) for path in folder.glob("[0-9]*.ipynb")}
    path = folder / "09_generative_features.ipynb"
    return literals[path] | parameters_for(load_profile(folder / "profiles", profile), literals)[path]


@pytest.mark.parametrize(("corpus", "profile"), PROFILES.items())
def test_profiles_of_the_published_corpora_have_the_published_settings(corpus, profile):
    run, has = PUBLISHED_RUNS[corpus], settings_of(profile)
    terms = ("distillation", "adversarial", "contrastive", "support")
    weights = CrcgsWeights(
        has["base_weight"],
        has["base_likelihood"],
        has["base_gap"],
        **{term: has[f"{term}_weight"] for term in terms},
        temperature=has["contrastive_tau"],
        support_temperature=has["support_tau"],
    )
    sizes = has["category_epochs"], has["category_batch"], has["category_rate"]
    assert (weights, category_config(*sizes, plateau=has["category_plateau"])) == (run.weights, run.train)
    codes = category_config(has["code_epochs"], has["code_batch"], has["code_rate"])
    assert codes == run.hashing
    assert has["published_form"], "binary bag of words, pictures as they are, generators that end in a ReLU"
    assert has["choose_epoch"]
    assert (has["category_hidden"], has["category_dim"], has["category_layers"]) == (2048, 1024, 3)
    assert (has["corpus"], has["network_dropout"], has["discriminator_width"]) == (corpus, 0, 2048)
    assert has["contrastive_batches"]
    assert not has["code_quantisation"]


def test_bad_items_are_named():
    with pytest.raises(ValueError, match="item 1 has no label"):
        LabelledItems(torch.ones(2, 3), torch.ones(2, 3), torch.tensor([[True], [False]]))
    with pytest.raises(ValueError, match="texts has 1 rows"):
        LabelledItems(torch.ones(2, 3), torch.ones(1, 3), torch.ones(2, 1, dtype=torch.bool))


# ---------------------------------------------------------------------------------------------------- items of corpora
def test_concepts_of_captions():
    captions = [["A dog runs .", "The dog plays", "snow"], ["Two puppies"], ["a cat", "a man", "a house"], []]
    labels, names = concept_labels(captions), list(CONCEPTS)
    assert [[names[i] for i in np.flatnonzero(row)] for row in labels] == [["dog"], ["dog"], [], []]
    assert 40 <= len(CONCEPTS) <= 80
    words = [word for of_concept in CONCEPTS.values() for word in of_concept.split()]
    assert len(words) == len(set(words)), "a word names one concept"
    assert all(word.isascii() and word.islower() and word.isalpha() for word in words)


def test_the_text_of_an_item_has_no_say_in_its_labels():
    captions = [["a dog", "a cat", "cats"], ["a dog", "a dog", "snow"], ["a cat", "two dogs", "a dog"], ["a cat"]]
    images = [Image.new("RGB", (8, 8), (40 * i, 0, 0)) for i in range(4)]
    rest = {"labels": None, "label_names": [], "split": np.array(["test"] * 4)}
    names = {"licence": "none", "source": "here", "attribution": "nobody"}
    items = category_items(Corpus("toy", images, list("abcd"), captions, [[]] * 4, **rest, **names))
    assert items.label_names == ["cat"]  # a dog is named twice behind the first caption of one picture alone
    assert items.texts == ["a dog", "a cat"]  # the first picture, and the last, which has one caption
    assert items.labels.tolist() == [[True], [True]]
    assert named_labels(items).tolist() == [[False], [True]]


def test_items_of_openmoji_are_its_subgroups():
    items = category_items(load("openmoji"))
    assert all(name.startswith("subgroup:") for name in items.label_names)
    assert items.labels.any(1).all()
    assert (items.labels.sum(0) > 1).all()
    assert len(items.texts) == len(items.corpus) == len(items.labels)
    assert next(iter(items.counts().values())) == items.labels.sum(0).max()


def test_splits_by_counts():
    labels = np.random.default_rng(0).random((300, 4)) < 0.5
    split = balanced_split(labels, 100, 20, 30)
    assert [int((split == name).sum()) for name in ("train", "val", "test", "web")] == [100, 20, 30, 150]
    per_label = balanced_split(labels, 10, 2, 3, per_label=True)
    assert [int((per_label == name).sum()) for name in ("train", "val", "test")] == [40, 8, 12]
    with pytest.raises(ValueError, match="items of group"):
        balanced_split(labels, 400, 0, 0)


@pytest.fixture
def corpora(tmp_path, matrices, nuswide, monkeypatch):  # noqa: F811
    images = [(i, f"{('train', 'val')[i % 2]}2014", ("train", "restval", "val", "test")[i % 4]) for i in range(1, 25)]
    monkeypatch.setattr(test_data_coco, "IMAGES", images)
    monkeypatch.setattr(test_data_coco, "OBJECTS", [(i, (1, 90, 13)[i % 3]) for i, _, _ in images])
    parts = test_data_coco.part_files("train2014") | test_data_coco.part_files("val2014")
    coco = write(tmp_path / "coco", parts | test_data_coco.split_file(images))
    write_hdf5(tmp_path / "dcmh" / "FLICKR-25K.mat", **matrices)
    return {
        "mirflickr25k-dcmh": (tmp_path / "dcmh", {"photos": False, "test": 4, "val": 1}),
        "nuswide": (nuswide, {}),
        "coco": (coco, {}),
    }


@pytest.mark.parametrize("name", ["mirflickr25k-dcmh", "nuswide", "coco"])
def test_the_published_corpora_go_all_the_way(name, corpora):
    """From files in the published format to mAP under both protocols, as the profile has it; random image features."""
    has, (root, smaller) = settings_of(PROFILES[name]), corpora[name]
    items = category_items(load(name, root, **has["corpus_options"], **smaller))
    n = len(items.texts)
    if name != "mirflickr25k-dcmh":
        third = max(1, n // 3)
        items = with_split(items, balanced_split(items.labels, n - 2 * third, 0, 2 * third))
    words = sorted({word for text in items.texts for word in text.split()})
    bag = torch.tensor([[word in text.split() for word in words] for text in items.texts]).float()
    images, labels = torch.randn(n, X), torch.from_numpy(items.labels)
    everything, rows = LabelledItems(images, bag, labels), torch.from_numpy(items.corpus.split == "train")
    train = LabelledItems(images[rows], bag[rows], labels[rows])
    config = category_config(1, 8)
    to_text, to_image = (
        FeatureGenerator(X, len(words), 16, 8, relu_output=True),
        FeatureGenerator(len(words), X, 16, 8),
    )
    model = CategoryNetwork(X, len(words), labels.shape[1], 16, 16, 8)
    if len(train) > 1:
        pairs = FeaturePairs(train.images, train.texts)
        fit(to_text, pairs, generation_config(1, 8), objective=generation, val=pairs, **QUIET)
        teachers = Generators(to_text, to_image).freeze()
        objective = CrcgsObjective(teachers, PUBLISHED_RUNS[name].weights, len(train), config)
        fit(model, train, config, objective=objective, **QUIET)
    features = embed(model, everything)
    for protocol in (CLEAN, PUBLISHED):
        scores = evaluate_categories(*features, items.labels, items.corpus.split, protocol)
        assert 0 <= scores.as_dict()["map_avg"] <= 1
