"""What we learn from: `load(name)` gives a `Corpus`; `cache_dir` is where derived files are kept."""

import inspect
from dataclasses import replace
from importlib import import_module
from pathlib import Path

from lib.base.files import cache_dir, data_dir
from lib.data.corpus import Corpus
from lib.data.images import ImageFiles, ImageList, Images
from lib.data.obtain.registry import read_entry, wrong_counts

__all__ = ["CORPORA", "Corpus", "ImageFiles", "ImageList", "Images", "cache_dir", "data_dir", "load"]

# Corpus name -> module:function, which takes root=None and options; imported when it is asked for.
CORPORA = {
    "openmoji": "lib.data.corpora.openmoji:load",
    "flickr8k": "lib.data.corpora.flickr:load_flickr8k",
    "flickr30k": "lib.data.corpora.flickr:load_flickr30k",
    "coco": "lib.data.corpora.coco:load",
    "mirflickr25k": "lib.data.corpora.mirflickr:load",
    "mirflickr25k-dcmh": "lib.data.corpora.mirflickr:load_dcmh",
    "nuswide": "lib.data.corpora.nuswide:load",
    "webvision": "lib.data.corpora.webvision:load",
    "openclipart": "lib.data.corpora.openclipart:load",
    "instacities1m": "lib.data.corpora.instacities:load_instacities1m",
    "instany100k": "lib.data.corpora.instacities:load_instany100k",
    "folder": "lib.data.corpora.folder:load",
    "webdataset": "lib.data.corpora.webdataset:load",
}


def load(
    name: str,
    root: str | Path | None = None,
    *,
    annotated: float = 1.0,
    seed: int = 0,
    damaged: str | None = None,
    **options,
) -> Corpus:
    """Load a corpus by name; `root` is the folder it lies in, options are those of its adapter in CORPORA.

    Without `root` the files are looked for in a folder of the corpus's name in `data_dir()`. `annotated` is the share
    of the training pictures that keep their captions, see `Corpus.annotate`; `seed` is for that and for whatever else
    the adapter draws. Pictures are opened when they are asked for; with `damaged` all are opened now, and those that
    cannot be are left out and reported ("drop") or are an error ("raise").

    Raises:
        ValueError: an unknown name or option; the message names the known ones. With damaged="raise", pictures that
            cannot be opened; it names them.
        FileNotFoundError: the files are not there; the message says how to get them.

    Example:
        Two pictures and the texts beside them, in any folder:

        >>> import tempfile
        >>> from pathlib import Path
        >>> from PIL import Image
        >>> from lib.data import load
        >>> folder = tempfile.TemporaryDirectory()
        >>> for colour in ("red", "blue"):
        ...     Image.new("RGB", (32, 32), colour).save(Path(folder.name, f"{colour}.png"))
        ...     _ = Path(folder.name, f"{colour}.txt").write_text(f"a {colour} square #colour")
        >>> corpus = load("folder", folder.name, val=0, test=0)
        >>> corpus
        Corpus folder: 2 images (2 train); 2 captions, 2 tags, no labels; not stated: find out before you use it
        >>> corpus.captions[0], corpus.tags[0], corpus.images[0].size
        (['a blue square #colour'], ['colour'], (32, 32))
        >>> folder.cleanup()
    """
    if name not in CORPORA:
        raise ValueError(f"unknown corpus {name!r}; known: {', '.join(sorted(CORPORA))}")
    module, function = CORPORA[name].split(":")
    adapter = getattr(import_module(module), function)
    own = [option for option in inspect.signature(adapter).parameters if option != "root"]
    known = ["annotated", "seed", "damaged", *(option for option in own if option != "seed")]
    if damaged not in (None, "drop", "raise"):
        raise ValueError(f"damaged is {damaged!r}: 'drop' or 'raise', or None to open pictures when they are asked for")
    for option in options:
        if option not in known:
            raise ValueError(f"corpus {name!r} has no option {option!r}; it has: {', '.join(known)}")
    if "seed" in own:
        options["seed"] = seed
    corpus = adapter(root=root, **options)
    if not options.keys() - {"seed"}:  # other options change the numbers
        corpus = replace(corpus, notes=(*corpus.notes, *wrong_counts(read_entry(name), corpus)))
    if damaged:
        corpus = _opened(corpus, drop=damaged == "drop")
    return corpus.annotate(annotated, seed)


def _opened(corpus: Corpus, drop: bool) -> Corpus:
    """The corpus of the pictures that can be opened; ValueError with the others where they must not be dropped."""
    problems: dict[int, str] = {}
    for row, image_id in enumerate(corpus.image_ids):
        try:
            corpus.images[row]
        except OSError as error:  # its text begins with row and path, which problems do not show
            why = str(error).partition(" is ")[2] or type(error).__name__
            problems[row] = f"{image_id}: is {why}; left out"
    if problems and not drop:
        shown = "\n".join(list(problems.values())[:10]).replace("; left out", "")
        raise ValueError(f"corpus {corpus.name}: {len(problems):,} pictures cannot be opened:\n{shown}")
    rest = corpus.take([row for row in range(len(corpus)) if row not in problems])
    return replace(rest, problems=(*corpus.problems, *problems.values()))
