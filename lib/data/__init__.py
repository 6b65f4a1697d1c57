"""What we learn from: `load(name)` gives a `Corpus`; `cache_dir` is where derived files are kept."""

import inspect
from importlib import import_module
from pathlib import Path

from lib.data.corpus import Corpus, ImageFiles
from lib.data.paths import cache_dir

__all__ = ["CORPORA", "Corpus", "ImageFiles", "cache_dir", "load"]

# Corpus name -> module with a function load(root=None, **options) -> Corpus; imported when it is asked for.
CORPORA = {"openmoji": "lib.data.openmoji"}


def load(name: str, root: str | Path | None = None, **options) -> Corpus:
    """Load a corpus by name; `root` is the folder it lies in, options are those of its adapter (lib/data/<name>.py).

    Raises ValueError for an unknown name or option, naming the known ones.
    """
    if name not in CORPORA:
        raise ValueError(f"unknown corpus {name!r}; known: {', '.join(sorted(CORPORA))}")
    adapter = import_module(CORPORA[name]).load
    known = [option for option in inspect.signature(adapter).parameters if option != "root"]
    for option in options:
        if option not in known:
            raise ValueError(f"corpus {name!r} has no option {option!r}; it has: {', '.join(known)}")
    return adapter(root=root, **options)
