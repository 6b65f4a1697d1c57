"""Texts to words, and words to the integers that a network embeds."""

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from lib.base.files import atomic_path
from lib.base.letters import LETTER_OR_DIGIT

if TYPE_CHECKING:
    import torch

# An apostrophe belongs to a word when it stands inside it ("o'clock").
_WORD = re.compile(f"{LETTER_OR_DIGIT}+(?:'{LETTER_OR_DIGIT}+)*")
_PLAIN_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)*")  # the same where there are no marks, and twice as fast

PAD, UNKNOWN, START, END = range(4)
SPECIAL = ("<pad>", "<unknown>", "<start>", "<end>")


def tokenize(text: str) -> list[str]:
    """Words in lower case: "A woman’s T-shirt, 2 o'clock" -> ["a", "woman's", "t", "shirt", "2", "o'clock"].

    Punctuation, hyphens, underscores and emoji part words and are dropped; typographic apostrophes become plain,
    and accents are composed (NFC), so that a word is the same however it was typed. Vowel signs and other marks stay
    with their letter, and the Turkish capital I with a dot becomes a plain i.

    Raises:
        TypeError: anything but one text.
    """
    if not isinstance(text, str):
        raise TypeError(f"tokenize takes one text, not {type(text).__name__}: {str(text)[:60]!r}")
    if text.isascii():
        return _PLAIN_WORD.findall(text.lower())
    lower = unicodedata.normalize("NFC", text).lower().replace("i\u0307", "i")
    return _WORD.findall(unicodedata.normalize("NFC", lower).replace("’", "'"))


def check_texts(texts: Iterable, what: str = "texts", words: bool = False) -> None:
    """Raise TypeError for one text in the place of a list of them, and for what is no list of texts.

    With `words`, lists of words are right, too.
    """
    if isinstance(texts, str | bytes):
        raise TypeError(f"{what} is one text, {texts[:40]!r}: a list is wanted, [text]")
    if not isinstance(texts, Sequence):
        return  # an array or what is read once: looked at where it is used
    for row, text in enumerate(texts):
        if isinstance(text, str):
            continue
        if not words:
            raise TypeError(f"{what}, row {row}: {type(text).__name__} in the place of a text")
        check_words(text, f"{what}, row {row}")


def check_words(words: Iterable, what: str) -> None:
    """Raise TypeError where something is no list of words; most words of a list have no blanks in them."""
    if isinstance(words, str | bytes):
        raise TypeError(f"{what} is one text, {words[:40]!r}: words are wanted, tokenize(text)")
    if isinstance(words, Sequence):
        for word in words:
            if not isinstance(word, str):
                raise TypeError(f"{what} has {type(word).__name__} in the place of a word")
        if 2 * sum(" " in word.strip() for word in words) > len(words):
            raise TypeError(f"{what} is a list of texts, {str(words[0])[:40]!r}: words are wanted, tokenize(text)")


class Vocabulary:
    """Words and their ids; 0 pads, 1 is any unknown word, 2 starts and 3 ends a sentence."""

    def __init__(self, words: Sequence[str]):
        """`words` without the special ones, in the order of their ids from 4; ValueError for a repeated word."""
        check_words(words, "words")
        self.words = [*SPECIAL, *words]
        self._id = {word: i for i, word in enumerate(self.words)}
        if len(self._id) != len(self.words):
            repeated = [word for word, count in Counter(self.words).items() if count > 1]
            raise ValueError(f"words more than once in the vocabulary: {repeated[:5]}")

    @classmethod
    def build(cls, texts: Iterable[str], min_count: int = 1) -> "Vocabulary":
        """Words that occur at least `min_count` times, the most frequent first, equals in alphabetical order.

        Give it training texts only: a vocabulary that saw the test captions has learned from them.
        """
        check_texts(texts)
        counts = Counter(word for text in texts for word in tokenize(text))
        kept = [word for word, count in counts.items() if count >= min_count]
        return cls(sorted(kept, key=lambda word: (-counts[word], word)))

    def __len__(self) -> int:
        """Number of ids, the four special ones included."""
        return len(self.words)

    def __contains__(self, word: str) -> bool:
        return self._id.get(word, PAD) > END

    def encode(self, text: str) -> list[int]:
        """Ids of a text between start and end: at least two, whatever the text."""
        return [START, *(self._id.get(word, UNKNOWN) for word in tokenize(text)), END]

    def save(self, path: str | Path) -> None:
        """Write the vocabulary as JSON."""
        with atomic_path(Path(path)) as temporary:
            temporary.write_text(
                json.dumps({"words": self.words[len(SPECIAL) :]}, ensure_ascii=False), encoding="utf-8"
            )

    @classmethod
    def load(cls, path: str | Path) -> "Vocabulary":
        """Read what `save` wrote; ValueError where the file is something else."""
        try:
            return cls(json.loads(Path(path).read_text(encoding="utf-8"))["words"])
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path} is no vocabulary written by Vocabulary.save ({error})") from error


class Tokens(NamedTuple):
    """Sentences as word ids (B, L) int64, filled up with 0 at the end, and how many of each are real: lengths (B,)."""

    ids: "torch.Tensor"
    lengths: "torch.Tensor"


def pad(sequences: Sequence[Sequence[int]]) -> Tokens:
    """Id lists of any length as `Tokens`."""
    import torch

    lengths = torch.tensor([len(ids) for ids in sequences], dtype=torch.long)
    padded = torch.full((len(sequences), max(map(len, sequences), default=0)), PAD, dtype=torch.long)
    for row, ids in zip(padded, sequences, strict=True):
        row[: len(ids)] = torch.tensor(ids, dtype=torch.long)
    return Tokens(padded, lengths)
