"""Image-text retrieval when clean captions are few and the web is noisy."""

__version__ = "0.1.0"
