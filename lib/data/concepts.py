"""Items of retrieval by category: one picture, one text, some labels.

Photographs with captions and without labels get concept labels by a fixed list of words: a picture has a concept if at
least two of its captions hold one of the concept's words. The first caption, which is the item's text, has no say in
it. That is a rule about texts that people wrote; no model takes part.
"""

import re
from dataclasses import dataclass, replace

import numpy as np

from lib.data.corpus import Corpus

# Concept -> the words that name it: singulars, plurals and close synonyms of what captions of photographs are about,
# who is there, animals, things, places, activities. Fixed; nothing is fitted to a corpus.
CONCEPTS = {
    "man": "man men guy guys gentleman male males",
    "woman": "woman women lady ladies female females",
    "boy": "boy boys",
    "girl": "girl girls",
    "child": "child children kid kids toddler toddlers baby babies infant",
    "crowd": "crowd crowds audience spectators group",
    "dog": "dog dogs puppy puppies greyhound greyhounds poodle terrier retriever collie dalmatian",
    "horse": "horse horses pony ponies jockey horseback rodeo",
    "bird": "bird birds seagull seagulls duck ducks pigeon pigeons goose geese",
    "cow": "cow cows bull bulls cattle calf",
    "cat": "cat cats kitten kittens",
    "ball": "ball balls baseball basketball football soccer volleyball tennis",
    "bicycle": "bicycle bicycles bike bikes cyclist cyclists biker bikers bicyclist",
    "motorcycle": "motorcycle motorcycles motorbike motorbikes motocross motorcyclist dirtbike",
    "car": "car cars truck trucks van suv jeep taxi vehicle vehicles",
    "bus": "bus buses train trains subway",
    "boat": "boat boats kayak kayaks kayaker canoe canoes raft rafting ship sailboat",
    "skateboard": "skateboard skateboards skateboarder skateboarders skateboarding skater skaters",
    "surfboard": "surfboard surfboards surfer surfers surfing surf surfs wakeboard wakeboarder wakeboarding",
    "ski": "ski skis skier skiers skiing snowboard snowboarder snowboarders snowboarding sled sledding",
    "swing": "swing swings swinging slide trampoline playground seesaw",
    "toy": "toy toys doll balloon balloons bubble bubbles frisbee",
    "guitar": "guitar guitars instrument instruments drum drums violin piano microphone band musician",
    "camera": "camera cameras photo photos picture photographer photographs",
    "hat": "hat hats cap helmet helmets hood bandanna",
    "glasses": "glasses sunglasses goggles",
    "costume": "costume costumes mask masks makeup",
    "food": "food eating eats eat meal cake sandwich icecream fruit cooking drinking drinks drink",
    "water": "water pool lake river ocean sea pond wave waves stream puddle fountain",
    "beach": "beach sand shore shoreline coast dune dunes",
    "snow": "snow snowy ice icy",
    "grass": "grass grassy lawn field meadow pasture",
    "forest": "forest woods tree trees wooded branch branches leaves",
    "mountain": "mountain mountains cliff cliffs rock rocks rocky hill hills canyon peak",
    "street": "street streets road roads sidewalk city traffic crosswalk pavement",
    "building": "building buildings house houses store shop window windows wall bridge door",
    "table": "table tables chair chairs bench couch sofa bed desk",
    "flower": "flower flowers garden plants bush bushes",
    "fence": "fence fences gate railing",
    "sunset": "sunset sunrise night dusk dark",
    "running": "run runs running race races racing racer racers jogging chase chases chasing",
    "jumping": "jump jumps jumping leap leaps leaping midair flip flips",
    "climbing": "climb climbs climbing climber climbers hike hikes hiking hiker hikers",
    "swimming": "swim swims swimming swimmer diving dive dives splash splashes splashing",
    "dancing": "dance dances dancing dancer dancers",
    "sitting": "sit sits sitting seated",
    "sleeping": "sleep sleeps sleeping asleep lying lays laying lies",
    "smiling": "smile smiles smiling laugh laughs laughing",
    "fighting": "fight fights fighting wrestle wrestles wrestling karate boxing",
    "hugging": "hug hugs hugging kiss kisses kissing embrace embraces embracing",
}  # fmt: skip
_WORD = re.compile(r"[a-z]+")


