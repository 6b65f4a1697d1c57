"""The web set of webly supervised learning: tags out of hashtags and texts, through the filters of the paper."""

from collections.abc import Callable
from dataclasses import replace

from lib.data import CORPORA, Corpus, data_dir, load, webtext

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
