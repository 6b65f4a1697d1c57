"""The web set of webly supervised learning: tags out of hashtags and texts, through the filters of the paper.

Or a controlled one: training pictures that lose their captions and keep tags of which we know how wrong they are.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace

from lib.data import CORPORA, Corpus, data_dir, load, webtext
from lib.data.noise import apply_noise, draw_noise

SHORTEST = 3  # letters of a word that is kept


def web_pictures(name: str, nouns_and_verbs: Callable[[list[str]], list[str]]) -> tuple[Corpus, list[webtext.Step]]:
    """Return tagged pictures of the web, and a Step for each thing that was done to them.

    Wrong encodings, links and emoji go. Tags written as one word are split, the nouns and verbs of the texts follow,
    and the English words among them stay, each once. Then the filters of Mithun et al. 2018, section 4.1: at least two
    tags, and no two pictures with the same first five. The third one there, at most five pictures of one owner, is
    `webtext.per_owner`; the files read here do not name the owners.

    Args:
        name: a corpus of `CORPORA`, such as "mirflickr25k", of which all splits are taken; or a folder in `data_dir()`
            of pictures x.jpg, each with a text x.txt, such as tweets.
        nouns_and_verbs: of all texts of one picture: `NounsAndVerbs().tags`.

    Raises:
        ValueError: no name, or no picture is left.
        FileNotFoundError: there is no such folder.
    """
    if not name:
        raise ValueError(f"no web set: name one of {', '.join(CORPORA)}, or a folder in {data_dir()}")
    raw = load(name) if name in CORPORA else load("folder", root=data_dir() / name, split="web")
    raw, steps = webtext.rewrite(raw, webtext.fix_encoding, webtext.remove_links, webtext.remove_emoji)
    lists = []
    for tags, texts in zip(raw.tags, raw.captions, strict=True):
        words = [word for tag in tags for word in webtext.split_words(tag)]
        words += nouns_and_verbs([webtext.split_hashtags(text) for text in texts])
        lists.append(list(dict.fromkeys(w for w in words if webtext.is_english(w) and len(w) >= SHORTEST)))
    kept, filters = webtext.filter_corpus(replace(raw, tags=lists), webtext.english_tags(2), webtext.distinct_tags(5))
    steps += filters
    if not len(kept):
        raise ValueError("\n".join([f"web set {name}: no picture is left", *map(str, steps)]))
    return kept, steps


def controlled_web(
    corpus: Corpus, share: float, tags: Mapping[str, list[str]], noise: float = 0.0
) -> tuple[Corpus, Corpus | None]:
    """Return the training pictures that keep their captions, and the others as web pictures; None where all keep them.

    Args:
        corpus: with training pictures that have captions.
        share: of these that keep them (`Corpus.annotate`: a smaller share lies inside a larger one).
        tags: image id -> what a web picture is tagged with, for all training pictures.
        noise: share of the web pictures that get the tags of another one.

    Raises:
        ValueError: `share` or `noise` is none, or no training picture has a caption.
        KeyError: a training picture without an entry in `tags`.
    """
    divided = corpus.annotate(share)
    clean = divided.select("train")
    if share == 1:
        return clean, None
    web = divided.select("web")
    web = replace(web, tags=[tags[image_id] for image_id in web.image_ids])
    return clean, apply_noise(web, draw_noise(web, "tags", noise)) if noise else web
