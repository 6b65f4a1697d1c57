"""Layouts of pictures and texts as people and their tools leave them: made here, four pictures each.

Each is a function that gives files; `LAYOUTS` says how many pictures and captions must be found in them.
"""

import io
import json
import tarfile
import zipfile
from collections.abc import Callable
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from tests.picture_files import jpeg

Files = dict[str, bytes | str]
NAMES = ("a.jpg", "b b.jpg", "c.png", "d.JPG")
TEXTS = ("A dog, running.", 'A 12" pizza', "Une fenêtre", "Three; or four | birds")


class Layout(NamedTuple):
    """Files, and what a corpus of them has: pictures, captions, tags and splits (train where nothing is said)."""

    files: Callable[[], Files]
    pictures: int = 4
    captions: int = 4
    tags: int = 0
    splits: tuple[str, ...] = ("train",)


def picture(name: str) -> bytes:
    """The bytes of a picture of its own colour, in the format of its suffix."""
    if name.lower().endswith(".png"):
        stream = io.BytesIO()
        Image.open(io.BytesIO(jpeg(sum(name.encode())))).save(stream, "PNG")
        return stream.getvalue()
    return jpeg(sum(name.encode()))


def pictures(folder: str = "", names=NAMES) -> Files:
    """The pictures in a folder, "" for the root."""
    return {f"{folder}{name}": picture(f"{folder}{name}") for name in names}


def quoted(cell: str, separator: str = ",") -> str:
    """A cell as csv writers have it."""
    return '"' + cell.replace('"', '""') + '"' if separator in cell or '"' in cell or "\n" in cell else cell


def table(rows, separator=",", header=None, quote=quoted) -> str:
    """A table of rows of cells."""
    lines = [header] if header else []
    return "".join(separator.join(quote(str(cell), separator) for cell in row) + "\n" for row in [*lines, *rows])


def plain(cell: str, _separator: str) -> str:
    return cell


ROWS = list(zip(NAMES, TEXTS, strict=True))
FIVE = [(name, f"{text} {k}") for name, text in ROWS for k in range(5)]


def beside(suffix=".txt", folder="", encoding="utf-8", names=NAMES, texts=TEXTS) -> Files:
    """A text beside each picture."""
    sidecars = {
        folder + name.rpartition(".")[0] + suffix: text.encode(encoding)
        for name, text in zip(names, texts, strict=True)
    }
    return pictures(folder, names) | sidecars


def meta(kind: str, folder: str = "", key: str = "file_name", text: str = "text", more=None, names=NAMES) -> Files:
    """metadata.csv, .jsonl or .parquet as the imagefolder of Hugging Face has it."""
    records = [{key: n, text: t, **(more or {})} for n, t in ROWS if n in names]
    if kind == "jsonl":
        content: str | bytes = "".join(json.dumps(record) + "\n" for record in records)
    elif kind == "csv":
        content = table([list(r.values()) for r in records], header=list(records[0]))
    else:
        sink = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(records), sink)
        content = sink.getvalue()
    return pictures(folder, names) | {f"{folder}metadata.{kind}": content}


def coco(part: str, folder: str = "", years: str = "") -> Files:
    """Pictures of one part and its captions as COCO has them."""
    images = [{"id": 10 * i, "file_name": name} for i, name in enumerate(NAMES)]
    annotations = [{"id": k, "image_id": 10 * i, "caption": f"{t} {k}"} for i, t in enumerate(TEXTS) for k in range(5)]
    content = json.dumps({"info": {}, "licenses": [], "images": images, "annotations": annotations})
    return pictures(f"{folder}{part}{years}/") | {f"{folder}annotations/captions_{part}{years}.json": content}


def karpathy(folder="images/", filepath=False) -> Files:
    """Karpathy's JSON beside or above any folder of pictures."""
    splits = ("train", "restval", "val", "test")
    entries = [
        {"filename": n, "imgid": i, "split": s, "sentences": [{"raw": f"{t} {k}", "tokens": []} for k in range(5)]}
        | ({"filepath": "val2014"} if filepath else {})
        for i, ((n, t), s) in enumerate(zip(ROWS, splits, strict=True))
    ]
    return pictures(folder) | {"dataset_mine.json": json.dumps({"images": entries, "dataset": "mine"})}


