"""Combined loss, two stages, curriculum and the other schedules of webly supervised learning."""

import shutil
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from lib.losses import max_of_hinges, sum_of_hinges
from lib.models import PooledBranch, last_pool
from lib.models.gru import GRUEncoder
from lib.systems.webly import webly_embedding
from lib.systems.webly.objective import WeblyChoices, WeblyObjective, clean_pairs, mixed_pairs, two_stages, web_pairs
from lib.training import Pairs, TrainConfig, fit, validate
from lib.training.reference import reference
from tests.conftest import Interrupted

STAGE1 = TrainConfig(epochs=3, batch_size=32, learning_rate=1e-2, schedule="constant")
CHOICES = WeblyChoices(stage1=STAGE1, stage2_epochs=3)


def views(n, seed, mislabelled=False):
    """Images, sentences and tags that are three noisy views of one hidden vector; or tags of another image."""
    generator = torch.Generator().manual_seed(seed)
    maps = torch.Generator().manual_seed(99)
    hidden = torch.randn(n, 6, generator=generator)
    images, texts, tags = (
        hidden @ torch.randn(6, size, generator=maps) + 0.3 * torch.randn(n, size, generator=generator)
        for size in (20, 15, 10)
    )
    return images, texts, tags.roll(1, 0) if mislabelled else tags


def clean(n=60, seed=0):
    images, texts, tags = views(n, seed)
    return clean_pairs(Pairs(images, texts, torch.arange(n)), tags)


def web(n=300, seed=1, mislabelled=False, **curriculum):
    images, _, tags = views(n, seed, mislabelled)
    return web_pairs(images, tags, **curriculum)


def held_out():
    images, texts, _ = views(200, 2)
    return Pairs(images, texts, torch.arange(200))


def model(seed=0, dropout=0.1):
    torch.manual_seed(seed)
    return webly_embedding(20, 15, 10, dim=8, dropout=dropout)


def weights(module):
    return torch.cat([parameter.detach().flatten().clone() for parameter in module.parameters()])


def naive(learner, data, batch, reduce, weights, margin=0.2):
    """lambda1 L_IS + lambda2 L_IT in float64 with loops over triplets, from the weights of the linear maps."""

    def point(branch, vector):
        layer = branch[-1]
        out = layer.weight.double() @ vector.double() + layer.bias.double()
        return out / out.norm()

    texts = [t for t in batch.text_ids.tolist() if data.described[t]]
    image_of = data.image_of_text.tolist()
    sides = [
        ([(image_of[t], point(learner.sentence, data.texts[t])) for t in texts]),
        ([(i, point(learner.tag, data.tags[i])) for i in batch.image_ids.tolist() if data.tags[i].any()]),
    ]
    total = torch.zeros((), dtype=torch.float64)
    for weight, side in zip(weights, sides, strict=True):
        points = {i: point(learner.image, data.images[i]) for i, _ in side}
        term = torch.zeros((), dtype=torch.float64)
        for i, text in side:
            s = points[i] @ text
            wrong_texts = [(margin - s + points[i] @ other).clamp(min=0) for j, other in side if j != i]
            wrong_images = [(margin - s + other @ text).clamp(min=0) for j, other in points.items() if j != i]
            term = term + reduce(torch.stack(wrong_texts)) + reduce(torch.stack(wrong_images))
        if side:
            total = total + weight * term / len(side)
    return total


@pytest.mark.parametrize(("loss", "reduce"), [(sum_of_hinges, torch.sum), (max_of_hinges, torch.max)])
@pytest.mark.parametrize("kind", ["clean", "web", "mixed"])
def test_value_and_gradient_are_those_of_loops(loss, reduce, kind):
    small = clean(6)  # two sentences of image 0: no negatives of each other
    small = replace(small, image_of_text=torch.tensor([0, 0, 2, 3, 4, 5]))
    data = {"clean": small, "web": web(7), "mixed": mixed_pairs(small, web(5), repeat=2)}[kind]
    data.tags[3] = 0  # an image without tags
    batch = data.batch(torch.arange(len(data) - 1))
    lambdas = (0.7, 1.3) if kind != "web" else (0.0, 1.3)
    learner = model().eval()
    value = WeblyObjective(data, loss, *lambdas)(learner, batch)
    gradient = torch.autograd.grad(value, list(learner.parameters()), allow_unused=True)
    expected = naive(learner, data, batch, reduce, lambdas)
    expected_gradient = torch.autograd.grad(expected, list(learner.parameters()), allow_unused=True)
    assert float(value.detach()) == pytest.approx(float(expected.detach()), rel=1e-5)
    for mine, theirs in zip(gradient, expected_gradient, strict=True):
        assert (mine is None) == (theirs is None)
        if mine is not None:
            torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-5)


