"""Texts that lie beside pictures: x.txt, x.caption and x.json of x.jpg."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from lib.data.corpora.embedded import embedded_texts
from lib.data.corpora.listed import CAPTION_COLUMNS, TAG_COLUMN
from lib.data.corpora.reading import IMAGE_SUFFIXES, Items
from lib.data.corpora.texts import decode, hashtags, parse_json

TEXT_SUFFIXES = (".txt", ".json", ".caption")
# Folders of pictures and of their texts side by side: images/x.jpg and captions/x.txt.
SIDE_BY_SIDE = frozenset(
    (
        "images",
        "image",
        "img",
        "imgs",
        "pictures",
        "photos",
        "jpg",
        "jpeg",
        "captions",
        "caption",
        "texts",
        "text",
        "txt",
    )
)


class Sidecars(NamedTuple):
    """How the texts beside pictures are read: below which folder, and what happens to those that are no UTF-8."""

    folder: Path
    undecodable: str
    encodings: Sequence[str]
    tags_from_text: bool


class Texts(NamedTuple):
    """What the files of one picture say."""

    captions: list[str]
    tags: list[str]


def parse_texts(
    files: dict[str, bytes], how: Sidecars, items: Items, where: str, picture: bytes | None = None
) -> Texts | None:
    """Captions and tags out of the contents of ".txt", ".caption" and ".json"; None, reported, where there are none.

    `where` is the name that the files of a picture have in common, without the suffix. `picture` is looked into where
    there is no text beside it.
    """
    captions: list[Any] = []
    tags: list[Any] = []
    for suffix in (".txt", ".caption"):
        if suffix in files:
            text, repair = decode(files[suffix], how.encodings)
            if repair:
                dropped = how.undecodable == "drop"
                items.report(f"{where}{suffix}", f"{repair.partition(',')[0]}; left out" if dropped else repair)
                if dropped:
                    return None
            captions += [text] if text.strip() and text not in captions else []
    if ".json" in files:
        found, tags = _parse_json(files[".json"], items, where)
        content = found.pop("captions", [])
        captions = content or captions or next(filter(None, found.values()), [])
    if not files and picture is not None:
        try:
            captions, tags = embedded_texts(picture)
        except OSError as error:
            items.report(where, f"{error}")
    if not captions and not tags:
        items.report(where, "no text or an empty one; left out")
        return None
    words = [tag for text in captions if how.tags_from_text and isinstance(text, str) for tag in hashtags(text)]
    return Texts(captions, [*tags, *words])


def read_texts(
    read: Callable[[str], bytes], beside: dict[str, str], how: Sidecars, items: Items, where: str, picture: str = ""
) -> Texts | None:
    """The texts beside a picture or, where it is alone, in `picture`; None, reported, where there is none to use."""
    contents = {}
    for suffix, file in (beside or {"": picture} if picture else beside).items():
        try:
            contents[suffix] = read(file)
        except OSError as error:
            items.report(items.at(how.folder / file), f"cannot be read ({error.strerror or error}); ignored")
    return parse_texts(contents, how, items, where, contents.pop("", None))


def _parse_json(raw: bytes, items: Items, where: str) -> tuple[dict[str, list], list]:
    """Captions by field and tags of x.json; what is no text is left to `Items.add` to report."""
    text, repair = decode(raw)
    try:
        content = parse_json(text)
    except ValueError as error:
        items.report(f"{where}.json", f"no JSON ({type(error).__name__}); ignored")
        return {}, []
    if repair:
        items.report(f"{where}.json", repair)
    if isinstance(content, list):
        content = {"captions": content}
    if not isinstance(content, dict):
        items.report(f"{where}.json", f"no JSON object but {type(content).__name__}; ignored")
        return {}, []
    fields = [name for form in CAPTION_COLUMNS[:3] for name in content if form.fullmatch(name)]
    fields = sorted(fields, key=lambda name: name != "captions")
    tags = [tag for name in content if TAG_COLUMN.fullmatch(name) for tag in _values(content[name], split=True)]
    return {name: _values(content[name]) for name in fields}, tags


def _values(cell: Any, split: bool = False) -> list:
    if isinstance(cell, str):
        return cell.split("," if "," in cell else None) if split else [cell] if cell.strip() else []
    values = cell if isinstance(cell, list) else [] if cell is None else [cell]
    return [value for value in values if value is not None and not (isinstance(value, str) and not value.strip())]


def add_sidecars(items: Items, how: Sidecars, split: str) -> None:
    """Add the pictures in `items.folder` whose texts lie under the same name in `how.folder`, all in one split."""
    if items.folder is None:
        raise ValueError(f"corpus {items.name}: there is no folder of pictures to look for texts of")
    text_files = items.files if how.folder == items.folder else items.listing(how.folder)
    texts_of: dict[str, dict[str, str]] = {}
    for file in text_files:
        stem, suffix = stem_and_suffix(file)
        if suffix in TEXT_SUFFIXES:
            texts_of.setdefault(stem, {})[suffix] = file
    stems = set()
    for file in items.files:
        stem, suffix = stem_and_suffix(file)
        where = items.at(items.folder / file)
        if suffix not in IMAGE_SUFFIXES:
            continue
        stems.add(stem)

        def read(name: str) -> bytes:
            return (how.folder / text_files[name]).read_bytes()

        texts = read_texts(read, texts_of.get(stem, {}), how, items, items.at(how.folder / stem))
        if texts is not None:
            items.add(stem, file, where, captions=texts.captions, tags=texts.tags, split=split)
    for stem, files in texts_of.items():
        if stem not in stems:
            where = items.at(how.folder / next(iter(files.values())))
            items.report(where, "text without a picture; left out")


def pair(pictures: Sequence[str], files: Iterable[str]) -> tuple[dict[str, dict[str, str]], list[str]]:
    """The texts of each picture by suffix, and all files that are neither picture nor text of one."""
    by_stem: dict[str, list[str]] = {}
    by_key: dict[str, list[str]] = {}
    for picture in pictures:
        by_stem.setdefault(stem_and_suffix(picture)[0], []).append(picture)
        by_key.setdefault(_key(stem_and_suffix(picture)[0]), []).append(picture)
    texts_of: dict[str, dict[str, str]] = {}
    others = []
    known = set(pictures)
    for file in files:
        stem, suffix = stem_and_suffix(file)
        if file in known:
            continue
        owners = by_stem.get(stem) or ([stem] if stem in known else by_key.get(_key(stem), []))
        if suffix in TEXT_SUFFIXES and owners:
            for owner in owners:
                texts_of.setdefault(owner, {}).setdefault(suffix, file)
        else:
            others.append(file)
    return texts_of, others


def _key(stem: str) -> str:
    """A name without the folders that hold pictures or texts alone."""
    *folders, name = stem.split("/")
    return "/".join([*(part for part in folders if part.lower() not in SIDE_BY_SIDE), name])


def stem_and_suffix(file: str) -> tuple[str, str]:
    """Name without suffix, and the suffix in lower case."""
    path = PurePosixPath(file)
    return path.with_suffix("").as_posix(), path.suffix.lower()
