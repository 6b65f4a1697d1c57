"""Texts as they come: bytes in any encoding, damaged ones, JSON, hashtags, names of files."""

import codecs
import json
import os
import re
import unicodedata
from collections.abc import Sequence
from typing import Any

from lib.base.letters import LETTER_OR_DIGIT

# Tried in this order where a text is no UTF-8. Which one is right is a guess: GB18030 refuses an accented letter of a
# Western encoding before a space or at the end, and takes it for half a Chinese character before another letter;
# cp1252 takes nearly everything, so it comes last. Every repair is reported with the encoding.
FALLBACKS = ("gb18030", "cp1252")
# The order matters: the mark of UTF-32 begins with that of UTF-16.
BYTE_ORDER_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_LINK = r"(?:https?:|ftp:|www\.)\S*"
MARK_BEGINS = {mark[:1] for mark in BYTE_ORDER_MARKS}
# Neither in a link (#comments) nor glued to a word (a#b), nor the number in &#39;; a number alone is no tag. The first
# alternative takes links away before a tag is looked for in them.
HASHTAG = re.compile(rf"{_LINK}|(?<![\w&/])[#＃](?=[_\d]*[^\W\d_])((?:_|{LETTER_OR_DIGIT})+)", re.IGNORECASE)
WEB_PAGE = re.compile(r"\s*<(?:!doctype\s+html|html|head|body|\?xml)\b", re.IGNORECASE)


def readable(name: str) -> str:
    """A file name that can be printed and compared: NFC, and a name that is no UTF-8 read as cp1252."""
    try:
        name.encode()
    except UnicodeEncodeError:  # Python keeps such bytes as lone surrogates
        try:
            name = decode(os.fsencode(name), ("cp1252",))[0]
        except UnicodeEncodeError:
            name = name.encode("utf-8", "replace").decode()
    return unicodedata.normalize("NFC", name)


def decode(raw: bytes, fallbacks: Sequence[str] = FALLBACKS) -> tuple[str, str]:
    """The text, and what had to be done to read it: empty for UTF-8, and for what a byte order mark announces.

    A text in UTF-8 that is damaged (a letter cut off at its end, or a few broken places among more whole letters) keeps
    its encoding; any other is read by the first of `fallbacks` that can. NUL bytes are in no text: it comes out empty.
    """
    marked = None
    if raw[:1] in MARK_BEGINS:
        marked = next((encoding for mark, encoding in BYTE_ORDER_MARKS.items() if raw.startswith(mark)), None)
    encoding = marked or wide(raw) or "utf-8"
    try:
        text, repair = raw.decode(encoding), "" if marked or encoding == "utf-8" else f"no UTF-8, read as {encoding}"
    except UnicodeDecodeError as error:
        text, repair = _repaired(raw, encoding, error, () if marked else fallbacks)
    return ("", "NUL bytes: no text; left out") if "\0" in text else (text, repair)


def wide(raw: bytes) -> str | None:
    """UTF-16 without a mark: letters of Europe have a NUL in every second byte."""
    if len(raw) < 4 or len(raw) % 2 or b"\0" not in raw:
        return None
    for encoding, zeros, letters in (("utf-16-le", raw[1::2], raw[::2]), ("utf-16-be", raw[::2], raw[1::2])):
        if zeros.count(0) > 0.8 * len(zeros) and 0 not in letters:
            return encoding
    return None


def _repaired(raw: bytes, encoding: str, error: UnicodeDecodeError, fallbacks: Sequence[str]) -> tuple[str, str]:
    name = encoding.removesuffix("-sig").upper()
    wrong = f"no {name} (byte {error.start})"
    replaced = raw.decode(encoding, errors="replace")
    if name == "UTF-8":
        broken = replaced.count("\ufffd") - raw.count("\ufffd".encode())
        whole = sum(character > "\x7f" for character in replaced) - broken
        # One byte alone may as well be an accented letter of a Western encoding.
        if error.reason == "unexpected end of data" and (whole or len(raw) - error.start > 1):
            return replaced[:-1], f"{wrong}, the last letter is cut off; left out"
        for fallback in fallbacks:
            try:
                text = raw.decode(fallback)
            except UnicodeDecodeError:
                continue
            # An encoding of one byte a letter takes anything; one of several refuses most of what is not its own, but
            # two letters of it now and then make one of UTF-8.
            if whole < (4 * broken if len(text) < len(raw) else max(broken, 1)):
                return text, f"{wrong}, read as {fallback}"
    return replaced, f"{wrong}, unreadable bytes replaced by U+FFFD"


def not_a_text(value: Any) -> str:
    """Why something cannot be the caption or tag of a picture; empty where it can."""
    if not isinstance(value, str):
        return f"is no text but {type(value).__name__}"
    if WEB_PAGE.match(value):
        return "is a web page, no text"
    if "\0" in value:
        return "has NUL in it: no text"
    try:
        value.encode()
    except UnicodeEncodeError as error:
        return f"has half a character (a lone surrogate, place {error.start + 1})"
    return ""


def parse_json(raw: bytes | str) -> Any:
    """What a JSON text says; ValueError where it is none, also where it is nested deeper than Python can follow."""
    try:
        return json.loads(raw)
    except RecursionError:
        raise ValueError("it is nested too deep") from None


def clean(text: str) -> str:
    """The text on one line with single spaces."""
    return " ".join(text.split())


def hashtags(text: str) -> list[str]:
    """The words behind # in order, each once, as they are written: "#NYC #nyc #1 &#39;" -> ["NYC", "nyc"]."""
    if "#" not in text and "＃" not in text:
        return []
    return list(dict.fromkeys(filter(None, HASHTAG.findall(text))))