def several_columns() -> Files:
    rows = [{"left_file_name": NAMES[i], "right_file_name": NAMES[i + 1], "text": TEXTS[i]} for i in (0, 2)]
    return pictures() | {"metadata.csv": table([r.values() for r in rows], header=list(rows[0]))}


def file_names() -> Files:
    rows = [{"file_names": list(NAMES[i : i + 2]), "text": TEXTS[i]} for i in (0, 2)]
    return pictures() | {"metadata.jsonl": "\n".join(map(json.dumps, rows))}


def results(separator="| ") -> Files:
    """Flickr30k of Kaggle, with its row whose second bar is missing."""
    names = [f"{i}.jpg" for i in range(4)]
    lines = [f"{n}{separator}{k}{separator}A thing {k} , of {n} ." for n in names for k in range(5)]
    lines[13] = lines[13].replace("| 3| ", "| 3   ")
    header = f"image_name{separator}comment_number{separator}comment"
    return pictures("flickr30k_images/", names) | {"results.csv": "\n".join([header, *lines]) + "\n"}


def flickr30k_annotations() -> Files:
    """The csv of Hugging Face's copy: captions are JSON in a cell."""
    rows = [
        (json.dumps([f"{t} {k}" for k in range(5)]), "[0, 1, 2, 3, 4]", s, n, i)
        for i, ((n, t), s) in enumerate(zip(ROWS, ("train", "train", "val", "test"), strict=True))
    ]
    content = table(rows, header=["raw", "sentids", "split", "filename", "img_id"])
    return pictures("flickr30k-images/") | {"flickr_annotations_30k.csv": content}


def zipped(files: Files, folder: str = "") -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in files.items():
            archive.writestr(folder + name, content)
    return stream.getvalue()


def img2dataset(shards: bool) -> Files:
    """The output of img2dataset, as files or as shards."""
    files: Files = {}
    for i, text in enumerate(TEXTS):
        key = f"00000000{i}"
        record = {"caption": text, "url": f"http://example.org/{i}.jpg", "key": key, "status": "success", "exif": "{}"}
        files |= {f"{key}.jpg": jpeg(i), f"{key}.txt": text, f"{key}.json": json.dumps(record)}
    sink = io.BytesIO()
    pq.write_table(pa.table({"url": ["http://example.org/0.jpg"], "caption": ["x"], "key": ["000000000"]}), sink)
    about: Files = {"00000_stats.json": json.dumps({"count": 4, "successes": 4}), "00000.parquet": sink.getvalue()}
    if not shards:
        return about | {f"00000/{name}": content for name, content in files.items()}
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, content in files.items():
            raw = content.encode() if isinstance(content, str) else content
            info = tarfile.TarInfo(name)
            info.size = len(raw)
            archive.addfile(info, io.BytesIO(raw))
    return about | {"00000.tar": stream.getvalue()}


def with_xmp() -> Files:
    """Captions and keywords in the pictures, as photo programs write them."""
    files: Files = {}
    for name, text in zip(("a.jpg", "b.jpg", "c.jpg", "d.jpg"), TEXTS, strict=True):
        escaped = text.replace('"', "&quot;")
        packet = f"""<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">
<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" xmlns:dc="http://purl.org/dc/elements/1.1/">
<rdf:Description><dc:description><rdf:Alt><rdf:li xml:lang="x-default">{escaped}</rdf:li></rdf:Alt></dc:description>
<dc:subject><rdf:Bag><rdf:li>holiday</rdf:li></rdf:Bag></dc:subject></rdf:Description></rdf:RDF></x:xmpmeta>"""
        stream = io.BytesIO()
        Image.open(io.BytesIO(picture(name))).save(stream, "JPEG", xmp=packet.encode())
        files[name] = stream.getvalue()
    return files