@dataclass(frozen=True)
class CategoryItems:
    """Pictures with one text and at least one label each.

    corpus: the items; texts: (N,) one each; labels: (N, C) bool; label_names: (C,).
    """

    corpus: Corpus
    texts: list[str]
    labels: np.ndarray
    label_names: list[str]

    def counts(self) -> dict[str, int]:
        """How many items each label has, most frequent first."""
        order = np.argsort(-self.labels.sum(0), kind="stable")
        return {self.label_names[i]: int(self.labels[:, i].sum()) for i in order}


def concept_labels(captions: list[list[str]]) -> np.ndarray:
    """Return the concepts (N, len(CONCEPTS)) bool that the captions of each picture name, in the order of CONCEPTS.

    At least two captions have to name a concept, or the only one that there is.
    """
    of_word: dict[str, list[int]] = {}
    for column, words in enumerate(CONCEPTS.values()):
        for word in words.split():
            of_word.setdefault(word, []).append(column)
    labels = np.zeros((len(captions), len(CONCEPTS)), dtype=bool)
    for row, of_picture in enumerate(captions):
        named = np.zeros(len(CONCEPTS), dtype=int)
        for caption in of_picture:
            named[sorted({column for word in _WORD.findall(caption.lower()) for column in of_word.get(word, [])})] += 1
        labels[row] = named >= min(2, max(1, len(of_picture)))
    return labels


def category_items(corpus: Corpus) -> CategoryItems:
    """Return the items of a corpus: its pictures that have a text and a label.

    Text: the first caption and the tags, in one. Labels: those of the corpus, of OpenMoji the subgroups alone; where it
    has none, concepts of the captions behind the first (of the first, where it is the only one: its text then spells
    out its labels). Labels of fewer than two items are left out.

    Raises ValueError where nothing is left.
    """
    texts = [" ".join([*captions[:1], *tags]) for captions, tags in zip(corpus.captions, corpus.tags, strict=True)]
    labels, names = corpus.labels, corpus.label_names
    if labels is None:
        labels, names = concept_labels([captions[1:] or captions for captions in corpus.captions]), list(CONCEPTS)
    kept = [i for i, name in enumerate(names) if not name.startswith("group:") and labels[:, i].sum() > 1]
    labels, names = labels[:, kept], [names[i] for i in kept]
    rows = np.flatnonzero(labels.any(1) & np.array([bool(text) for text in texts]))
    if not len(rows):
        raise ValueError(f"corpus {corpus.name}: no picture has both a text and a label")
    return CategoryItems(corpus.take(rows), [texts[row] for row in rows], labels[rows], names)


def named_labels(items: CategoryItems) -> np.ndarray:
    """Return which labels the words of each item's own text name, (N, C) bool: what can be known without its picture.

    A label is named by the words of its concept, or by those of its name without a prefix such as `subgroup:`.
    """
    texts = [set(_WORD.findall(text.lower())) for text in items.texts]
    named = np.zeros(items.labels.shape, dtype=bool)
    for column, name in enumerate(items.label_names):
        words = set(_WORD.findall(CONCEPTS.get(name, name.split(":")[-1]).lower()))
        named[:, column] = [bool(words & text) for text in texts]
    return named


def balanced_split(
    labels: np.ndarray, train: int, val: int, test: int, per_label: bool = False, seed: int = 0
) -> np.ndarray:
    """Return a split (N,) of "train", "val", "test" and "web" (in the database only) by counts.

    per_label: the counts are for each label in turn, from the items that have it and are not taken yet, rarest label
    first, as CRCGS divides NUS-WIDE (500, 100, 100); else for all items (MIRFLICKR: 10,000, 2,000, 2,000).

    Raises ValueError where there are too few items.
    """
    rng = np.random.default_rng(seed)
    split = np.full(len(labels), "web", dtype="<U5")
    groups = [np.arange(len(labels))]
    if per_label:
        groups = [np.flatnonzero(labels[:, column]) for column in np.argsort(labels.sum(0), kind="stable")]
    for number, group in enumerate(groups):
        free = rng.permutation(group[split[group] == "web"])
        if len(free) < train + val + test:
            raise ValueError(f"{len(free)} items of group {number} for {train} + {val} + {test}")
        for name, count in (("test", test), ("val", val), ("train", train)):
            split[free[:count]] = name
            free = free[count:]
    return split


def with_split(items: CategoryItems, split: np.ndarray) -> CategoryItems:
    """Return the same items with another split (N,)."""
    return replace(items, corpus=replace(items.corpus, split=split))
