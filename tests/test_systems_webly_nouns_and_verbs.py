"""Nouns and verbs of captions, as dummy tags."""

import pytest

from lib.systems.webly.nouns_and_verbs import NounsAndVerbs


@pytest.fixture(scope="module")
def nouns_and_verbs():
    return NounsAndVerbs()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Two black dogs are playing with a ball .", ["dog", "play", "ball"]),
        ("A girl has been climbing the stairs", ["girl", "climb", "stairs"]),
        ("flag: Japan", ["flag", "japan"]),
        ("very red, and quickly", []),
        ("", []),
        ("...", []),
    ],
)
def test_base_forms_of_nouns_and_full_verbs(nouns_and_verbs, text, words):
    assert nouns_and_verbs(text) == words


def test_tags_of_an_image_are_the_words_of_all_its_captions_once(nouns_and_verbs):
    assert nouns_and_verbs.tags(["A dog runs", "Dogs run on the beach"]) == ["dog", "run", "beach"]
    assert nouns_and_verbs.tags([]) == []
