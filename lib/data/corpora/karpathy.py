"""The split files of Karpathy and Fei-Fei (CVPR 2015): dataset_{flickr8k,flickr30k,coco}.json.

{"images": [{"filename": "...", "split": "train", "sentences": [{"raw": "..."}, ...], ...}, ...]}
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from lib.data.corpora.reading import Items

SOURCE = "https://cs.stanford.edu/people/karpathy/deepimagesent/ (caption_datasets.zip)"


class Entry(NamedTuple):
    """One picture: its place in the file, the file's own record, name, split and captions as they were written."""

    where: str
    record: dict
    filename: str
    split: str
    captions: list[str]


def read_karpathy(path: Path, items: Items) -> Iterator[Entry]:
    """The pictures of a split file in its order; a record that lacks something is reported and passed over."""
    for row, record in enumerate(items.json(path, "images")["images"], 1):
        where = items.at(path, row)
        try:
            captions = [sentence["raw"] for sentence in record["sentences"]]
            filename, split = record["filename"], record["split"]
        except (KeyError, TypeError) as error:
            items.report(where, f"no record of a picture (lacks {error}); left out")
            continue
        if all(isinstance(text, str) for text in (filename, split, *captions)):
            yield Entry(where, record, filename, split, captions)
        else:
            items.report(where, "filename, split or a caption is no text; left out")
