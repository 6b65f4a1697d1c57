"""One loop for every model: objective, schedule, validation, early stopping, checkpoints."""

import copy
import dataclasses
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from lib.base.device import autocast, resolve_device
from lib.evaluation import Scores, evaluate, evaluate_similarity
from lib.losses import value_at_chance, value_at_collapse
from lib.training import checkpoint as checkpoints
from lib.training.batches import Batch, Pairs, epoch_seed

Loss = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class TrainConfig:
    """How to train; the defaults are those of VSE++ and of Mithun et al. 2018, stage I.

    Args:
        epochs: passes over the texts.
        batch_size: texts a batch.
        learning_rate: of Adam, after warm-up.
        weight_decay: decoupled (AdamW); 0 is plain Adam.
        warmup_steps: steps of linear rise of the learning rate.
        schedule: "constant", "step" (times 0.1 every `decay_every` epochs) or "cosine" (to 0 at the last step).
        decay_every: epochs, for "step".
        clip_norm: largest L2 norm of the gradient.
        patience: stop after so many epochs without a better validation recall sum; None never stops early.
        seed: of the order of the pairs and of dropout.
        bf16: use bfloat16 autocast where the GPU has it.
        compile: run the model through `torch.compile`, one graph for all lengths.
    """

    epochs: int = 30
    batch_size: int = 128
    learning_rate: float = 2e-4
    weight_decay: float = 0.0
    warmup_steps: int = 0
    schedule: str = "step"
    decay_every: int = 10
    clip_norm: float = 2.0
    patience: int | None = None
    seed: int = 0
    bf16: bool = True
    compile: bool = False

    def __post_init__(self):
        if self.schedule not in ("constant", "step", "cosine"):
            raise ValueError(f"schedule must be 'constant', 'step' or 'cosine', got {self.schedule!r}")
        for name in ("epochs", "batch_size", "learning_rate", "decay_every", "clip_norm"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")

    def rate(self, step: int, steps_per_epoch: int) -> float:
        """Return the learning rate of optimiser step `step`, counted from 0."""
        total = self.epochs * steps_per_epoch
        factor = {
            "constant": 1.0,
            "step": 0.1 ** (step // (self.decay_every * steps_per_epoch)),
            "cosine": (1 + math.cos(math.pi * step / total)) / 2,
        }[self.schedule]
        return self.learning_rate * factor * min(1.0, (step + 1) / (self.warmup_steps + 1))


@dataclass
class History:
    """What happened: one dict an epoch with epoch, loss, chance, collapse, seconds, val_rsum, val_i2t_r1, ..."""

    rows: list[dict] = field(default_factory=list)

    @property
    def best(self) -> dict:
        """The epoch with the highest validation recall sum (the last epoch where nothing was validated)."""
        return max(self.rows, key=lambda row: (row.get("val_rsum", 0.0), row["epoch"] if "val_rsum" not in row else 0))


def fit(
    model: nn.Module,
    train: Pairs,
    config: TrainConfig,
    loss: Loss | dict[int, Loss] | None = None,
    *,
    val: Pairs | None = None,
    objective: Callable[[nn.Module, Batch], Tensor] | None = None,
    checkpoint: str | Path | None = None,
    device: str = "auto",
    progress: bool = True,
) -> History:
    """Train `model` in place and leave it with the weights of its best validation epoch, in eval mode.

    Args:
        model: called as `model(images, texts) -> (I, T) similarities`; frozen parts (no parameter that needs a
            gradient) stay in eval mode.
        train: pairs to learn from.
        config: see `TrainConfig`.
        loss: called as `loss(similarity, positives)`; or a dict from first epoch to loss, such as
            `{0: sum_of_hinges, 1: max_of_hinges}`. An `nn.Module` with parameters (`InfoNCE`) is trained as well.
        val: pairs for the recall sum after each epoch; without it the last weights stay.
        objective: instead of `loss`, for more than one term: `objective(model, batch) -> scalar`.
        checkpoint: file that is written after each epoch and resumed from: a run that was killed ends with the same
            weights as one that was not (bitwise on a CPU). The order of an epoch and its dropout depend on the seed
            and the epoch alone.
        device: "auto" takes the GPU if there is one.
        progress: show a progress bar with the loss, its chance line and the validation recall sum.

    Returns:
        The history; losses are means over the epoch's batches.

    Raises:
        ValueError: neither or both of `loss` and `objective`; a checkpoint of another run.
        FloatingPointError: the loss became NaN or infinite; the message names the epoch and the step.
    """
    if (loss is None) == (objective is None):
        raise ValueError("give either a loss or an objective")
    device = resolve_device(device)
    schedule = loss if isinstance(loss, dict) else {0: loss}
    modules = nn.ModuleList([model, *(term for term in schedule.values() if isinstance(term, nn.Module))]).to(device)
    parameters = [parameter for parameter in modules.parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW(parameters, config.learning_rate, weight_decay=config.weight_decay)
    forward = torch.compile(model, dynamic=True) if config.compile else model

    run = {**dataclasses.asdict(config), "texts": len(train), "images": len(train.images)}
    state = checkpoints.load(checkpoint, run, device) if checkpoint else None
    history, best, first = History(), None, 0
    if state:
        modules.load_state_dict(state["modules"])
        optimiser.load_state_dict(state["optimiser"])
        history, best, first = History(state["history"]), state["best"], state["epoch"] + 1

    bar = _progress_bar(progress, config.epochs, first)
    for epoch in range(first, config.epochs):
        if _out_of_patience(history, config.patience):
            break
        started = time.perf_counter()
        _train_mode(modules)
        current = schedule[max(start for start in schedule if start <= epoch)]
        step = objective or _similarity_objective(current)
        row = {"epoch": epoch, "loss": _train_epoch(forward, train, config, step, optimiser, epoch, device)}
        if current is not None:
            row |= _reference(model, train, config, current, device)
        row["seconds"] = time.perf_counter() - started
        if val is not None:
            row |= {f"val_{key}": value for key, value in validate(model, val, device=str(device)).as_dict().items()}
        history.rows.append(row)
        if val is None or history.best is row:
            best = copy.deepcopy({name: tensor.detach() for name, tensor in model.state_dict().items()})
        if checkpoint:
            state = {"run": run, "epoch": epoch, "history": history.rows, "best": best}
            state |= {"modules": modules.state_dict(), "optimiser": optimiser.state_dict()}
            checkpoints.save(checkpoint, state)
        bar.update()
        bar.set_postfix({key: f"{row[key]:.3g}" for key in ("loss", "chance", "val_rsum") if key in row})
    bar.close()
    model.load_state_dict(best)
    model.eval()
    return history


def _train_epoch(model, train, config, objective, optimiser, epoch, device) -> float:
    """Take one optimiser step a batch and return the mean loss."""
    steps_per_epoch = math.ceil(len(train) / config.batch_size)
    parameters = [parameter for group in optimiser.param_groups for parameter in group["params"]]
    losses = []
    with torch.random.fork_rng():  # the caller's random state stays as it is
        torch.manual_seed(epoch_seed(config.seed, epoch))
        for number, batch in enumerate(train.epoch(config.batch_size, config.seed, epoch, device)):
            for group in optimiser.param_groups:
                group["lr"] = config.rate(epoch * steps_per_epoch + number, steps_per_epoch)
            with autocast(device, config.bf16):
                value = objective(model, batch)
            optimiser.zero_grad(set_to_none=True)
            value.backward()
            nn.utils.clip_grad_norm_(parameters, config.clip_norm)
            optimiser.step()
            losses.append(value.detach())
    losses = torch.stack(losses).tolist()
    for number, value in enumerate(losses):
        if not math.isfinite(value):
            raise FloatingPointError(f"the loss became {value} in epoch {epoch}, step {number}")
    return sum(losses) / len(losses)


def _similarity_objective(loss: Loss) -> Callable[[nn.Module, Batch], Tensor]:
    return lambda model, batch: loss(model(batch.images, batch.texts).float(), batch.positives)


@torch.no_grad()
def validate(
    model: nn.Module, pairs: Pairs, protocol: str = "full", batch_size: int = 256, device: str = "auto"
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
    """
    device = resolve_device(device)
    model.to(device).eval()
    image_rows = torch.arange(len(pairs.images)).split(batch_size)
    text_rows = torch.arange(len(pairs)).split(batch_size)
    if model.encode_images(pairs.image_rows(image_rows[0][:1], device)).ndim == 2:
        images = torch.cat([model.encode_images(pairs.image_rows(rows, device)) for rows in image_rows])
        texts = torch.cat([model.encode_sentences(pairs.text_rows(rows, device)) for rows in text_rows])
        return evaluate(images, texts, pairs.image_of_text, protocol=protocol)
    similarity = torch.cat(
        [
            torch.cat([model(images, pairs.text_rows(rows, device)) for rows in text_rows], dim=1)
            for images in (pairs.image_rows(rows, device) for rows in image_rows)
        ]
    )
    return evaluate_similarity(similarity, pairs.image_of_text, protocol=protocol)


def _train_mode(modules: nn.Module) -> None:
    """Put everything that learns into train mode and everything frozen into eval mode."""
    modules.train()
    for module in modules.modules():
        parameters = list(module.parameters())
        if parameters and not any(parameter.requires_grad for parameter in parameters):
            module.eval()


def _out_of_patience(history: History, patience: int | None) -> bool:
    return patience is not None and bool(history.rows) and history.rows[-1]["epoch"] - history.best["epoch"] >= patience


def _reference(model, train, config, loss, device) -> dict[str, float]:
    """Return the loss of a typical batch at chance and at collapse, the lines to draw beside the curve."""
    batch = next(train.epoch(config.batch_size, config.seed, 0, device))
    with torch.no_grad():
        dim = model.eval().encode_images(batch.images[:1]).shape[-1]
    return {
        "chance": value_at_chance(loss, batch.positives, dim),
        "collapse": value_at_collapse(loss, batch.positives),
    }


def _progress_bar(show: bool, total: int, initial: int):
    from tqdm.auto import tqdm

    return tqdm(total=total, initial=initial, unit="epoch", disable=not show, leave=False)
