"""Words to vectors: tokens and vocabulary, pretrained word vectors, sentence encoders.

Each encoder is imported from its own file (`lib.text.glove`, `lib.text.transformer`, `lib.text.gru`): they need
different packages.
"""

from lib.text.tokens import Vocabulary, pad, tokenize

__all__ = ["Vocabulary", "pad", "tokenize"]
