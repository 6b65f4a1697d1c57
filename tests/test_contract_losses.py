"""What every loss must do, tested of each one that exists: a new loss is tested by being there.

A loss is a public function or module of `lib.losses` or of a system's `losses`, or whatever a system calls `..._loss`.
Its arguments say what it gets from `BATCH`. Values against loops and second libraries are in the tests of the family.
"""

import importlib
import inspect
import math
import pkgutil

import pytest
import torch
from torch import nn

import lib.losses
import lib.systems
from lib.losses import streaming, value_at_chance, value_at_collapse

HELPERS = {  # public, and no losses
    "at_least_float32", "check_rows", "mean_of_smallest", "positive_pairs", "positives_from_ids", "shared_labels",
    "soft_margin", "support_weights", "value_at_chance", "value_at_collapse",
}  # fmt: skip

# Axes of each argument: arguments that share a letter have that axis in common. Image 0 has two texts, image 3 has
# none, and the last text belongs to none of the images.
SIZES = {"I": 5, "T": 6, "B": 6, "C": 4, "D": 3, "K": 8, "R": 5, "F": 7, "L": 2, "M": 2}
IMAGE_OF_TEXT = torch.tensor([0, 0, 1, 2, 4, 9])
AXES = {
    "similarity": "IT", "positives": "IT", "confidence": "I", "outputs": "ID", "targets": "TD",
    "a": "BD", "b": "BD", "images": "BD", "texts": "BD", "image_logits": "BC", "text_logits": "BC", "weight": "CD",
    "labels": "BC", "alike": "BB", "image_bits": "BK", "text_bits": "BK",
    "s_v": "BD", "s_t": "BD", "g_v": "BD", "g_t": "BD", "real": "RL", "fake": "FM", "annotated": "R", "others": "F",
}  # fmt: skip
NUMBERS = {"temperature": 0.5, "samples": 50}
FROZEN = {"confidence", "targets"}  # no gradient is wanted there


ANY = (ValueError, RuntimeError, IndexError)  # what torch raises

# What each loss of similarities is worth for 64 plain pairs: at collapse exactly, at chance between two values.
WORTH = {
    "sum_of_hinges": (2 * 0.2 * 63, 24, 26.5),
    "max_of_hinges": (2 * 0.2, 0.45, 0.75),
    "weighted_hinges": (2 * 0.2, 0.45, 0.75),
    "info_nce": (math.log(64), math.log(64), 1.2 * math.log(64)),
    "InfoNCE": (math.log(64), math.log(64), 1.2 * math.log(64)),
    "sigmoid_loss": (64 * math.log(2), 9.5, 10.5),
    "SigmoidLoss": (64 * math.log(2), 9.5, 10.5),
}


def losses() -> dict[str, object]:
    """Name -> function or module class of every loss there is."""
    found = {}
    for room in (lib.losses, lib.systems):
        for info in pkgutil.walk_packages(room.__path__, f"{room.__name__}."):
            if info.name.startswith(streaming.__name__):
                continue
            module = importlib.import_module(info.name)
            of_losses = room is lib.losses or info.name.endswith(".losses")
            for name, thing in vars(module).items():
                if name.startswith("_") or getattr(thing, "__module__", None) != info.name or name in HELPERS:
                    continue
                is_loss = inspect.isfunction(thing) or (inspect.isclass(thing) and issubclass(thing, nn.Module))
                if is_loss and (of_losses or name.endswith("_loss")):
                    found[f"{info.name.removeprefix('lib.')}.{name}"] = thing
    return found


LOSSES = losses()
EACH = pytest.mark.parametrize("path", LOSSES)


def needed(path: str) -> list[str]:
    """The arguments without a default."""
    called = LOSSES[path].forward if inspect.isclass(LOSSES[path]) else LOSSES[path]
    parameters = inspect.signature(called).parameters.values()
    return [p.name for p in parameters if p.default is p.empty and p.name != "self"]


def the_loss(path: str):
    return LOSSES[path]() if inspect.isclass(LOSSES[path]) else LOSSES[path]


