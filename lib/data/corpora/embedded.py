"""Captions and keywords that photo programs write into the picture itself: XMP, IPTC, EXIF, the text of PNG."""

import io
import re
from typing import NamedTuple
from xml.etree import ElementTree

from PIL import Image, ImageFile, IptcImagePlugin

from lib.data.corpora.texts import clean, decode

DUBLIN_CORE = "{http://purl.org/dc/elements/1.1/}"
RDF_ITEM = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}li"
IPTC_CAPTION, IPTC_KEYWORDS, EXIF_DESCRIPTION = (2, 120), (2, 25), 270
# What cameras write there by themselves.
NO_CAPTION = re.compile(r"|\W+|OLYMPUS DIGITAL CAMERA|SONY DSC|DCIM\S*|KONICA.*|MINOLTA.*|<?untitled>?", re.IGNORECASE)


class Embedded(NamedTuple):
    """Texts that were found in a picture, each once."""

    captions: list[str]
    tags: list[str]


def embedded_texts(content: bytes) -> Embedded:
    """The texts inside a picture; OSError where it is none or its texts cannot be read."""
    try:
        with Image.open(io.BytesIO(content)) as image:
            found = [_xmp(image.info.get("xmp")), _iptc(image)]
            described = [
                image.getexif().get(EXIF_DESCRIPTION),
                image.info.get("Description"),
                image.info.get("comment"),
            ]
    except Image.DecompressionBombError as error:
        raise OSError(f"too large ({error})") from error
    except (OSError, ValueError, SyntaxError, EOFError, TypeError, KeyError, IndexError, AttributeError) as error:
        raise OSError(f"no texts can be read in it ({error})") from error
    found.append(Embedded([_text(value) for value in described if isinstance(value, str | bytes)], []))
    captions = [clean(text) for texts in found for text in texts.captions]
    tags = [clean(tag) for texts in found for tag in texts.tags]
    return Embedded([text for text in dict.fromkeys(captions) if not NO_CAPTION.fullmatch(text)],
                    [tag for tag in dict.fromkeys(tags) if tag])  # fmt: skip


def _text(value: str | bytes) -> str:
    return decode(value)[0] if isinstance(value, bytes) else value


def _xmp(packet: str | bytes | None) -> Embedded:
    """dc:description and dc:subject of an XMP packet."""
    if not packet:
        return Embedded([], [])
    text = _text(packet)
    if "<!" in text.replace("<![CDATA[", "").replace("<!--", ""):
        raise ValueError("its XMP declares entities, which are not followed")
    try:
        tree = ElementTree.fromstring(text[text.find("<") :].rstrip("\0 \r\n\t"))
    except ElementTree.ParseError as error:
        raise ValueError(f"its XMP is no XML, {error}") from error
    described, subjects = (
        [item.text or "" for element in tree.iter(f"{DUBLIN_CORE}{name}") for item in element.iter(RDF_ITEM)]
        for name in ("description", "subject")
    )
    return Embedded(described, subjects)


def _iptc(image: ImageFile.ImageFile) -> Embedded:
    about = IptcImagePlugin.getiptcinfo(image) or {}
    values = [about.get(key, []) for key in (IPTC_CAPTION, IPTC_KEYWORDS)]
    captions, tags = ([_text(v) for v in (value if isinstance(value, list) else [value])] for value in values)
    return Embedded(captions, tags)
