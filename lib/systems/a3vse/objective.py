"""Learning from few captions and the regional semantics of the other pictures: our reconstruction of A3VSE.

Huang et al. 2019; what is certain and what is ours: see `lib.systems.a3vse.model`. One objective with four terms
serves the method and its baselines: a term whose weight is 0 is not computed.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lib.base.checked import check_fields
from lib.models.interface import Texts, Tokens
from lib.systems.a3vse.adversarial import domain_accuracy, domain_loss, reversal_ramp, reverse_gradient
from lib.systems.a3vse.losses import soft_alignment, weighted_hinges
from lib.systems.a3vse.model import A3VSE
from lib.training.batches import Batch, Pairs, epoch_seed
from lib.training.config import Loss


@dataclass(frozen=True)
class A3VSEChoices:
    """Weights and schedules of the terms, in one place; none could be read from the paper.

    Args:
        weak: weight of the ranking loss between the other pictures and their label sequences.
        margin: of that loss.
        soft: weight of the alignment of the other pictures with the captions of the batch, by the clues.
        temperature: of the similarities in `soft`.
        image_adversary, text_adversary: how strongly the encoders work against the discriminator of their side; with 0
            it only watches, with None there is none. The discriminators themselves learn with weight 1.
        gamma: of the ramp with which the reversal begins (`reversal_ramp`).
        warmup: share of training over which `weak` and `soft` rise from 0 to their weight.
    """

    weak: float = 0.0
    margin: float = 0.2
    soft: float = 0.0
    temperature: float = 0.07
    image_adversary: float | None = None
    text_adversary: float | None = None
    gamma: float = 10.0
    warmup: float = 0.0

    def __post_init__(self):
        weights = ["weak", "margin", "soft", "image_adversary", "text_adversary", "gamma", "warmup"]
        check_fields(self, positive=["temperature"], not_negative=weights)
        if self.warmup > 1:
            raise ValueError(f"A3VSEChoices: warmup must be a share from 0 to 1, got {self.warmup!r}")

    def reversal(self, progress: float) -> float:
        """Strength of the reversal, before the weights of the two sides, at `progress` (0 to 1)."""
        return reversal_ramp(progress, self.gamma)

    def rise(self, progress: float) -> float:
        """Factor on `weak` and `soft` at `progress`."""
        return 1.0 if progress >= self.warmup else progress / self.warmup


@dataclass(frozen=True)
class SparseBatch(Batch):
    """Annotated pairs, pictures without captions beside them, and how much of training is done.

    Attributes:
        others: images without captions and their label sequences.
        progress: share of training that lies behind, 0 to 1.
        epoch: number of the epoch.
    """

    others: Batch
    progress: float
    epoch: int


@dataclass(frozen=True, kw_only=True)
class SparsePairs(Pairs):
    """Annotated pairs, and other pictures that only a classifier or a detector has named.

    Args:
        others: N' other pictures, each with its label sequence as its only text, in the form of `texts`.
        confidence: (N',) of the label sequences.
        clue_images: (N', C), and clue_texts: (M, C): their inner products say how well a caption may fit another
            picture, as logits of `soft_alignment`; see `clues`. None where there is no `soft` term.
        epochs: of training, for `SparseBatch.progress`.
        others_per_batch: other pictures in a batch.

    Raises:
        ValueError: the parts do not fit together.
    """

    others: Pairs
    confidence: Tensor
    epochs: int
    clue_images: Tensor | None = None
    clue_texts: Tensor | None = None
    others_per_batch: int = 128

    def __post_init__(self):
        super().__post_init__()
        if not torch.equal(self.others.image_of_text, torch.arange(len(self.others.images))):
            raise ValueError("others: row i of the label sequences must belong to picture i")
        rows = {"confidence": len(self.others), "clue_images": len(self.others), "clue_texts": len(self)}
        for name, wanted in rows.items():
            part = getattr(self, name)
            if part is not None and len(part) != wanted:
                raise ValueError(f"{name} has {len(part)} rows, not {wanted}")
        if (self.clue_images is None) != (self.clue_texts is None):
            raise ValueError("clues need both the pictures' and the texts' side")

    def epoch(
        self, batch_size: int, seed: int, epoch: int, device: torch.device | str = "cpu"
    ) -> Iterator[SparseBatch]:
        """Yield the batches of annotated pairs, each with other pictures drawn without repetition until all were seen.

        A pure function of `seed` and `epoch`, as in `Pairs.epoch`.
        """
        generator = torch.Generator().manual_seed(epoch_seed(seed, epoch) + 1)
        steps = -(-len(self) // batch_size)
        waiting = torch.empty(0, dtype=torch.long)
        for number, batch in enumerate(super().epoch(batch_size, seed, epoch, device)):
            while len(waiting) < self.others_per_batch:
                waiting = torch.cat([waiting, torch.randperm(len(self.others), generator=generator)])
            rows, waiting = waiting[: self.others_per_batch].unique(), waiting[self.others_per_batch :]
            yield SparseBatch(
                **vars(batch),
                others=self.others.batch(rows, device),
                progress=(epoch + number / steps) / self.epochs,
                epoch=epoch,
            )


def clues(*parts: tuple[float, Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Return one (N, C) and one (M, C) matrix whose inner products are the weighted sum of several similarities.

    Each part is (weight, images (N, D), texts (M, D)): what a first model thinks, or what label names and captions have
    in common. Divide the weights by a temperature to get logits.
    """
    images = torch.cat([weight * left for weight, left, _ in parts], 1)
    return images, torch.cat([right for _, _, right in parts], 1)


class A3VSEObjective(nn.Module):
    """`L_pair + rise (weak L_weak + soft L_soft) + L_domain(images) + L_domain(texts)` of a `SparseBatch`.

    The discriminators learn L_domain with weight 1, the encoders get its reversed gradient times the ramp and the
    weight of their side. `log` has the means of each epoch: loss of each term, accuracy of each discriminator.

    Args:
        data: what the batches are drawn from; it has confidences and clues.
        loss: of the annotated pairs, called as `loss(similarity, positives)`.
        choices: weights and schedules.
    """

    def __init__(self, data: SparsePairs, loss: Loss, choices: A3VSEChoices):
        if choices.soft and data.clue_images is None:
            raise ValueError("the soft term needs clues")
        super().__init__()
        self.data, self.loss, self.choices = data, loss, choices
        self._log: dict[int, dict[str, list]] = {}

    def get_extra_state(self) -> dict[int, dict[str, list[float]]]:
        """The log as plain numbers, for `state_dict`."""
        return {e: {name: list(map(float, values)) for name, values in parts.items()} for e, parts in self._log.items()}

    def set_extra_state(self, state: dict[int, dict[str, list[float]]]) -> None:
        """Take what `get_extra_state` gave."""
        self._log = {epoch: defaultdict(list, parts) for epoch, parts in state.items()}

    @property
    def log(self) -> list[dict]:
        """One dict an epoch: epoch, pair, and what was computed of weak, soft, {image,text}_{domain,accuracy}."""
        return [
            {"epoch": epoch} | {name: sum(map(float, values)) / len(values) for name, values in parts.items()}
            for epoch, parts in self._log.items()
        ]

    def forward(self, model: A3VSE, batch: SparseBatch) -> Tensor:
        """Return the loss, a scalar."""
        chosen, note = self.choices, self._log.setdefault(batch.epoch, defaultdict(list))
        images, texts = model.encode_images(batch.images), model.encode_sentences(batch.texts)
        total = self.loss(model.compare(images, texts, _lengths(batch.texts)), batch.positives)
        note["pair"].append(total.detach())
        play_image, play_text = chosen.image_adversary is not None, chosen.text_adversary is not None
        rise = chosen.rise(batch.progress)
        seen, read = chosen.weak or chosen.soft or play_image, chosen.weak or play_text
        others = model.encode_images(batch.others.images) if seen else None
        labels = model.encode_sentences(batch.others.texts) if read else None
        if chosen.weak and others is not None and labels is not None:
            similarity = model.compare(others, labels, _lengths(batch.others.texts))
            confidence = self.data.confidence[batch.others.image_ids].to(similarity.device)
            value = weighted_hinges(similarity, batch.others.positives, confidence, chosen.margin)
            note["weak"].append(value.detach())
            total = total + rise * chosen.weak * value
        clue_images, clue_texts = self.data.clue_images, self.data.clue_texts
        if chosen.soft and others is not None and clue_images is not None and clue_texts is not None:
            similarity = model.compare(others, texts, _lengths(batch.texts))
            targets = clue_images[batch.others.image_ids] @ clue_texts[batch.text_ids].T
            value = soft_alignment(similarity, targets.to(similarity.device), chosen.temperature)
            note["soft"].append(value.detach())
            total = total + rise * chosen.soft * value
        if play_image:
            total = total + self._game(model, "image", batch.progress, note, (images, None), (others, None))
        if play_text:
            pair = (texts, _lengths(batch.texts)), (labels, _lengths(batch.others.texts))
            total = total + self._game(model, "text", batch.progress, note, *pair)
        return total

    def _game(self, model: A3VSE, side: str, progress: float, note: dict, annotated, others) -> Tensor:
        strength = self.choices.reversal(progress) * getattr(self.choices, f"{side}_adversary")
        logits = [
            model.domain_logits(side, reverse_gradient(vectors, strength), lengths)
            for vectors, lengths in (annotated, others)
        ]
        value = domain_loss(*logits)
        note[f"{side}_domain"].append(value.detach())
        note[f"{side}_accuracy"].append(domain_accuracy(*logits))
        return value


def _lengths(texts: Texts) -> Tensor | None:
    return texts.lengths if isinstance(texts, Tokens) else None
