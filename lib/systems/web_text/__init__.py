"""Self-supervised learning from web data (Gomez et al. 2019): an image model learns vectors of the words beside it."""

from lib.systems.web_text.regression import CosineRegression, SigmoidRegression, TextRegression, min_max

__all__ = [
    "CosineRegression",
    "SigmoidRegression",
    "TextRegression",
    "min_max",
]
