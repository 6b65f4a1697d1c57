"""Web text made usable: repaired and split into words, and the filters of the webly paper with a report of each.

The filters are those of the web set of Mithun et al. (Webly Supervised Joint Embedding, ACM MM 2018, section 4.1): at
least two English tags, at most five pictures an owner, duplicates by the first five tags, and a list of keywords out of
the clean captions, which is also the order of their curriculum. What the paper leaves open is said where it is filled.
"""

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from lib.base.letters import LETTER
from lib.data.corpora.texts import HASHTAG
from lib.data.corpus import Corpus

LINK = re.compile(r"https?:\S*|\bwww\.\S+|\b(?:pic\.twitter\.com|t\.co|instagr\.am|bit\.ly)/\S*", re.IGNORECASE)
MENTION = re.compile(r"(?:\bRT\s+)?(?<![\w.])@\w+:?")  # no e-mail address
WORD = re.compile(f"{LETTER}+(?:['’]{LETTER}+)*")
CAMEL = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")  # capitals, words with or without one, numbers
# Names that are in every second hashtag and in no dictionary; split, they would become "in stag ram".
WEB_WORDS = ("instagram", "insta", "facebook", "youtube", "iphone", "selfie", "hashtag", "wifi", "vlog", "emoji")
# Function words: closed classes, so that the list does not depend on a corpus.
_FUNCTION_WORDS = """
a an the this that these those some any each every all both either neither no another such
i me my mine myself you your yours yourself he him his himself she her hers herself it its itself we us our ours
they them their theirs themselves one ones who whom whose which what something someone other others
and or but nor so yet if then than because as while when where how why whether though although until unless
in on at by to from of off for with without into onto over under above below between among through across along
around about near behind beside besides before after against toward towards up down out inside outside during per
am is are was were be been being have has had having do does did doing can could will would shall should may might
must not only just very too also there here more most much many few several own same again once upon s t
two three four five six seven eight nine ten
"""
STOP_WORDS = frozenset(_FUNCTION_WORDS.split())


# ---------------------------------------------------------------------------------------------------- text to text
def fix_encoding(text: str) -> str:
    """Text that was decoded wrongly on its way, HTML entities and odd quotes made right: "cafÃ©" -> "café" (ftfy)."""
    import ftfy

    return ftfy.fix_text(text)


def remove_links(text: str) -> str:
    """The text without web addresses and @mentions, "RT @somebody:" included."""
    return MENTION.sub(" ", LINK.sub(" ", text))


def emoji_to_words(text: str) -> str:
    """Each emoji as its Unicode name: "nice 🐶" -> "nice  dog face "."""
    import emoji

    return emoji.replace_emoji(text, lambda _, about: f" {about['en'].strip(':').replace('_', ' ')} ")


def remove_emoji(text: str) -> str:
    """The text without emoji."""
    import emoji

    return emoji.replace_emoji(text, " ")


def split_hashtags(text: str) -> str:
    """Each hashtag as its words: "#NewYorkCity #foodporn" -> "new york city food porn"."""
    return HASHTAG.sub(lambda found: " ".join(split_words(found[1])) if found[1] else found[0], text)


@cache
def split_words(joined: str) -> list[str]:
    """The words, in lower case, of a hashtag or tag written as one: by its capitals, else by a dictionary.

    "NewYorkCity" and "newyorkcity" -> ["new", "york", "city"]. A word of the dictionary, a short one and one with other
    letters than a-z stay whole; of several ways to split the likeliest by word frequency is taken (SymSpell), which
    errs with words that it does not know: "iphoneography" -> ["iphone", "o", "graph", "y"].
    """
    if joined.lower() in WEB_WORDS:
        return [joined.lower()]
    if not joined.isascii():
        return joined.replace("_", " ").lower().split()
    parts = CAMEL.findall(joined)
    if len(parts) != 1:
        return [word for part in parts for word in split_words(part)]
    word = parts[0].lower()
    if len(word) < 4 or word.isdecimal() or is_english(word):
        return [word]
    return _symspell().word_segmentation(word, max_edit_distance=0).corrected_string.split()


def is_english(word: str) -> bool:
    """Whether a word, in lower case, is among the 82,765 English ones that package symspellpy ships, or WEB_WORDS.

    The vocabulary of GloVe would not do: it has seen foreign text, too, and knows "hund", "noche" and "plage".
    """
    return word in _symspell().words


@cache
def _symspell():
    from importlib.resources import as_file, files

    from symspellpy import SymSpell

    symspell = SymSpell(max_dictionary_edit_distance=0)
    with as_file(files("symspellpy") / "frequency_dictionary_en_82_765.txt") as path:
        if not symspell.load_dictionary(path, term_index=0, count_index=1):
            raise FileNotFoundError(f"package symspellpy has no {path.name}: install the version of requirements.txt")
    for word in WEB_WORDS:
        symspell.create_dictionary_entry(word, 100_000_000)  # as frequent as "photo"
    return symspell


# ------------------------------------------------------------------------------------------------ corpus to corpus
@dataclass(frozen=True)
class Step:
    """What one filter or rewriting did: to how many images, which (ids), and why."""

    name: str
    before: int
    images: list[str]
    why: str

    def __str__(self) -> str:
        return f"{self.name:<24} {len(self.images):>9,} of {self.before:>9,} images {self.why}"


