"""One loop for every model: objective, schedule, validation, early stopping, and outcomes that are kept."""

import copy
import itertools
import math
import time
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from lib.base import fit_store
from lib.base.device import autocast, resolve_device
from lib.training.batches import Pairs, epoch_seed
from lib.training.config import History, Loss, Objective, Trainable, TrainConfig, Validation
from lib.training.reference import Similarity, reference
from lib.training.validation import validate

if TYPE_CHECKING:  # what training alone needs is imported when it begins
    from torch.optim.swa_utils import AveragedModel


def fit(
    model: nn.Module,
    train: Trainable,
    config: TrainConfig,
    loss: Loss | Mapping[int, Loss] | None = None,
    *,
    val: Pairs | Validation | None = None,
    objective: Objective | Mapping[int, Objective] | None = None,
    device: str | torch.device = "auto",
    progress: bool = True,
) -> History:
    """Train `model` in place and leave it with the weights of its best validation epoch, in eval mode.

    The outcome is kept (`lib.base.fit_store`): the same call, in whatever process, takes it from there, and a process
    that was killed goes on where it last wrote its progress. Both end with the same weights as an unbroken run, bitwise
    on a CPU: the order of an epoch and its dropout depend on the seed and the epoch alone.

    Args:
        model: called as `model(images, texts) -> (I, T) similarities`; frozen parts (no parameter that needs a
            gradient) stay in eval mode.
        train: pairs to learn from.
        config: see `TrainConfig`.
        loss: called as `loss(similarity, positives)`; or a dict from first epoch to loss, such as
            `{0: sum_of_hinges, 1: max_of_hinges}`. An `nn.Module` with parameters (`InfoNCE`) is trained as well.
        val: pairs for the recall sum after each epoch, or another `Validation`; without it the last weights stay.
        objective: instead of `loss`, for more than one term: `objective(model, batch) -> scalar`, see `Objective`; or a
            dict from first epoch to objective.
        device: "auto" takes the GPU if there is one.
        progress: show a progress bar with the loss, its chance line and the validation score.

    Returns:
        The history; losses are means over the epoch's batches.

    Raises:
        ValueError: neither or both of `loss` and `objective`, or a dict of them that lacks epoch 0.
        NoIdentity: something decides the outcome and cannot be hashed; give what it is made from, or train inside
            `with lib.base.fit_store.measuring():`.
        FloatingPointError: the loss became NaN or infinite; the message names the epoch and the step.

    Warns:
        UserWarning: from the third epoch on the loss is never below its value at collapse, see `History.collapsed`.

    Example:
        Forty pictures whose texts are a linear map of them, learned by two linear maps:

        >>> import torch
        >>> from lib.losses import info_nce
        >>> from lib.models import JointEmbedding, Projection
        >>> from lib.training import Pairs, TrainConfig, fit, validate
        >>> _ = torch.manual_seed(0)
        >>> images = torch.randn(40, 8)
        >>> pairs = Pairs(images, images @ torch.randn(8, 6), torch.arange(40))
        >>> model = JointEmbedding(Projection(8, 16), Projection(6, 16))
        >>> before = validate(model, pairs, device="cpu").as_dict()["rsum"]
        >>> config = TrainConfig(epochs=20, batch_size=20, learning_rate=0.01, schedule="constant")
        >>> history = fit(model, pairs, config, info_nce, device="cpu", progress=False)
        >>> len(history.rows), history.rows[-1]["loss"] < history.rows[0]["loss"]
        (20, True)
        >>> validate(model, pairs, device="cpu").as_dict()["rsum"] > 2 * before
        True
    """
    if (loss is None) == (objective is None):
        raise ValueError("give either a loss or an objective")
    device = resolve_device(device)
    given: Any = objective if loss is None else loss
    phases = dict(given) if isinstance(given, Mapping) else {0: given}
    if 0 not in phases:
        raise ValueError(f"nothing is said for epoch 0: the phases begin at {sorted(phases)}")
    if loss is not None:
        phases = {start: Similarity(of_phase) for start, of_phase in phases.items()}
    fitting = _Fit(model, train, config, phases, val, device)
    parts = {"model": model, "train": train, "config": config, "objectives": phases, "val": val}
    with fit_store.keeping(device, code=fit, **parts) as place:
        if place.outcome is not None:
            fitting.take(place.outcome)
        else:
            fitting.begin()
            if place.progress is not None:
                fitting.resume(place.progress)
            fitting.run(place, progress)
            place.finish(fitting.outcome())
    if fitting.history.collapsed:
        warnings.warn(fitting.history.of_collapse(), stacklevel=2)
    return fitting.history


