"""Any folder of pictures with texts, in the layouts that people and their tools keep them in."""

import posixpath
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

import numpy as np

from lib.data.corpora.listed import SPLIT_NAMES, Entry, read_lists
from lib.data.corpora.reading import IMAGE_SUFFIXES, Items, check_choice, check_split, corpus_root, held_out
from lib.data.corpora.sidecars import TEXT_SUFFIXES, Sidecars, pair, read_texts, stem_and_suffix
from lib.data.corpora.sources import Folder, Source, Zip
from lib.data.corpora.tables import TABLE_SUFFIXES
from lib.data.corpora.texts import FALLBACKS, decode, parse_json
from lib.data.corpus import Corpus
from lib.data.images import Images

UNDECODABLE = ("repair", "drop")
MOST_LISTS = 200  # texts without a picture: so many may be lists, more are what is left of a download
ABOUT = re.compile(r"(?:readme|licen[cs]e|notice|changelog|citation|requirements)\b.*", re.IGNORECASE)


def load(
    root: str | Path | None = None,
    split: str | None = None,
    val: float = 0.1,
    test: float = 0.1,
    seed: int = 0,
    undecodable: str = "repair",
    encodings: Sequence[str] = FALLBACKS,
    tags_from_text: bool = True,
) -> Corpus:
    """Load every picture below `root`, a folder, a zip archive or a list in its folder, that has a text.

    Found without being told: lists that name pictures (captions.txt, metadata.csv, .jsonl or .parquet, results.csv,
    any .csv, .tsv, .jsonl or .json of that kind, the JSON of COCO and Karpathy; in the order of the lists), then texts
    of the same name beside the pictures (in the order of the names), then descriptions inside the pictures (XMP, IPTC).
    Folders of shards (*.tar) are read as corpus "webdataset". The corpus says in `notes` which of these it took.

    Beside a picture, captions are the list "captions" of x.json, or x.txt and x.caption, or the field "caption" (else
    "text", "title", "description") of x.json; tags are the list "tags" of x.json and, with `tags_from_text`, the words
    behind # in the captions. A text that is no UTF-8 is reported in `problems` and, with `undecodable="repair"`, read
    by the first of `encodings` that can (a guess: name the one of your files if you know it), else with U+FFFD in the
    place of what is unreadable; "drop" leaves its picture out.

    A column "split" of a list, a list called after a split, or folders train, val, test and web (where there is one
    called train) are the splits. Of val and test, those that are not there are drawn from the training pictures, in the
    shares `val` and `test`, see `draw_splits`. `split` takes all pictures into one split instead.

    Raises:
        ValueError: no picture has a text; the message names the files that were looked at and the columns found.
        FileNotFoundError: there is no such folder or file.
    """
    check_split(split)
    check_choice("undecodable", undecodable, UNDECODABLE)
    source, only = _source(root)
    items = source.items
    pictures = [file for file in items.files if stem_and_suffix(file)[1] in IMAGE_SUFFIXES]
    if not pictures and any(file.endswith(".tar") for file in items.files):
        from lib.data.corpora import webdataset

        return webdataset.load(items.root, split, val, test, seed, undecodable, encodings, tags_from_text)
    how = Sidecars(items.root, undecodable, encodings, tags_from_text)
    place = _splits_by_folder(pictures) if split is None else None
    texts_of, others = pair(pictures, items.files)
    candidates = [file for file in others if stem_and_suffix(file)[1] in TABLE_SUFFIXES]
    if len(candidates) > MOST_LISTS:
        candidates = [file for file in candidates if stem_and_suffix(file)[1] not in TEXT_SUFFIXES]
    entries, _ = read_lists(items, [only] if only else candidates, pictures, source.read, tags_from_text)
    _add_listed(items, entries, split, place)
    listed = {file for file, entry in entries.items() if entry.captions or entry.tags}
    unlisted = [file for file in pictures if file not in listed]
    if not only:
        _add_beside(source, unlisted, texts_of, how, place or (lambda file: split or "train"))
    used = [note for note in items.notes if note.startswith(("layout", "split"))]
    _tell_the_rest(source, others, used)
    given = {item.split for item in items.found.values()}
    published = place is not None or given & {"val", "test"}
    if split or "train" not in given:
        val = test = 0
    elif published:
        val, test = (0 if part in given else share for part, share in (("val", val), ("test", test)))
    return corpus_of(items, val, test, seed, source.images() if items.found else None)


def _source(root: str | Path | None) -> tuple[Source, str]:
    """Where the files are, and the one list to read where `root` is a list."""
    path = Path(root) if root is not None and Path(root).is_file() else None
    if path is not None and path.suffix.lower() == ".zip":
        return Zip("folder", path), ""
    if path is not None and path.suffix.lower() in TABLE_SUFFIXES:
        source = Folder("folder", path.parent)
        return source, next(shown for shown, name in source.items.files.items() if name == path.name)
    if path is not None:
        raise ValueError(f"corpus folder: {path} is no folder, no .zip and no list ({', '.join(TABLE_SUFFIXES)})")
    source = Folder("folder", corpus_root("folder", root, "folder"))
    archives = [file for file in source.items.files if stem_and_suffix(file)[1] == ".zip"]
    if len(archives) == 1 and not any(stem_and_suffix(file)[1] in IMAGE_SUFFIXES for file in source.items.files):
        return Zip("folder", source.items.root / source.items.files[archives[0]]), ""
    return source, ""