def test_soft_positives_lower_the_margin_by_the_likeness_of_tags():
    data = web(6)
    batch, learner = data.batch(torch.arange(6)), model().eval()
    value = float(WeblyObjective(data, sum_of_hinges, 0, 1, soft=True)(learner, batch).detach())
    points, tags = learner.encode_images(data.images), learner.encode_tags(data.tags)
    expected = 0.0
    for i in range(6):
        for j in range(6):
            if i != j:
                margin = 0.2 * (1 - max(0.0, float(F.cosine_similarity(data.tags[i], data.tags[j], dim=0))))
                own = float(points[i] @ tags[i])
                expected += max(0.0, margin - own + float(points[i] @ tags[j]))
                expected += max(0.0, margin - own + float(points[j] @ tags[i]))
    assert value == pytest.approx(expected / 6, rel=1e-4)
    assert value < float(WeblyObjective(data, sum_of_hinges, 0, 1)(learner, batch))


def test_the_combined_loss_at_chance_and_at_collapse():
    """Both terms of a batch, each with its weight: the hinges of the hardest negative cost twice the margin each."""
    data = clean()
    batch = data.batch(torch.arange(len(data)))
    lines = reference(WeblyObjective(data, max_of_hinges, 1.0, 0.5), batch, dim=64)
    assert lines["collapse"] == pytest.approx(1.5 * 0.4)
    assert lines["chance"] > lines["collapse"]


def test_stage_one_may_begin_with_another_loss():
    learners, choices = [model(), model()], WeblyChoices(stage1=TrainConfig(2, 8), stage2_epochs=1)
    losses = {0: sum_of_hinges, 1: max_of_hinges}
    two_stages(learners[0], clean(), web(), losses, choices, device="cpu", progress=False)
    stage1 = {start: WeblyObjective(clean(), loss) for start, loss in losses.items()}
    fit(learners[1], clean(), choices.stage1, objective=stage1, device="cpu", progress=False)
    stage2 = WeblyObjective(web(), max_of_hinges, 0.0, 1.0)
    fit(learners[1], web(), choices.stage2, objective=stage2, device="cpu", progress=False)
    for mine, theirs in zip(learners[0].parameters(), learners[1].parameters(), strict=True):
        assert torch.equal(mine, theirs)


def test_a_batch_without_any_pair_costs_nothing():
    data = web(4)
    data.tags[:] = 0
    learner = model()
    value = WeblyObjective(data, sum_of_hinges)(learner, data.batch(torch.arange(4)))
    value.backward()
    assert float(value.detach()) == 0
    assert not learner.image[-1].weight.grad.any()


def test_words_and_lengths_go_through_a_recurrent_sentence_branch():
    torch.manual_seed(0)
    images, _, tags = views(12, 0)
    lengths = torch.randint(2, 6, (12,))
    words = torch.randint(1, 9, (12, 5)) * (torch.arange(5) < lengths[:, None])
    described = clean_pairs(Pairs(images, words, torch.arange(12), lengths), tags)
    learner = webly_embedding(20, PooledBranch(GRUEncoder(9, 4, 8), last_pool), 10, dim=8)
    both = mixed_pairs(described, web(5), repeat=2)
    # The rows without a sentence are not read.
    alone = WeblyObjective(described, sum_of_hinges, 1, 0)(learner, described.batch(torch.arange(12)))
    beside = WeblyObjective(both, sum_of_hinges, 1, 0)(learner, both.batch(torch.arange(len(both))))
    assert float(alone.detach()) == pytest.approx(float(beside.detach()), rel=1e-5)


# ------------------------------------------------------------------------------------------------------------ stages
@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_stage_two_leaves_every_bit_of_the_sentence_branch(weight_decay):
    learner, first = model(), model()
    choices = replace(CHOICES, stage1=replace(STAGE1, weight_decay=weight_decay))
    two_stages(
        first,
        clean(),
        web(),
        sum_of_hinges,
        replace(choices, stage2_epochs=1, rate_ratio=1e-12),
        progress=False,
    )
    two_stages(learner, clean(), web(), sum_of_hinges, choices, progress=False)
    assert torch.equal(weights(first.sentence), weights(learner.sentence))
    assert not torch.equal(weights(first.image), weights(learner.image))
    assert not torch.equal(weights(first.tag), weights(learner.tag))


