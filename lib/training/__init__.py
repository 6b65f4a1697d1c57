"""The training loop: pairs in, the weights of the best validation epoch out; torch only."""

from lib.training.batches import Batch, Pairs, concatenated
from lib.training.loop import History, TrainConfig, fit, validate

__all__ = ["Batch", "History", "Pairs", "TrainConfig", "concatenated", "fit", "validate"]