def _splits_by_folder(pictures: Sequence[str]) -> Callable[[str], str | None] | None:
    """What gives the split of a picture by its first folder; None where no folder is called after training."""
    base = posixpath.commonpath([posixpath.dirname(file) for file in pictures]) if pictures else ""
    parts = base.split("/") if base else []
    inside = next((i for i, part in enumerate(parts) if part in SPLIT_NAMES), len(parts))

    def place(file: str) -> str | None:
        folders = file.split("/")[:-1]
        return SPLIT_NAMES.get(folders[inside].lower()) if len(folders) > inside else None

    return place if any(place(file) == "train" for file in pictures) else None


def _add_listed(items: Items, entries: dict[str, Entry], split: str | None, place) -> None:
    ids = _ids(entries)
    for file, entry in entries.items():
        if entry.captions or entry.tags:
            where = split or entry.split or (place and place(file)) or "train"
            items.add(ids[file], file, entry.where, captions=entry.captions, tags=entry.tags, split=where)


def _ids(files: Iterable[str]) -> dict[str, str]:
    """A picture is called by its name without the suffix, and with it where two have the same."""
    stems: dict[str, list[str]] = {}
    for file in files:
        stems.setdefault(stem_and_suffix(file)[0], []).append(file)
    return {file: stem if len(same) == 1 else file for stem, same in stems.items() for file in same}


def _add_beside(
    source: Source, pictures: Sequence[str], texts_of: dict[str, dict[str, str]], how: "Sidecars", place: Callable
) -> None:
    """Add pictures whose texts have their name, else those that have texts inside."""
    items, ways = source.items, {"beside": 0, "inside": 0}
    for file in pictures:
        where, split = items.at(items.root / file), place(file)
        if split is None:
            items.report(where, f"lies in no folder called {', '.join(dict.fromkeys(SPLIT_NAMES.values()))}; left out")
            continue
        beside = texts_of.get(file, {})
        named = stem_and_suffix(next(iter(beside.values())))[0] if beside else file
        texts = read_texts(source.read, beside, how, items, items.at(items.root / named), picture=file)
        if texts is not None:
            ways["beside"] += bool(beside)
            ways["inside"] += not beside
            items.add(stem_and_suffix(file)[0], file, where, captions=texts.captions, tags=texts.tags, split=split)
    said = {"beside": "texts of the same name beside the pictures", "inside": "descriptions inside the pictures"}
    items.notes.extend(f"layout: {said[way]} ({count:,})" for way, count in ways.items() if count)


def _tell_the_rest(source: Source, others: Sequence[str], used: Sequence[str]) -> None:
    """Texts without a picture are problems; other files that were not used are noted."""
    items = source.items
    unused = []
    for file in others:
        stem, suffix = stem_and_suffix(file)
        where = items.at(items.root / file)
        if any(f" {where} (" in f"{note} (" for note in used):
            continue
        about = bool(ABOUT.fullmatch(PurePosixPath(stem).name))
        if _has_caption(source, file) if suffix == ".json" else suffix in TEXT_SUFFIXES and not about:
            items.report(where, "text without a picture; left out")
        else:
            unused.append(where)
    if unused:
        more = f" and {len(unused) - 10:,} more" if len(unused) > 10 else ""
        items.notes.append(f"not used: {', '.join(unused[:10])}{more}")


def _has_caption(source: Source, file: str) -> bool:
    try:
        content = parse_json(decode(source.read(file))[0])
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and bool({"caption", "captions", "tags"} & content.keys())


def corpus_of(items: Items, val: float, test: float, seed: int, images: Images | None = None) -> Corpus:
    """The corpus of pictures whose origin nobody knows here, with the shares `val` and `test` of them drawn."""
    corpus = items.corpus(
        images=images,
        licence="not stated: find out before you use it",
        source=items.root.name,
        attribution="not stated",
    )
    return draw_splits(corpus, val, test, seed) if val or test else corpus


def draw_splits(corpus: Corpus, val: float, test: float, seed: int = 0) -> Corpus:
    """The same pictures, with these shares of the training pictures in splits val and test, by a hash of the content.

    So identical pictures stay together, and what a file is called does not matter. (Pictures that only look alike may
    be parted: `lib.data.leaks` finds them.) Raises ValueError where nothing is left to train on.
    """
    rows = np.flatnonzero(corpus.split == "train").tolist()
    contents = [corpus.images.fingerprint(row) for row in rows]
    distinct = list(dict.fromkeys(contents))
    drawn = held_out(distinct, round(test * len(distinct)), round(val * len(distinct)), seed)
    split_of = dict(zip(distinct, drawn, strict=True))
    split = corpus.split.astype("<U5")
    split[rows] = [split_of[content] for content in contents]
    return replace(corpus, split=split)