Filter = Callable[[Corpus], tuple[np.ndarray, str, str]]  # -> keep (N,) bool, name, why the others are left out


def filter_corpus(corpus: Corpus, *filters: Filter) -> tuple[Corpus, list[Step]]:
    """The images that pass all filters, in order, and a Step for each filter; each sees what those before it left."""
    steps = []
    for apply in filters:
        keep, name, why = apply(corpus)
        removed = [corpus.image_ids[i] for i in np.flatnonzero(~keep)]
        steps.append(Step(name, len(corpus), removed, f"left out: {why}"))
        corpus = corpus.take(keep)
    return corpus, steps


def english_tags(at_least: int = 2, is_english: Callable[[str], bool] = is_english) -> Filter:
    """Keep images with so many English tags; a tag of several words is English when each of them is."""

    def apply(corpus: Corpus):
        counts = [sum(_all_english(tag, is_english) for tag in set(tags)) for tags in corpus.tags]
        return np.array(counts, dtype=int) >= at_least, "English tags", f"fewer than {at_least} English tags"

    return apply


def per_owner(owner_of: Mapping[str, str], at_most: int = 5) -> Filter:
    """Keep the first so many images of each owner; `owner_of` has the owner of each image id, KeyError where not."""

    def apply(corpus: Corpus):
        seen: Counter[str] = Counter()
        keep = np.zeros(len(corpus), dtype=bool)
        for i, image_id in enumerate(corpus.image_ids):
            seen[owner_of[image_id]] += 1
            keep[i] = seen[owner_of[image_id]] <= at_most
        return keep, "pictures an owner", f"more than {at_most} of one owner"

    return apply


def distinct_tags(first: int = 5) -> Filter:
    """Keep the first of images whose first so many tags are the same, in the same order; none of those without tags."""

    def apply(corpus: Corpus):
        seen: set[tuple[str, ...]] = {()}
        keep = np.zeros(len(corpus), dtype=bool)
        for i, tags in enumerate(corpus.tags):
            key = tuple(tag.lower() for tag in tags[:first])
            keep[i] = key not in seen
            seen.add(key)
        return keep, "distinct tags", f"the first {first} tags are those of an earlier one, or there are none"

    return apply


def rewrite(corpus: Corpus, *functions: Callable[[str], str]) -> tuple[Corpus, list[Step]]:
    """Captions and tags after these functions, one Step for each; texts that become empty are left out.

    Spaces are made single, and a tag that becomes equal to an earlier one of its image is left out.
    """
    steps = []
    for function in functions:
        captions = [_rewritten(texts, function) for texts in corpus.captions]
        tags = [list(dict.fromkeys(_rewritten(texts, function))) for texts in corpus.tags]
        both = zip(corpus.image_ids, captions, corpus.captions, tags, corpus.tags, strict=True)
        changed = [image_id for image_id, new, old, new_tags, old_tags in both if (new, new_tags) != (old, old_tags)]
        steps.append(Step(function.__name__.replace("_", " "), len(corpus), changed, "changed"))
        corpus = replace(corpus, captions=captions, tags=tags)
    return corpus, steps


# ------------------------------------------------------------------------------------------------------- keywords
def keywords(texts: Iterable[str], count: int = 1000, stop_words: Collection[str] = STOP_WORDS) -> dict[str, int]:
    """The `count` most frequent words of the clean captions and how often each comes, the most frequent first.

    Give it training captions only. Words that are equal but for a plural -s or -es are one keyword, in the form that
    is more frequent; the paper says "lemmatised" and does not say how.
    """
    counts = Counter(word for text in texts for word in WORD.findall(text.lower()) if word not in stop_words)
    groups: dict[str, list[str]] = {}
    for word in counts:
        singular = next((word[: -len(s)] for s in ("es", "s") if word.endswith(s) and word[: -len(s)] in counts), word)
        groups.setdefault(singular if len(singular) > 2 else word, []).append(word)
    total = {max(words, key=lambda w: (counts[w], w)): sum(counts[w] for w in words) for words in groups.values()}
    return dict(sorted(total.items(), key=lambda item: (-item[1], item[0]))[:count])


def keyword_frequency(corpus: Corpus, frequency: Mapping[str, int]) -> np.ndarray:
    """How frequent (N,) int64 the most frequent keyword among the tags of each image is; 0 where it has none.

    The curriculum of the paper takes images in falling order of it. There each image was found by one keyword; where
    it is not known which, the most frequent one stands for it (a reconstruction).
    """
    found = (max((frequency.get(word, 0) for tag in tags for word in _words(tag)), default=0) for tags in corpus.tags)
    return np.fromiter(found, dtype=np.int64, count=len(corpus))


def _words(tag: str) -> list[str]:
    return WORD.findall(tag.lower())


def _all_english(tag: str, is_english: Callable[[str], bool]) -> bool:
    words = _words(tag)
    return bool(words) and all(is_english(word) for word in words)


def _rewritten(texts: list[str], function: Callable[[str], str]) -> list[str]:
    return [text for text in (" ".join(function(text).split()) for text in texts) if text]