@pytest.mark.parametrize("steps", [3, 6, 7, 14])  # 2 steps an epoch of stage I: in I, at its end, in stage II
def test_resuming_in_and_between_the_stages_gives_identical_weights(store, stop_at, steps):
    def both():
        learner = model()
        two_stages(learner, clean(), web(), sum_of_hinges, CHOICES, val=held_out(), progress=False)
        return weights(learner)

    stop_at(steps)
    with pytest.raises(Interrupted):
        both()
    stop_at(0)
    resumed = both()
    shutil.rmtree(store)
    assert torch.equal(both(), resumed)


def rsum(schedule, mislabelled):
    """Recall sum on unseen pairs after a schedule with right or wrong web tags."""
    learner, described, tagged = model(dropout=0.0), clean(40), web(400, mislabelled=mislabelled)
    choices = WeblyChoices(stage1=replace(STAGE1, epochs=30), stage2_epochs=10)
    if schedule == "two stages":
        two_stages(learner, described, tagged, sum_of_hinges, choices, progress=False)
    else:
        from lib.training import fit

        both = mixed_pairs(described, tagged)
        fit(learner, both, choices.stage1, objective=WeblyObjective(both, sum_of_hinges), progress=False)
    return validate(learner, held_out()).as_dict()["rsum"]


@pytest.mark.parametrize("schedule", ["two stages", "mixed"])
def test_a_mislabelled_web_set_makes_the_numbers_fall(schedule):
    right, wrong = rsum(schedule, mislabelled=False), rsum(schedule, mislabelled=True)
    assert wrong < right - 20


# -------------------------------------------------------------------------------------------------------- curriculum
def test_frequent_keywords_come_first_and_all_come_in_the_end():
    frequency = torch.arange(100) % 10
    data = web(100, frequency=frequency, share=CHOICES.share)
    sizes = [len(data.rows(epoch)) for epoch in range(CHOICES.stage2_epochs)]
    assert sizes[0] == 30
    assert sizes == sorted(sizes)
    assert sizes[-1] == 100
    assert set(frequency[data.rows(0)].tolist()) == {7, 8, 9}
    seen = [batch.text_ids for batch in data.epoch(16, seed=3, epoch=0)]
    assert sorted(torch.cat(seen).tolist()) == sorted(data.rows(0).tolist())


def test_without_a_curriculum_every_row_comes_every_epoch():
    data = web(50)
    assert sorted(torch.cat([batch.text_ids for batch in data.epoch(16, 0, 0)]).tolist()) == list(range(50))


def test_the_paper_s_numbers_are_the_defaults():
    choices = WeblyChoices()
    assert (choices.sentence_weight, choices.tag_weight, choices.rate_ratio) == (1.0, 1.0, 0.1)
    assert (choices.stage1.epochs, choices.stage1.batch_size, choices.stage1.clip_norm) == (30, 128, 2.0)
    assert choices.stage1.rate(0, 10) == pytest.approx(2e-4)
    assert choices.stage1.rate(100, 10) == pytest.approx(2e-5)
    assert choices.stage2.rate(0, 10) == pytest.approx(2e-5)
    assert choices.stage2.rate(140, 10) == pytest.approx(2e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tags": torch.zeros(3, 10)}, "tags has 3 rows, not 50"),
        ({"described": torch.zeros(3, dtype=torch.bool)}, "described has 3 rows, not 50"),
        ({"rank": torch.arange(50)}, "both the rank"),
    ],
)
def test_parts_that_do_not_fit_are_named(change, message):
    with pytest.raises(ValueError, match=message):
        replace(web(50), **change)


def test_shared_words_are_read_by_one_branch():
    shared, apart = (webly_embedding(20, 15, 15, dim=8, shared=way, seed=3) for way in (True, False))
    assert shared.tag is shared.sentence
    assert apart.tag is not apart.sentence
    assert torch.equal(weights(shared.image), weights(apart.image))  # the seed is of the weights
    torch.manual_seed(3)
    assert torch.equal(weights(webly_embedding(20, 15, 15, dim=8)), weights(apart))
