"""Parts of speech: which words of a caption are nouns and verbs, what a photographer would have used as tags."""

from functools import cached_property

from lib.text.tokens import tokenize


class NounsAndVerbs:
    """The Hannover Tagger (Wartena 2019) with the English model that package HanTa ships; no network.

    Its classes are those of the British National Corpus (C5): NN* common nouns, NP* names, VV* verbs other than be, do,
    have and the modal ones.
    """

    CLASSES = ("NN", "NP", "VV")

    def __call__(self, text: str) -> list[str]:
        """Base forms in lower case, each once, in their order: "Two dogs are playing" -> ["dog", "play"]."""
        words = tokenize(text)
        tagged = self._tagger.tag_sent(words) if words else []
        return list(dict.fromkeys(base.lower() for _, base, kind in tagged if kind.startswith(self.CLASSES)))

    def tags(self, captions: list[str]) -> list[str]:
        """The words of all captions of one image, each once: its dummy tags (Mithun et al. 2018, section 3.2)."""
        return list(dict.fromkeys(word for caption in captions for word in self(caption)))

    @cached_property
    def _tagger(self):
        from HanTa.HanoverTagger import HanoverTagger

        return HanoverTagger("morphmodel_en.pgz")
