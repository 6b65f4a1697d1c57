"""WebVision 1.0 (Li et al., 2017): 2.4 million pictures found on Google and Flickr by 1,631 queries for 1,000 synsets.

Nobody has looked at the training pictures: title, description and tags are what the web page says, and a label is
the synset of the query. The 50,000 validation pictures have labels by people and no text.
"""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from lib.data.corpora.reading import Items, check_choice, corpus_root, find, find_optional
from lib.data.corpus import Corpus

SYNSETS = 1000


def load(
    root: str | Path | None = None,
    engines: str = "all",
    synsets: int = SYNSETS,
    query_as_tag: bool = False,
    validation: bool = True,
    photos: bool = True,
) -> Corpus:
    """Load WebVision 1.0: captions are title and description, tags are Flickr's (Google gives none).

    `engines` is "google", "flickr" or "all"; `synsets` takes the first ones alone (50 is the "mini" set of the noise
    literature, with engines="google"). `query_as_tag` adds the words of the query to the tags. `validation=False`
    does without the validation pictures. The labels take (pictures x synsets) bytes: 2.4 GB for everything.
    """
    check_choice("engines", engines, ("google", "flickr", "all"))
    check_choice("synsets", synsets, range(1, SYNSETS + 1))
    name = "webvision"
    root = corpus_root(name, root, name, "WebVision")
    info = find(name, root, "info")
    items = Items(name, root, root if photos else None)
    names = [line.partition(" ")[2].strip() for _, line in items.lines(find(name, info, "synsets.txt")) if line.strip()]
    synsets = min(synsets, len(names))
    for engine in ("google", "flickr") if engines == "all" else (engines,):
        _add_training(root, info, engine, items, synsets, len(names), query_as_tag)
    if validation:
        _add_validation(root, info, items, synsets, len(names), photos)
    return items.corpus(
        label_names=_unique(names)[:synsets],
        licence="non-commercial research; the pictures belong to their owners",
        source="https://data.vision.ee.ethz.ch/cvl/webvision/dataset2017.html",
        attribution="W. Li et al.: WebVision Database: Visual Learning and Understanding from Web Data, 2017",
    )


def _unique(names: list[str]) -> list[str]:
    """ImageNet has two cranes and two maillots; the second of a pair gets a number."""
    seen: dict[str, int] = {}
    found = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        found.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return found


def _pairs(path: Path, items: Items) -> Iterator[tuple[int, str, int]]:
    """Row, name and number of lines `name number`; other lines give an empty name, which keeps lists aligned."""
    for row, line in items.lines(path):
        name, _, number = line.strip().rpartition(" ")
        if name and number.isdecimal():
            yield row, name, int(number)
        else:
            items.report(items.at(path, row), "no line `name number`; left out")
            yield row, "", -1


def _add_training(
    root: Path, info: Path, engine: str, items: Items, synsets: int, total: int, query_as_tag: bool
) -> None:
    """train_filelist says which label a picture has, and the same row of train_meta_list where its record is."""
    files = find(items.name, info, f"train_filelist_{engine}.txt")
    records = find(items.name, info, f"train_meta_list_{engine}.txt")
    queries = {}
    if query_as_tag:
        for _, line in items.lines(find(items.name, info, f"queries_{engine}.txt")):
            number, _, words = line.strip().partition(" ")
            if number.isdecimal():
                queries[f"q{int(number):04d}"] = words
            elif line.strip():
                items.report(f"queries_{engine}.txt", f"no line `number words`: {line[:40]!r}; left out")
    listed, meta = list(_pairs(files, items)), list(_pairs(records, items))
    if len(listed) != len(meta):
        raise ValueError(
            f"corpus {items.name}: {files} has {len(listed)} rows, {records} has {len(meta)}: they belong to each "
            "other row by row; fetch both again"
        )
    opened: tuple[str, list] = ("", [])  # the rows of a file follow each other, and all files would not fit in memory
    for (row, image, label), (_, file, place) in zip(listed, meta, strict=True):
        if not image or synsets <= label < total:
            continue  # reported, or not asked for
        if label >= total:
            items.report(items.at(files, row), f"image {image!r} has label {label} of {total}; left out")
            continue
        if file and file != opened[0]:
            opened = (file, _records(root, file, items))
        where = items.at(files, row)
        if not file or not 1 <= place <= len(opened[1]) or not isinstance(opened[1][place - 1], dict):
            items.report(where, f"image {image!r} has no record {place} in {file or 'the meta list'}; left out")
            continue
        record = opened[1][place - 1]
        captions = [text for key in ("title", "description") if (text := record.get(key)) not in (None, "")]
        captions = [text for text in captions if not isinstance(text, str) or text.strip()]
        tags = record.get("tags") or []
        tags = tags.split() if isinstance(tags, str) else tags if isinstance(tags, list) else [tags]
        query = queries.get(PurePosixPath(image).parent.name)
        items.add(image, image, where, captions=captions, tags=[*tags, *([query] if query else [])], labels=[label])


def _records(root: Path, file: str, items: Items) -> list:
    """The records of one query; a missing or broken file is reported, once, and gives none."""
    engine, _, name = file.partition("/")
    path = find_optional(root, file, f"{engine}_json/{name}", f"meta/{file}")
    if path is None:
        items.report(file, "no such file; its pictures are left out")
        return []
    try:
        content = items.json(path)
    except ValueError as error:
        why = str(error).partition(f"{path} ")[2]  # problems show no path of this machine
        items.report(items.at(path), f"{why}; its pictures are left out")
        return []
    if not isinstance(content, list):
        items.report(items.at(path), f"no list of records but {type(content).__name__}; its pictures are left out")
        return []
    return content


def _add_validation(root: Path, info: Path, items: Items, synsets: int, total: int, photos: bool) -> None:
    files = find(items.name, info, "val_filelist.txt")
    folder = "val_images_256"
    if photos:
        folder = find(items.name, root, folder, "val_images", hint="validation=False does without.").name
    for row, image, label in _pairs(files, items):
        if label >= total:
            items.report(items.at(files, row), f"image {image!r} has label {label} of {total}; left out")
        elif image and label < synsets:
            items.add(f"val/{image}", f"{folder}/{image}", items.at(files, row), split="val", labels=[label])
