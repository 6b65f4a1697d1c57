"""Pixels to features: frozen image encoders and a cache of what they computed."""

from lib.vision.extract import KINDS, extract_features

__all__ = ["KINDS", "extract_features"]
