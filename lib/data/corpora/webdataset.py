"""WebDataset shards as img2dataset writes them: 00000.tar with 000000000.jpg, .txt and .json of each picture.

Nothing is ever unpacked: the headers of a shard are read once, texts are taken in, and a picture is read from its
place in the shard when it is asked for. So names like ../x or links can do no harm; they are reported and left out.
"""

import hashlib
import io
import tarfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from PIL import Image

from lib.data.corpora.folder import UNDECODABLE, corpus_of
from lib.data.corpora.reading import IMAGE_SUFFIXES, Items, check_choice, check_split, corpus_root
from lib.data.corpora.sidecars import TEXT_SUFFIXES, Sidecars, parse_texts
from lib.data.corpora.sources import LARGEST
from lib.data.corpora.texts import FALLBACKS, readable
from lib.data.corpus import Corpus
from lib.data.decoder import decode
from lib.data.images import ImageSequence

BLOCK = tarfile.BLOCKSIZE
USED = (*IMAGE_SUFFIXES, *TEXT_SUFFIXES)


def load(
    root: str | Path | None = None,
    split: str | None = None,
    val: float = 0.0,
    test: float = 0.0,
    seed: int = 0,
    undecodable: str = "repair",
    encodings: Sequence[str] = FALLBACKS,
    tags_from_text: bool = True,
) -> Corpus:
    """Load all pictures of the *.tar in a folder (or one .tar) that have a text; ids are "00000/000000012", in order.

    Texts, tags and options are those of corpus "folder", but all pictures are for training unless `split`, `val` or
    `test` say otherwise: to draw the two, every picture must be read. Compressed archives cannot be read from the
    middle and are refused; a shard that breaks off gives what it has and is reported.
    """
    check_split(split)
    check_choice("undecodable", undecodable, UNDECODABLE)
    if root is not None and Path(root).is_file():
        shards, root = [Path(root)], Path(root).parent
    else:
        root = corpus_root("webdataset", root, "webdataset")
        shards = sorted(root.rglob("*.tar"))
    if not shards:
        raise FileNotFoundError(f"corpus webdataset: no *.tar in {root}")
    items = Items("webdataset", root)
    for shard in shards:
        _add_shard(shard, items, Sidecars(root, undecodable, encodings, tags_from_text), split or "train")
    items.notes.append(f"layout: {len(shards):,} WebDataset shards")
    images = TarImages([item.image for item in items.found.values()])
    return corpus_of(items, 0 if split else val, 0 if split else test, seed, images)


class Member(NamedTuple):
    """Where a file lies in an uncompressed archive: bytes from `offset` on."""

    shard: Path
    name: str
    offset: int
    size: int

    def read(self) -> bytes:
        """The content; OSError where the shard has become shorter since it was indexed."""
        with self.shard.open("rb") as file:
            file.seek(self.offset)
            content = file.read(self.size)
        if len(content) < self.size:
            raise OSError(f"{self.shard}: {self.name} breaks off after {len(content)} of {self.size} bytes")
        return content


class TarImages(ImageSequence):
    """Pictures inside uncompressed archives, opened from their place when they are asked for."""

    def __init__(self, members: Iterable[Member]):
        self.members = list(members)
        self.paths = [member.shard / member.name for member in self.members]

    def __len__(self) -> int:
        return len(self.members)

    def open(self, row: int) -> Image.Image:
        """The image of a row in RGB; OSError with its name and shard where it is none."""
        member = self.members[row]
        return decode(io.BytesIO(member.read()), f"image {row}: {member.name} in {member.shard}")

    def fingerprint(self, row: int) -> str:
        """SHA-256 of the content of an image (the one in the .json is of the file before it was resized)."""
        return hashlib.sha256(self.members[row].read()).hexdigest()

    def take(self, rows: Iterable[int]) -> "TarImages":
        """The images of these rows, in this order."""
        return TarImages([self.members[row] for row in rows])


