"""What a word is made of, in every script: pieces of regular expressions that the rooms share."""

import unicodedata

# Keycaps and emoji are put together with these; they are no part of a word ("1" in a keycap stays the word "1").
_OF_EMOJI = {*range(0x20D0, 0x2100), *range(0xFE00, 0xFE10)}


def _marks() -> str:
    """Ranges of a character class: the combining marks of all scripts, without those of emoji."""
    found = (code for code in range(0x300, 0x20000) if unicodedata.category(chr(code))[0] == "M")
    codes = [code for code in found if code not in _OF_EMOJI]
    starts = [code for code, before in zip(codes, [-1, *codes], strict=False) if code != before + 1]
    ends = [code for code, after in zip(codes, [*codes[1:], -1], strict=True) if code + 1 != after]
    return "".join(f"\\U{start:08x}-\\U{end:08x}" for start, end in zip(starts, ends, strict=True))


# Python's \w leaves out the vowel signs of Hindi, Tamil or Thai and the points of Arabic and Hebrew: they belong to the
# letter before them, and so do the two joiners of Persian and of Indian scripts where another letter follows.
MARKS = f"[{_marks()}]"
LETTER = rf"(?:[^\W\d_](?:{MARKS}|[\u200c\u200d](?=[^\W\d_]))*)"  # with the marks on it
LETTER_OR_DIGIT = rf"(?:[^\W_](?:{MARKS}|[\u200c\u200d](?=[^\W\d_]))*)"