class _Fit:
    """One run of `fit`: what it changes, and how that is written and read again."""

    optimiser: torch.optim.AdamW

    def __init__(self, model, train, config, objectives, val, device):
        self.model, self.train, self.config, self.val, self.device = model, train, config, val, device
        self.objectives = objectives
        self.others = nn.ModuleList([term for term in objectives.values() if isinstance(term, nn.Module)])
        self.modules = nn.ModuleList([model, *self.others]).to(device)
        chooses = "rsum" if val is None or isinstance(val, Pairs) else val.chooses
        self.history, self.best = History(chosen_by=f"val_{chooses}"), None
        # The next epoch, the losses of its steps that are done, and the random state behind them.
        self.epoch, self.step_losses, self.random = 0, [], None
        self.averaged: AveragedModel | None = None
        self.references: dict[int, dict[str, float]] = {}

    def begin(self) -> None:
        """Make what only training needs: an outcome that is taken from the store imports no optimiser."""
        config = self.config
        self.parameters = [parameter for parameter in self.modules.parameters() if parameter.requires_grad]
        self.optimiser = torch.optim.AdamW(
            self.parameters, config.learning_rate, betas=config.betas, weight_decay=config.weight_decay, fused=True
        )
        if config.average is not None:
            from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

            self.averaged = AveragedModel(self.model, multi_avg_fn=get_ema_multi_avg_fn(config.average))

    def run(self, place: fit_store.Place, progress: bool) -> None:
        """Train from where we are to the end."""
        from tqdm.auto import tqdm

        forward = torch.compile(self.model, dynamic=True) if self.config.compile else self.model
        plateau = self._plateau()
        bar = tqdm(total=self.config.epochs, initial=self.epoch, unit="epoch", disable=not progress, leave=False)
        while self.epoch < self.config.epochs and not self.history.out_of_patience(self.config.patience):
            started, epoch = time.perf_counter(), self.epoch
            _train_mode(self.modules)
            objective = self.objectives[max(start for start in self.objectives if start <= epoch)]
            row = {
                "epoch": epoch,
                "loss": self._train_epoch(forward, objective, float(plateau.get_last_lr()[0]), place),
            }
            row |= self._reference(objective)
            row["seconds"] = time.perf_counter() - started
            row |= {f"val_{name}": value for name, value in self._validated().items()}
            self.history.rows.append(row)
            if self.val is None or self.history.best is row:
                self.best = copy.deepcopy({name: x.detach() for name, x in self.judged.state_dict().items()})
            self.epoch, self.step_losses, self.random = epoch + 1, [], None
            if self.config.schedule == "plateau":
                plateau.step(row[self.history.chosen_by])
            if place.due():
                place.keep(self.state())
            bar.update()
            chosen_by = self.history.chosen_by
            bar.set_postfix({key: f"{row[key]:.3g}" for key in ("loss", "chance", chosen_by) if key in row})
        bar.close()
        self.model.load_state_dict(self.best)
        self.model.eval()

    def _train_epoch(self, forward, objective, rate: float, place: fit_store.Place) -> float:
        """Take one optimiser step a batch, from the first that is not done, and return the mean loss."""
        config, epoch, done = self.config, self.epoch, len(self.step_losses)
        steps_per_epoch = math.ceil(len(self.train) / config.batch_size)
        losses = []
        with torch.random.fork_rng():  # the caller's random state stays as it is
            torch.manual_seed(epoch_seed(config.seed, epoch))
            batches = self.train.epoch(config.batch_size, config.seed, epoch, self.device)
            for number, batch in enumerate(batches):
                if number < done:
                    continue
                if number == done and self.random is not None:
                    _set_random_state(self.random, self.device)
                for group in self.optimiser.param_groups:
                    scale = rate / config.learning_rate
                    group["lr"] = scale * config.rate(epoch * steps_per_epoch + number, steps_per_epoch)
                with autocast(self.device, config.bf16):
                    value = objective(forward, batch)
                self.optimiser.zero_grad(set_to_none=True)
                value.backward()
                if config.clip_norm is not None:
                    nn.utils.clip_grad_norm_(self.parameters, config.clip_norm)
                self.optimiser.step()
                if self.averaged is not None:
                    self.averaged.update_parameters(self.model)
                losses.append(value.detach())
                if place.due():
                    self.step_losses += torch.stack(losses).tolist()
                    self.random, losses = _random_state(self.device), []
                    place.keep(self.state())
        everything = self.step_losses + (torch.stack(losses).tolist() if losses else [])
        for number, value in enumerate(everything):
            if not math.isfinite(value):
                raise FloatingPointError(f"the loss became {value} in epoch {epoch}, step {number}")
        return sum(everything) / len(everything)

    def _reference(self, objective) -> dict[str, float]:
        """The objective at chance and at collapse, on the first batch, if it reads points alone."""
        if not getattr(objective, "of_points", False):
            return {}
        if id(objective) not in self.references:
            batches = self.train.epoch(self.config.batch_size, self.config.seed, 0, self.device)
            # One of the first two is whole: only the batch of an epoch's last texts is smaller.
            batch = max(itertools.islice(batches, 2), key=lambda batch: len(batch.text_ids))
            with torch.no_grad():
                dim = self.model.eval().encode_images(batch.images[:1]).shape[-1]
            self.references[id(objective)] = reference(objective, batch, dim)
        return self.references[id(objective)]

    @property
    def judged(self) -> nn.Module:
        """What is validated and kept: the model, or the average of its weights."""
        return self.model if self.averaged is None else self.averaged.module

    def _validated(self) -> dict[str, float]:
        if self.val is None:
            return {}
        if isinstance(self.val, Pairs):
            return validate(self.judged, self.val, device=self.device).as_dict()
        return {name: float(score) for name, score in self.val.scores(self.judged, self.device).items()}

    def _plateau(self) -> torch.optim.lr_scheduler.ReduceLROnPlateau:
        """The scheduler as it stands after the epochs of the history; it has an optimiser of its own."""
        if self.config.schedule == "plateau" and self.val is None:
            raise ValueError("schedule 'plateau' needs `val`")
        rate = torch.optim.SGD([torch.zeros(1)], self.config.learning_rate)
        mode: Literal["min", "max"] = "min" if self.history.chosen_by.endswith("loss") else "max"
        plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(rate, mode, 0.5, self.config.decay_every, min_lr=1e-6)
        for row in self.history.rows if self.config.schedule == "plateau" else ():
            plateau.step(row[self.history.chosen_by])
        return plateau

    def state(self) -> dict:
        """Everything that a later process needs to go on from here."""
        return {
            "modules": self.modules.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "averaged": None if self.averaged is None else self.averaged.state_dict(),
            "history": self.history.rows,
            "best": self.best,
            "epoch": self.epoch,
            "step_losses": self.step_losses,
            "random": self.random,
        }

    def resume(self, state: dict) -> None:
        """Go back to what `state` gave."""
        self.modules.load_state_dict(state["modules"])
        self.optimiser.load_state_dict(state["optimiser"])
        if self.averaged is not None:
            self.averaged.load_state_dict(state["averaged"])
        self.history.rows, self.best, self.epoch = state["history"], state["best"], state["epoch"]
        self.step_losses, self.random = state["step_losses"], state["random"]

    def outcome(self) -> dict:
        """What `fit` leaves behind: weights of the model, what objective and losses learned and noted, the history."""
        learned = {name for name, parameter in self.others.named_parameters() if parameter.requires_grad}
        others = {k: v for k, v in self.others.state_dict().items() if k in learned or k.endswith("_extra_state")}
        return {"model": self.model.state_dict(), "others": others, "history": self.history.rows}

    def take(self, outcome: dict) -> None:
        """Leave behind what an earlier run did."""
        self.model.load_state_dict(outcome["model"])
        self.others.load_state_dict(outcome["others"], strict=False)
        self.history.rows = outcome["history"]
        self.model.eval()


def _random_state(device: torch.device) -> list[Tensor]:
    return [torch.get_rng_state(), *([torch.cuda.get_rng_state(device)] if device.type == "cuda" else [])]


def _set_random_state(state: list[Tensor], device: torch.device) -> None:
    torch.set_rng_state(state[0].cpu())
    if device.type == "cuda":
        torch.cuda.set_rng_state(state[1].cpu(), device)


def _train_mode(modules: nn.Module) -> None:
    """Put everything that learns into train mode and everything frozen into eval mode."""
    modules.train()
    for module in modules.modules():
        parameters = list(module.parameters())
        if parameters and not any(parameter.requires_grad for parameter in parameters):
            module.eval()