def members(shard: Path, items: Items) -> Iterator[Member]:
    """The regular files of a shard that may be used, in its order; everything else is reported."""
    total = shard.stat().st_size
    end = 0
    try:
        with tarfile.open(shard, "r:") as archive:
            for info in archive:
                end = info.offset_data + (-(-info.size // BLOCK) * BLOCK if info.isreg() else 0)
                why = _refused(info, total)
                if why:
                    items.report(f"{items.at(shard)}: {readable(info.name)}", f"{why}; left out")
                elif info.isreg():
                    yield Member(shard, info.name, info.offset_data, info.size)
    except (tarfile.TarError, EOFError, ValueError) as error:
        kind = "no tar archive, or a compressed one: unpack it to .tar" if end == 0 else "breaks off"
        items.report(items.at(shard), f"{kind} ({error}); what follows byte {end} is lost")
        return
    # tarfile takes a damaged header, or the end of the file, for the end of the archive, which is a block of zeros.
    with shard.open("rb") as file:
        file.seek(end)
        if file.read(BLOCK) != bytes(BLOCK):
            items.report(items.at(shard), f"damaged or incomplete; what follows byte {end} is lost")


def _refused(info: tarfile.TarInfo, total: int) -> str:
    """Why a member is not used; empty where it is (folders are passed over in silence)."""
    name = info.name.replace("\\", "/")
    if info.issym() or info.islnk():
        return "is a link"
    if not (info.isreg() or info.isdir()) or info.issparse():
        return "is no regular file"
    if name.startswith("/") or name[1:2] == ":" or ".." in PurePosixPath(name).parts:
        return "has a name that leads outside"
    return "breaks off" if info.isreg() and info.offset_data + info.size > total else ""


def _add_shard(shard: Path, items: Items, how: Sidecars, split: str) -> None:
    pictures: dict[str, Member] = {}
    texts: dict[str, dict[str, bytes]] = {}
    unused: Counter[str] = Counter()
    prefix = shard.relative_to(items.root).with_suffix("").as_posix()
    found = list(members(shard, items))
    keys = {_key_of(member.name)[0] for member in found if _key_of(member.name)[1] in IMAGE_SUFFIXES}
    for member in found:
        key, suffix = _key_of(member.name)
        if suffix not in USED and key not in keys:  # my.photo.jpg: a dot in the name, and not another part of "my"
            key, suffix = member.name.rpartition(".")[0], PurePosixPath(member.name).suffix.lower()
        key = readable(key)
        where = f"{items.at(shard)}: {readable(member.name)}"
        if suffix in IMAGE_SUFFIXES and key in pictures:
            items.report(where, f"key {key!r} has a picture already; the second is left out")
        elif suffix in IMAGE_SUFFIXES:
            pictures[key] = member
        elif suffix not in TEXT_SUFFIXES:
            unused[suffix] += 1
        elif suffix in texts.setdefault(key, {}):
            items.report(where, "is there twice; the second is left out")
        elif member.size > LARGEST:
            items.report(where, f"a text of {member.size:,} bytes; left out")
        else:
            texts[key][suffix] = member.read()
    for key, picture in sorted(pictures.items()):  # downloaders write them as they come
        where = f"{items.at(shard)}: {key}"
        said = parse_texts(texts.pop(key, {}), how, items, where)
        if said is not None:
            items.add(f"{prefix}/{key}", picture, where, captions=said.captions, tags=said.tags, split=split)
    for key in texts:
        items.report(f"{items.at(shard)}: {key}", "text without a picture; left out")
    if unused:
        shown = ", ".join(f"{count:,} x {suffix or 'no suffix'}" for suffix, count in sorted(unused.items()))
        items.notes.append(f"{items.at(shard)}: not used: {shown}")


def _key_of(name: str) -> tuple[str, str]:
    """Key and suffix as WebDataset parts them, at the first dot of the base name."""
    folder, _, base = name.rpartition("/")
    stem, dot, suffix = base.partition(".")
    return (f"{folder}/{stem}" if folder else stem), f"{dot}{suffix.lower()}"
