"""Words to vectors: tokens and vocabulary, embeddings of words and texts, sentence encoders.

Each is imported from its own file, because they need different packages. Those of `lib.text.embedding` share their
calls (fit, transform, query, vector, save, load): `word2vec`, `fasttext`, `glove_training`, `doc2vec`, `lda`, `tfidf`,
and the pretrained `glove` and `transformer`. `gru` is a network that learns with the rest of a model.
"""

from lib.text.tokens import Tokens, Vocabulary, pad, tokenize

__all__ = ["Tokens", "Vocabulary", "pad", "tokenize"]