def axes_of(path: str) -> dict[str, str]:
    """The tensors that a loss gets, with their axes."""
    names = needed(path)
    unknown = [name for name in names if name not in AXES and name not in NUMBERS]
    assert not unknown, (
        f"lib.{path} takes {', '.join(unknown)}, which no tiny batch has: add it to AXES or NUMBERS in "
        f"tests/test_contract_losses.py, or {path.rpartition('.')[2]} to HELPERS there if it is no loss"
    )
    axes = {name: AXES[name] for name in names if name in AXES}
    return axes | ({"targets": "IT"} if {"similarity", "targets"} <= axes.keys() else {})


def test_a_loss_with_an_unknown_argument_is_red_and_says_what_to_add(monkeypatch):
    monkeypatch.setitem(LOSSES, "losses.new.loss", lambda similarity, neighbours: similarity)
    with pytest.raises(AssertionError, match="takes neighbours, which no tiny batch has: add it to AXES"):
        axes_of("losses.new.loss")


def batch(path: str, seed: int = 0, dtype=torch.float64) -> dict[str, torch.Tensor]:
    """Tiny inputs of a loss; features are positive, as some losses want them, and no two numbers are equal."""
    generator = torch.Generator().manual_seed(seed)
    given = {}
    for name, axes in axes_of(path).items():
        values = torch.rand([SIZES[axis] for axis in axes], generator=generator, dtype=torch.float64)
        given[name] = (values * 2 - 1 if name in ("similarity", "image_bits", "text_bits") else values).to(dtype)
    labels = torch.eye(SIZES["C"], dtype=torch.bool)[torch.tensor([0, 1, 2, 3, 0, 1])]
    labels[0, 2] = True
    masks = {
        "positives": torch.arange(SIZES["I"])[:, None] == IMAGE_OF_TEXT,
        "labels": labels,
        "alike": (labels.float() @ labels.float().T) > 0,
    }
    return {name: masks.get(name, value) for name, value in given.items()}


def value_and_gradients(path: str, given: dict[str, torch.Tensor]):
    """The loss, and the gradients of the inputs that learn."""
    leaves = {
        name: value.clone().requires_grad_(value.is_floating_point() and name not in FROZEN)
        for name, value in given.items()
    }
    numbers = {name: NUMBERS[name] for name in needed(path) if name in NUMBERS}
    value = the_loss(path)(**leaves, **numbers)
    value.backward()
    return value.detach(), {name: leaf.grad for name, leaf in leaves.items() if leaf.requires_grad}


@EACH
def test_a_loss_is_a_finite_number_with_its_true_gradient(path):
    given = batch(path)
    value, gradients = value_and_gradients(path, given)
    assert value.shape == ()
    assert value.isfinite()
    assert gradients
    names, numbers = list(gradients), {name: NUMBERS[name] for name in needed(path) if name in NUMBERS}
    loss = the_loss(path).double() if inspect.isclass(LOSSES[path]) else the_loss(path)

    def of_leaves(*leaves):
        return loss(**(given | dict(zip(names, leaves, strict=True))), **numbers)

    assert torch.autograd.gradcheck(of_leaves, [given[name].clone().requires_grad_() for name in names])
    for name, gradient in gradients.items():
        assert gradient.abs().sum() > 0, f"{name} gets no gradient: FROZEN, if none is wanted"


@EACH
@pytest.mark.parametrize(
    ("dtype", "rtol"), [(torch.float32, 1e-4), (torch.bfloat16, 0.05)], ids=["float32", "bfloat16"]
)
def test_a_loss_takes_any_precision(path, dtype, rtol):
    coarse = {
        name: part.bfloat16().double() if part.is_floating_point() else part for name, part in batch(path).items()
    }
    expected, _ = value_and_gradients(path, coarse)
    same = {name: part.to(dtype) if part.is_floating_point() else part for name, part in coarse.items()}
    value, gradients = value_and_gradients(path, same)
    assert float(value) == pytest.approx(float(expected), rel=rtol, abs=rtol)
    for name, gradient in gradients.items():
        assert gradient.dtype == dtype, name
        assert gradient.isfinite().all(), name


@EACH
def test_a_loss_does_not_depend_on_the_order_of_the_batch(path):
    given, axes = batch(path), axes_of(path)
    order = {axis: torch.randperm(size, generator=torch.Generator().manual_seed(1)) for axis, size in SIZES.items()}
    moved = {}
    for name, part in given.items():
        for dim, axis in enumerate(axes[name]):
            if axis not in "CDKLM":  # classes, features and bits stay where they are
                part = part.index_select(dim, order[axis])
        moved[name] = part
    torch.testing.assert_close(value_and_gradients(path, moved)[0], value_and_gradients(path, given)[0])


