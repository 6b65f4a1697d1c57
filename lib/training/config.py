"""What a training run is made of: data, validation, objective, settings, and the history it leaves."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from lib.base.checked import check_fields

Loss = Callable[[Tensor, Tensor], Tensor]


class Trainable(Protocol):
    """What `fit` learns from: `Pairs`, or other data that come in batches."""

    def __len__(self) -> int: ...

    def epoch(self, batch_size: int, seed: int, epoch: int, device: torch.device | str = "cpu") -> Iterator[Any]:
        """Yield the batches of one epoch, a pure function of `seed` and `epoch`."""
        ...


class Validation(Protocol):
    """What `fit` chooses the epoch by, where it is not the recall sum of `Pairs`.

    Attributes:
        chooses: which of the scores; the largest is the best, of one that ends in "loss" the smallest.
    """

    chooses: str

    def scores(self, model: nn.Module, device: torch.device) -> dict[str, float]:
        """Return the scores of a model, by name."""
        ...


class Objective(Protocol):
    """The loss of a training step. One that is an `nn.Module` is part of the fit.

    One that reads nothing of the model but `encode_images`, `encode_sentences`, `encode_tags` and their cosines says so
    by an attribute `of_points = True`; its value at chance and at collapse stands in the history then.

    Its parameters that need a gradient when `fit` begins are trained with the model; what else it learns or notes
    (discriminators with an optimiser of their own, a log) has to be in its `state_dict`, by `get_extra_state` and
    `set_extra_state`, so that it comes back when the fit is resumed or taken from the store.
    """

    def __call__(self, model: Any, batch: Any) -> Tensor:
        """Return the loss, a scalar."""
        ...


@dataclass(frozen=True)
class TrainConfig:
    """How to train; the defaults are those of VSE++ and of Mithun et al. 2018, stage I.

    Args:
        epochs: passes over the texts.
        batch_size: texts a batch.
        learning_rate: of Adam, after warm-up.
        weight_decay: decoupled (AdamW); 0 is plain Adam.
        warmup_steps: steps of linear rise of the learning rate.
        schedule: "constant", "step" (times 0.1 every `decay_every` epochs), "cosine" (to 0 at the last step) or
            "plateau" (times 0.5 after `decay_every` epochs without a better validation score, to 1e-6 at least).
        decay_every: epochs, for "step" and "plateau".
        clip_norm: largest L2 norm of the gradient; None does not clip.
        betas: of Adam.
        patience: stop after so many epochs without a better validation score; None never stops early.
        seed: of the order of the pairs and of dropout.
        bf16: use bfloat16 autocast where the GPU has it.
        average: decay a step of an exponential average of the weights (EMA), which is then what is validated and kept;
            0.99 averages over a hundred steps. None takes the weights as the last step left them.
        compile: run the model through `torch.compile`, one graph for all lengths.

    Raises:
        TypeError, ValueError: a value of another type or out of its range; the message names it.
    """

    epochs: int = 30
    batch_size: int = 128
    learning_rate: float = 2e-4
    weight_decay: float = 0.0
    warmup_steps: int = 0
    schedule: str = "step"
    decay_every: int = 10
    clip_norm: float | None = 2.0
    betas: tuple[float, float] = (0.9, 0.999)
    patience: int | None = None
    seed: int = 0
    bf16: bool = True
    average: float | None = None
    compile: bool = False

    def __post_init__(self) -> None:
        if self.schedule not in ("constant", "step", "cosine", "plateau"):
            raise ValueError(f"schedule must be 'constant', 'step', 'cosine' or 'plateau', got {self.schedule!r}")
        check_fields(
            self,
            positive=["epochs", "batch_size", "learning_rate", "decay_every", "clip_norm", "patience"],
            not_negative=["weight_decay", "warmup_steps", "seed"],
        )
        if self.average is not None and not 0 < self.average < 1:
            raise ValueError(f"average must lie between 0 and 1, got {self.average!r}")

    def rate(self, step: int, steps_per_epoch: int) -> float:
        """Return the learning rate of optimiser step `step`, counted from 0; without what a plateau takes away."""
        total = self.epochs * steps_per_epoch
        factor = {
            "constant": 1.0,
            "plateau": 1.0,
            "step": 0.1 ** (step // (self.decay_every * steps_per_epoch)),
            "cosine": (1 + math.cos(math.pi * step / total)) / 2,
        }[self.schedule]
        return self.learning_rate * factor * min(1.0, (step + 1) / (self.warmup_steps + 1))


@dataclass
class History:
    """What happened: one dict an epoch with epoch, loss, chance, collapse, seconds, val_rsum, val_i2t_r1, ...

    Attributes:
        rows: of the epochs.
        chosen_by: key of the validation score that chooses the epoch; of one that ends in "loss" the smallest is best.
    """

    rows: list[dict] = field(default_factory=list)
    chosen_by: str = "val_rsum"

    @property
    def collapsed(self) -> bool:
        """Whether the loss, from the third epoch on and in three or more, was never below its value at collapse.

        Every hinge is active then, and the hardest negative teaches little or nothing: where the triplet loss of the
        hardest negative begins from scratch, and sometimes stays (Schroff et al. 2015; Faghri et al. 2018).
        """
        late = [row for row in self.rows[2:] if "collapse" in row]
        return len(late) >= 3 and all(row["loss"] >= row["collapse"] for row in late)

    def of_collapse(self) -> str:
        """Return the sentence that a run which is `collapsed` deserves."""
        last = self.rows[-1]
        return (
            f"from the third epoch on the loss was never below {last['collapse']:.3g}, what it costs to map everything "
            f"to one point (it ended at {last['loss']:.3g}): every hinge stays active. Begin with the sum of hinges, "
            "{0: sum_of_hinges, 1: max_of_hinges}, or with a smaller rate; if the pairs belong together at all"
        )

    def out_of_patience(self, patience: int | None) -> bool:
        """Return whether the best epoch lies `patience` epochs back; None never runs out."""
        return patience is not None and bool(self.rows) and self.rows[-1]["epoch"] - self.best["epoch"] >= patience

    @property
    def best(self) -> dict:
        """The epoch with the best validation score (the last epoch where nothing was validated)."""
        if self.chosen_by not in self.rows[-1]:
            return self.rows[-1]
        sign = -1 if self.chosen_by.endswith("loss") else 1
        return max(self.rows, key=lambda row: sign * row[self.chosen_by])
