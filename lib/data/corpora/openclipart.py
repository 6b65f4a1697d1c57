"""Open Clip Art Library 0.18: public-domain drawings with the titles, keywords and descriptions of their uploaders.

The texts lie in each drawing, as RDF: title and description become captions, the keywords tags. They are as the
uploaders wrote them: names of collections ("hash", "theme", "unsorted"), other languages, nothing at all. Only e-mail
addresses go; who uploaded a drawing is not read. All drawings are of split "web".

A drawing becomes a PNG file at the first load: whole, on a white square. Its size is the one it states or that of its
view box. No fonts are used, so that every machine draws the same; a drawing of letters alone is blank, and a problem.
"""

import hashlib
import io
import re
from importlib.metadata import version
from pathlib import Path
from xml.etree import ElementTree

from PIL import Image, ImageChops

from lib.base.files import atomic_path, cache_dir
from lib.data.corpora.reading import Items, corpus_root, find, listing
from lib.data.corpora.texts import clean
from lib.data.corpus import Corpus
from lib.data.images import ImageFiles
from lib.data.obtain.registry import read_entry

NAME = "openclipart"
ADDRESS = re.compile(r"[<(\[]?(?:mailto:)?[\w.+-]+@[\w.-]+[>)\]]?")
DUBLIN_CORE = "{http://purl.org/dc/elements/1.1/}"
LISTED = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}li"


def load(root: str | Path | None = None, size: int = 224) -> Corpus:
    """Load the drawings below `root`, of `size` pixels a side; what cannot be read or drawn is in `problems`.

    Raises:
        ValueError: a size out of range, or no drawing is left.
        FileNotFoundError: there is no folder of drawings; the message says how to get them.
    """
    from tqdm.auto import tqdm

    if size < 16:
        raise ValueError(f"size is {size} pixels: at least 16")
    root = corpus_root(NAME, root, NAME)
    folder = find(NAME, root, "usr/share/openclipart/svg", "svg")
    drawn = cache_dir(NAME, f"{size}px-resvg{version('resvg_py')}")
    items, first = Items(NAME, root), dict[str, str]()
    names = [name for name in listing(folder) if name.lower().endswith(".svg")]
    for name in tqdm(names, desc=f"drawing Open Clip Art at {size} px", unit="drawing"):
        try:
            content = (folder / name).read_bytes()
            digest = hashlib.sha256(content).hexdigest()
            if digest in first:
                raise ValueError(f"the same file as {first[digest]}")
            captions, tags = texts_of(content)
            picture = drawn / f"{digest}.png"
            if not picture.exists():
                _draw(content, picture, size)
        except (OSError, ValueError, ElementTree.ParseError) as error:
            items.report(items.at(folder / name), f"{error}; left out")
            continue
        first[digest] = name
        items.add(name, picture, items.at(folder / name), captions=captions, tags=tags, split="web")
    entry = read_entry(NAME)
    images = ImageFiles([item.image for item in items.found.values()])
    return items.corpus(licence=entry.licence, source=entry.source, attribution=entry.attribution, images=images)


def texts_of(svg: bytes) -> tuple[list[str], list[str]]:
    """Return the captions (title and description, each once) and the keywords of a drawing, without e-mail addresses.

    Raises:
        ValueError: its metadata have none of them.
        xml.etree.ElementTree.ParseError: it is no XML.
    """
    work = next((node for node in ElementTree.fromstring(svg).iter() if _name(node) == "Work"), None)
    # Only what stands in the work itself: the people in it have titles, too.
    found = {kind: [] if work is None else work.findall(f"{DUBLIN_CORE}{kind}")
             for kind in ("title", "description", "subject")}  # fmt: skip
    captions = [_text(node) for node in found["title"] + found["description"]]
    listed = [node for subject in found["subject"] for node in (subject.findall(f".//{LISTED}") or [subject])]
    captions, tags = (list(dict.fromkeys(filter(None, texts))) for texts in (captions, map(_text, listed)))
    if not captions and not tags:
        raise ValueError("no title, description or keyword")
    return captions, tags


def _name(node: ElementTree.Element) -> str:
    """The name of an element without its namespace, of which Creative Commons has had two."""
    return str(node.tag).rpartition("}")[2]


def _text(node: ElementTree.Element) -> str:
    return clean(ADDRESS.sub(" ", "".join(node.itertext())))


def _draw(svg: bytes, path: Path, size: int) -> None:
    """Write a drawing as PNG, in the middle of a white square; ValueError where it cannot be drawn or is blank."""
    from resvg_py import svg_to_bytes

    png = svg_to_bytes(
        svg_string=svg.decode(), width=size, height=size, background="#ffffff", dpi=96, skip_system_fonts=True
    )  # fits into the square and keeps its proportions; without a `dpi` a size in millimetres or points is none
    picture = Image.open(io.BytesIO(png)).convert("RGB")
    if ImageChops.invert(picture).getbbox() is None:
        raise ValueError("nothing is drawn")
    square = Image.new("RGB", (size, size), "white")
    square.paste(picture, ((size - picture.width) // 2, (size - picture.height) // 2))
    with atomic_path(path) as temporary:
        square.save(temporary)