def with_iptc() -> Files:
    """Captions in the IPTC record of a JPEG (segment APP13 of Photoshop)."""
    files: Files = {}
    for name, text in zip(("a.jpg", "b.jpg", "c.jpg", "d.jpg"), TEXTS, strict=True):
        raw = text.encode()
        record = b"\x1c\x02\x78" + len(raw).to_bytes(2, "big") + raw + b"\x1c\x02\x19" + (3).to_bytes(2, "big") + b"sun"
        block = b"8BIM\x04\x04\0\0" + len(record).to_bytes(4, "big") + record + b"\0" * (len(record) % 2)
        segment = b"Photoshop 3.0\0" + block
        content = picture(name)
        files[name] = content[:2] + b"\xff\xed" + (len(segment) + 2).to_bytes(2, "big") + segment + content[2:]
    return files


def splits(files: Callable[[str], Files]) -> Files:
    """The same in folders train, val and test."""
    return files("train/") | files("validation/") | files("test/")


def lists(names, template="Flickr_8k.{}Images.txt") -> Files:
    parts = {"train": names[:2], "dev": names[2:3], "test": names[3:]}
    return {template.format(part): "".join(f"{name}\n" for name in listed) for part, listed in parts.items()}


TOKENS = "".join(f"{name}#{k}\t{text} {k} .\n" for name, text in ROWS for k in range(5))
CLIP = [(f"/home/me/data/{n}", t) for n, t in ROWS]
ALL = ("train", "val", "test")
LAYOUTS: dict[str, Layout] = {
    "x.txt": Layout(beside),
    "x.txt in latin-1": Layout(lambda: beside(encoding="latin-1")),
    "x.txt in utf-16": Layout(lambda: beside(encoding="utf-16")),
    "x.caption": Layout(lambda: beside(".caption")),
    "x.jpg.txt": Layout(lambda: pictures() | {f"{n}.txt": t for n, t in ROWS}),
    "x.json": Layout(
        lambda: (
            pictures() | {n.rpartition(".")[0] + ".json": json.dumps({"caption": t, "tags": ["x"]}) for n, t in ROWS}
        ),
        tags=4,
    ),
    "x.json with text": Layout(
        lambda: pictures() | {n.rpartition(".")[0] + ".json": json.dumps({"text": t}) for n, t in ROWS}
    ),
    "x.json, a list": Layout(
        lambda: pictures() | {n.rpartition(".")[0] + ".json": json.dumps([t, "again"]) for n, t in ROWS}, captions=8
    ),
    "nested": Layout(lambda: beside(folder="2019/summer/")),
    "side by side": Layout(lambda: pictures("images/") | {f"captions/{n.rpartition('.')[0]}.txt": t for n, t in ROWS}),
    "in folders of splits": Layout(lambda: splits(lambda f: beside(folder=f)), 12, 12, splits=ALL),
    "metadata.csv": Layout(lambda: meta("csv")),
    "metadata.jsonl": Layout(lambda: meta("jsonl")),
    "metadata.parquet": Layout(lambda: meta("parquet")),
    "metadata.jsonl in splits": Layout(lambda: splits(lambda f: meta("jsonl", f)), 12, 12, splits=ALL),
    "metadata.csv above splits": Layout(
        lambda: (
            pictures("train/", NAMES[:2])
            | pictures("test/", NAMES[2:])
            | {
                "metadata.csv": table(
                    [("train/" * (i < 2) + "test/" * (i > 1) + n, t) for i, (n, t) in enumerate(ROWS)],
                    header=("file_name", "text"),
                )
            }
        ),
        splits=("train", "test"),
    ),
    "metadata.csv, several columns": Layout(several_columns),
    "metadata.jsonl, file_names": Layout(file_names),
    "metadata.csv with more": Layout(
        lambda: meta("csv", more={"width": 12, "url": "http://example.org/a.jpg", "tags": "sun, sea"}), tags=8
    ),
    "captions.csv": Layout(
        lambda: pictures() | {"captions.csv": table(FIVE, header=("image", "caption"))}, captions=20
    ),
    "captions.csv, no header": Layout(lambda: pictures() | {"captions.csv": table(FIVE)}, captions=20),
    "captions.csv, nothing quoted": Layout(
        lambda: pictures() | {"captions.csv": table(FIVE, header=("image", "caption"), quote=plain)}, captions=20
    ),
    "captions.csv, semicolons": Layout(
        lambda: pictures() | {"captions.csv": table(FIVE, ";", ("image", "caption"))}, captions=20
    ),
    "captions.csv of Excel": Layout(
        lambda: (
            pictures()
            | {
                "captions.csv": ("sep=;\r\n" + table(FIVE, ";", ("Bild", "Text")).replace("\n", "\r\n")).encode(
                    "cp1252"
                )
            }
        ),
        captions=20,
    ),
    "captions.csv, unicode of Excel": Layout(
        lambda: pictures() | {"captions.csv": table(FIVE, "\t", ("image", "caption")).encode("utf-16")}, captions=20
    ),
    "captions.csv, lines in cells": Layout(
        lambda: (
            pictures() | {"captions.csv": table([(n, f"{t}\nand more") for n, t in ROWS], header=("image", "caption"))}
        )
    ),
    "captions.csv with an index": Layout(
        lambda: (
            pictures() | {"captions.csv": table([(i, *r) for i, r in enumerate(FIVE)], header=("", "image", "caption"))}
        ),
        captions=20,
    ),
    "captions.csv, caption first": Layout(
        lambda: (
            pictures() | {"captions.csv": table([(t, n) for n, t in FIVE], header=("caption", "image"), quote=plain)}
        ),
        captions=20,
    ),
    "captions.csv, a column each": Layout(
        lambda: (
            pictures()
            | {
                "captions.csv": table(
                    [(n, t, f"{t}!", f"{t}?") for n, t in ROWS], header=("image", "caption_1", "caption_2", "caption_3")
                )
            }
        ),
        captions=12,
    ),
    "captions.csv of ids": Layout(
        lambda: (
            pictures("images/", ("1.jpg", "2.jpg", "3.jpg", "4.jpg"))
            | {"captions.csv": table([(i + 1, t) for i, t in enumerate(TEXTS)], header=("image_id", "caption"))}
        )
    ),
    "captions.csv with splits": Layout(
        lambda: (
            pictures()
            | {
                "captions.csv": table(
                    [(n, t, s) for (n, t), s in zip(ROWS, ("train", "train", "valid", "test"), strict=True)],
                    header=("image", "caption", "split"),
                )
            }
        ),
        splits=ALL,
    ),
    "captions.tsv": Layout(
        lambda: pictures() | {"captions.tsv": table(FIVE, "\t", ("image", "caption"), plain)}, captions=20
    ),
    "captions.tsv, no header": Layout(
        lambda: pictures() | {"captions.tsv": table(FIVE, "\t", quote=plain)}, captions=20
    ),
    "captions.txt, tabs": Layout(lambda: pictures() | {"captions.txt": table(FIVE, "\t", quote=plain)}, captions=20),
    "captions.txt, blanks": Layout(
        lambda: (
            pictures()
            | {
                "captions.txt": table(
                    [(n, t.replace(",", "").replace(";", "").replace("|", "")) for n, t in FIVE], " ", quote=plain
                )
            }
        ),
        captions=20,
    ),
    "Flickr8k of Kaggle": Layout(
        lambda: pictures("Images/") | {"captions.txt": table(FIVE, header=("image", "caption"))}, captions=20
    ),
    "Flickr30k of Kaggle": Layout(results, captions=20),
    "Flickr30k of Kaggle, no blanks": Layout(lambda: results("|"), captions=20),
    "Flickr30k of Hugging Face": Layout(flickr30k_annotations, captions=20, splits=ALL),
    "Flickr8k.token.txt": Layout(lambda: pictures("Flicker8k_Dataset/") | {"Flickr8k.token.txt": TOKENS}, captions=20),
    "Flickr8k.token.txt with lists": Layout(
        lambda: (
            pictures("Flicker8k_Dataset/")
            | {"Flickr8k_text/Flickr8k.token.txt": TOKENS}
            | {f"Flickr8k_text/{n}": c for n, c in lists(NAMES).items()}
        ),
        captions=20,
        splits=ALL,
    ),
    "results_20130124.token": Layout(
        lambda: pictures("flickr30k-images/") | {"results_20130124.token": TOKENS}, captions=20
    ),
    "COCO, val2017 alone": Layout(lambda: coco("val", years="2017"), captions=20, splits=("val",)),
    "COCO, two parts": Layout(
        lambda: coco("train", years="2014") | coco("val", years="2014"), 8, 40, splits=("train", "val")
    ),
    "COCO, flat": Layout(
        lambda: pictures() | {"captions.json": coco("train")["annotations/captions_train.json"]}, captions=20
    ),
    "Karpathy": Layout(karpathy, captions=20, splits=ALL),
    "Karpathy, flat": Layout(lambda: karpathy(""), captions=20, splits=ALL),
    "Karpathy with folders": Layout(lambda: karpathy("val2014/", filepath=True), captions=20, splits=ALL),
    "a list of records": Layout(
        lambda: (
            pictures("images/") | {"train.json": json.dumps([{"image": f"images/{n}", "caption": t} for n, t in ROWS])}
        )
    ),
    "a mapping": Layout(
        lambda: pictures() | {"captions.json": json.dumps({n: [t, f"{t}!"] for n, t in ROWS})}, captions=8
    ),
    "CLIP": Layout(lambda: pictures() | {"train.csv": table(CLIP, "\t", ("filepath", "title"), plain)}),
    "CLIP of Windows": Layout(
        lambda: (
            pictures()
            | {"train.csv": table([(f"C:\\data\\{n}", t) for n, t in ROWS], "\t", ("filepath", "title"), plain)}
        )
    ),
    "img2dataset, files": Layout(lambda: img2dataset(shards=False)),
    "img2dataset, shards": Layout(lambda: img2dataset(shards=True)),
    "XMP": Layout(with_xmp, tags=4),
    "IPTC": Layout(with_iptc, tags=4),
    "zip of texts beside": Layout(lambda: {"mine.zip": zipped(beside())}),
    "zip of a list": Layout(lambda: {"mine.zip": zipped(meta("csv"), "mine/")}),
    "zip with splits": Layout(
        lambda: {"mine.zip": zipped(splits(lambda f: beside(folder=f)), "mine/")}, 12, 12, splits=ALL
    ),
    "names of a Mac": Layout(
        lambda: (
            pictures("", ("cafe\u0301.jpg", "b.jpg"))
            | {"captions.csv": "image,caption\ncaf\u00e9.jpg,one\nb.jpg,two\n"}
        ),
        2,
        2,
    ),
}
LINKED = ("x.txt", "metadata.csv", "captions.csv")  # also with their pictures behind a link

# What cannot be understood without being told, and what the message must name.
UNKNOWN: dict[str, tuple[Callable[[], Files], tuple[str, ...]]] = {
    "a list of other pictures' addresses": (
        lambda: pictures() | {"list.csv": "link,words\nhttp://example.org/1,a dog\n"},
        ("list.csv", "link, words"),
    ),
    "labels alone": (
        lambda: pictures() | {"labels.csv": "image,label\n" + "".join(f"{n},3\n" for n in NAMES)},
        ("labels.csv", "image, label"),
    ),
    "pictures alone": (pictures, ("a.jpg", "no text")),
    "no pictures": (lambda: {"captions.csv": "image,caption\n1.jpg,x\n"}, ("captions.csv", "1.jpg")),
    "boxes alone": (
        lambda: (
            pictures()
            | {
                "instances.json": json.dumps(
                    {
                        "images": [{"id": 1, "file_name": "a.jpg"}],
                        "annotations": [{"image_id": 1, "bbox": [0, 0, 1, 1]}],
                    }
                )
            }
        ),
        ("instances.json",),
    ),
}
