"""The training loop: pairs in, the weights of the best validation epoch out; torch only."""

from lib.training.batches import Batch, Pairs, concatenated
from lib.training.config import History, Objective, TrainConfig
from lib.training.loop import fit
from lib.training.validation import validate

__all__ = ["Batch", "History", "Objective", "Pairs", "TrainConfig", "concatenated", "fit", "validate"]
