"""Webly supervised joint embedding (Mithun et al., ACM MM 2018): few captions, many pictures that only carry tags."""

from lib.systems.webly.exchange_rate import ExchangeRate, exchange_rates
from lib.systems.webly.model import webly_embedding
from lib.systems.webly.nouns_and_verbs import NounsAndVerbs
from lib.systems.webly.objective import (
    TaggedPairs,
    WeblyChoices,
    WeblyObjective,
    clean_pairs,
    mixed_pairs,
    two_stages,
    web_pairs,
)
from lib.systems.webly.readers import GloveReader, sentence_reader
from lib.systems.webly.tag_vectors import TagVectors, tags_as_sentences
from lib.systems.webly.web_pictures import controlled_web, web_pictures

__all__ = [
    "ExchangeRate",
    "GloveReader",
    "NounsAndVerbs",
    "TagVectors",
    "TaggedPairs",
    "WeblyChoices",
    "WeblyObjective",
    "clean_pairs",
    "controlled_web",
    "exchange_rates",
    "mixed_pairs",
    "sentence_reader",
    "tags_as_sentences",
    "two_stages",
    "web_pairs",
    "web_pictures",
    "webly_embedding",
]