@pytest.mark.filterwarnings("ignore:Using a target size")  # which torch says before it refuses
@EACH
def test_inputs_that_do_not_fit_are_refused(path):
    """One row too few is refused by name; one column too few never goes unnoticed."""
    given, axes = batch(path), axes_of(path)
    if inspect.isclass(LOSSES[path]):
        return  # calls a function that is tested
    for name, letters in axes.items():
        for dim, axis in enumerate(letters):
            if not any(axis in other for key, other in axes.items() if key != name):
                continue
            cut = given | {name: given[name].narrow(dim, 0, SIZES[axis] - 1)}
            refused, message = (ValueError, name) if dim == 0 and axis in "ITB" else (ANY, None)
            with pytest.raises(refused, match=message):
                value_and_gradients(path, cut)


@pytest.mark.parametrize("path", [path for path in LOSSES if "positives" in needed(path)])
def test_a_mask_without_a_pair_or_of_numbers_is_refused(path):
    given = batch(path)
    numbers = given | {"positives": given["positives"].float()}
    nothing = given | {"positives": torch.zeros_like(given["positives"])}
    for wrong, message in ((numbers, "boolean"), (nothing, "no True entry")):
        with pytest.raises(ValueError, match=message):
            value_and_gradients(path, wrong)


@pytest.mark.parametrize("path", [path for path in LOSSES if "similarity" in needed(path)])
def test_a_batch_of_one_image_has_a_finite_gradient(path):
    given = {
        name: value[: 1 if axes[0] == "I" else None]
        for (name, value), axes in zip(batch(path).items(), axes_of(path).values(), strict=True)
    }
    if "positives" in given:
        given = {name: value[..., :2] if axes_of(path)[name] == "IT" else value for name, value in given.items()}
        assert given["positives"].all()
    value, gradients = value_and_gradients(path, given)
    assert value.isfinite()
    assert all(gradient.isfinite().all() for gradient in gradients.values())


@pytest.mark.parametrize("path", [path for path in LOSSES if {"similarity", "positives"} <= set(needed(path))])
def test_a_loss_of_similarities_says_what_it_is_worth(path):
    """The two lines that every training plot draws."""
    name = path.rpartition(".")[2]
    assert name in WORTH, (
        f"lib.{path}: say in its docstring what it is worth at chance and at collapse, and add both to WORTH in "
        "tests/test_contract_losses.py"
    )
    loss = the_loss(path)
    if "confidence" in needed(path):
        loss = lambda similarity, positives: the_loss(path)(similarity, positives, torch.ones(len(similarity)))  # noqa: E731
    collapse, low, high = WORTH[name]
    plain = torch.eye(64, dtype=torch.bool)
    assert value_at_collapse(loss, plain) == pytest.approx(collapse, rel=1e-5)
    chance = value_at_chance(loss, plain, dim=1024)
    assert low < chance < high
    assert loss(torch.eye(64), plain).item() < 0.2 * chance, "what is told apart costs little"


@pytest.mark.parametrize(
    "name",
    [
        name
        for name, thing in vars(streaming).items()
        if inspect.isfunction(thing) and thing.__module__ == streaming.__name__ and not name.startswith("_")
    ],
)
def test_a_streaming_loss_equals_its_namesake(name):
    generator = torch.Generator().manual_seed(0)
    found = []
    for streamed in (True, False):
        generator.manual_seed(0)
        x, y = (torch.randn(n, 8, generator=generator, dtype=torch.float64) for n in (SIZES["I"], SIZES["T"]))
        x, y = (nn.functional.normalize(part, dim=1).requires_grad_() for part in (x, y))
        x.retain_grad(), y.retain_grad()
        ids = torch.arange(SIZES["I"]), IMAGE_OF_TEXT
        if streamed:
            value = getattr(streaming, name)(x, y, *ids, engine="tiles", tile=20)
        else:
            value = getattr(lib.losses, name)(x @ y.T, lib.losses.positives_from_ids(*ids))
        value.backward()
        found.append((value.detach(), x.grad, y.grad))
    torch.testing.assert_close(found[0], found[1])
