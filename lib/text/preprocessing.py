"""Texts to words as Gomez et al. (2018) clean them, and as tweets want to be read."""

import string
from functools import cache

# The English function words of the Snowball project, as one types them without apostrophes.
ENGLISH = """
a about above after again against ain all am an and any are aren arent as at be because been before being below between
both but by can couldn couldnt d did didn didnt do does doesn doesnt doing don dont down during each few for from
further had hadn hadnt has hasn hasnt have haven havent having he her here hers herself him himself his how i if in into
is isn isnt it its itself just ll m ma me mightn mightnt more most mustn mustnt my myself needn neednt no nor not now o
of off on once only or other our ours ourselves out over own re s same shan shant she shes should shouldn shouldnt
shouldve so some such t than that thatll the their theirs them themselves then there these they this those through to
too under until up ve very was wasn wasnt we were weren werent what when where which while who whom why will with won
wont wouldn wouldnt y you youd youll your youre yours yourself yourselves youve
"""
# What is frequent on the web and says nothing about a picture: the list of the paper.
WEB = """
rt http t gt co s https tweet markars photo pictur picture say much now blog wikipedia google flickr figure image
homepage url youtube images pinterest
"""
STOP_WORDS = frozenset((ENGLISH + WEB).split())

_SPACES = b"# \t\n\v\f\r"
_KEPT = (string.ascii_letters + string.digits).encode() + _SPACES
_DROPPED = bytes(set(range(128)) - set(_KEPT))
_CLEAN = bytes.maketrans(
    string.ascii_uppercase.encode() + _SPACES, string.ascii_lowercase.encode() + b" " * len(_SPACES)
)
_NO_DIGITS = bytes.maketrans(string.digits.encode(), b" " * 10)


def preprocess(text: str, stem: bool = False) -> list[str]:
    """Content words of a web text: "#NewYork: the T-shirts!" -> ["newyork", "tshirts"].

    '#' and white space become a space, everything but [A-Za-z0-9 ] is dropped, the rest is put in lower case. Then
    runs of 2 to 15 letters are words (the rule of gensim's simple_preprocess); with `stem`, for LDA, runs of letters
    and digits are, and Porter's stemmer (1980) cuts them. Stop words go, before and after stemming.
    """
    _check(text, "preprocess")
    clean = text.encode("ascii", "ignore").translate(_CLEAN, _DROPPED)
    if not stem:
        words = clean.translate(_NO_DIGITS).decode().split()
        return [word for word in words if 1 < len(word) < 16 and word not in STOP_WORDS]
    stems = [_stem(word) for word in clean.decode().split() if word not in STOP_WORDS]
    return [word for word in stems if word not in STOP_WORDS]


def _check(text: str, who: str) -> None:
    if not isinstance(text, str):
        raise TypeError(f"{who} takes one text, not {type(text).__name__}: {str(text)[:60]!r}")


@cache
def _stemmer():
    from nltk.stem import PorterStemmer

    return PorterStemmer()


@cache
def _stem(word: str) -> str:
    return _stemmer().stem(word)


def tokenize_tweet(text: str) -> list[str]:
    """Words of a tweet in lower case by the rules of NLTK: "@Ann so #happy :-)" -> ["@ann", "so", "#happy", ":-)"].

    Names, hashtags, links and emoticons stay whole. Over ten times as slow as `tokenize`: for tweets only.
    """
    _check(text, "tokenize_tweet")
    return _tweet_tokenizer().tokenize(text)


@cache
def _tweet_tokenizer():
    from nltk.tokenize import TweetTokenizer

    return TweetTokenizer(preserve_case=False)
