"""Open Clip Art: drawings in the layout of Debian's package, with the texts of their RDF and with none."""

import pytest

from lib.data import load
from lib.data.corpora.openclipart import texts_of
from tests.picture_files import write

FOLDER = "usr/share/openclipart/svg"
CC = ("http://web.resource.org/cc/", "http://creativecommons.org/ns#")
SHAPE = '<rect x="10" y="10" width="30" height="20" fill="{}"/>'


def drawing(colour="red", size='width="60" height="40"', title="A Fish", about="", keywords=("fish", "hash"), cc=CC[0],
            shape=SHAPE) -> str:  # fmt: skip
    """An SVG file as the library has them; `title` None: without metadata."""
    listed = "".join(f"<rdf:li>{word}</rdf:li>" for word in keywords)
    work = f"""<metadata><rdf:RDF xmlns:cc="{cc}" xmlns:dc="http://purl.org/dc/elements/1.1/"
        xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><cc:Work rdf:about=""><dc:title>{title}</dc:title>
        <dc:description>{about}</dc:description><dc:subject><rdf:Bag>{listed}</rdf:Bag></dc:subject>
        <dc:creator><cc:Agent><dc:title>Somebody</dc:title></cc:Agent></dc:creator></cc:Work></rdf:RDF></metadata>"""
    inside = f"{'' if title is None else work}{shape.format(colour)}"
    return f'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg" {size}>{inside}</svg>'


def openclipart_files() -> dict[str, str]:
    """Four drawings: one of a stated size, one of a view box alone, one in millimetres, one of no size at all."""
    return {
        f"{FOLDER}/food/fish.svg": drawing(),
        f"{FOLDER}/food/pear.svg": drawing("green", 'viewBox="0 0 60 40"', "Pear", "Half a pear.\nRipe", ("pear",)),
        f"{FOLDER}/unsorted/tower.SVG": drawing("blue", 'width="10mm" height="30mm"', "tower", "tower", ("", "tower")),
        f"{FOLDER}/unsorted/x.svg": drawing("black", "", "", "", ("unsorted", "united_nations_member"), CC[1]),
        f"{FOLDER}/unsorted/readme.txt": "no drawing",
    }


@pytest.fixture
def loaded(tmp_path, monkeypatch):
    """Loads files as the corpus, with a cache of its own."""
    monkeypatch.setenv("LIB_CACHE", str(tmp_path / "cache"))
    return lambda files, **options: load("openclipart", write(tmp_path / "raw", files), **options)


def test_titles_descriptions_and_keywords_as_they_are_written(loaded):
    corpus = loaded(openclipart_files())
    assert corpus.image_ids == ["food/fish.svg", "food/pear.svg", "unsorted/tower.SVG", "unsorted/x.svg"]
    assert corpus.captions == [["A Fish"], ["Pear", "Half a pear. Ripe"], ["tower"], []]
    assert corpus.tags == [["fish", "hash"], ["pear"], ["tower"], ["unsorted", "united_nations_member"]]
    assert set(corpus.split) == {"web"}
    assert corpus.problems == ()


def test_a_drawing_is_whole_in_the_middle_of_a_white_square(loaded):
    corpus = loaded(openclipart_files(), size=60)
    assert {image.size for image in corpus.images} == {(60, 60)}
    fish, pear, tower, last = corpus.images
    assert fish.getbbox() == pear.getbbox() == (0, 0, 60, 60)  # white is not black
    for image, colour in ((fish, (255, 0, 0)), (pear, (0, 128, 0))):  # 60 x 40, ten pixels below the upper edge
        inside = [(x, y) for x in range(60) for y in range(60) if image.getpixel((x, y)) == colour]
        assert (min(inside), max(inside)) == ((10, 20), (39, 39))
    assert tower.getpixel((5, 30)) == tower.getpixel((55, 30)) == (255, 255, 255)
    assert last.getpixel((50, 30)) == (0, 0, 0)


@pytest.mark.parametrize(
    "written",
    ["fish by me@example.org", "fish by <me@example.org>", "fish by (m.e+f@sub.example.org)", "fish by [me@localhost]",
     "fish by mailto:me@example.org", "me@example.org fish by you@example.org."],
)  # fmt: skip
def test_addresses_are_dropped_wherever_they_stand(written):
    escaped = written.replace("<", "&lt;").replace(">", "&gt;")
    svg = drawing(title=escaped, about=escaped, keywords=(escaped, "me@example.org", "fish"))
    captions, tags = texts_of(svg.encode())
    assert [*captions, *tags] == ["fish by", "fish by", "fish"]


def test_texts_outside_the_lists_and_entities_are_read():
    plain = drawing(title="Caf&#233; &amp; t&#234;te").replace("<rdf:Bag>", "").replace("</rdf:Bag>", "")
    assert texts_of(plain.encode()) == (["Café & tête"], ["fish", "hash"])
    one = drawing(keywords=()).replace("<rdf:Bag></rdf:Bag>", "a fish")
    assert texts_of(one.encode()) == (["A Fish"], ["a fish"])
    latin = drawing(title="F\xfcchse").replace('"1.0"', '"1.0" encoding="iso-8859-1"').encode("latin-1")
    assert texts_of(latin)[0] == ["Füchse"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "no element found"),
        ("<svg", "unclosed token"),
        ("<html><body>Not found</body></html>", "no title, description or keyword"),
        (drawing(title=None), "no title, description or keyword"),
        (drawing(title="me@example.org", keywords=("me@example.org", " ")), "no title, description or keyword"),
        (drawing(size='width="0" height="0"'), "invalid size"),
        (drawing(shape=""), "nothing is drawn"),
        (drawing("white"), "nothing is drawn"),
        (drawing(shape="<text x='5' y='20'>letters</text>"), "nothing is drawn"),
        (drawing(), "the same file as food/fish.svg"),
    ],
)
def test_what_cannot_be_used_is_a_problem_and_the_rest_is_loaded(loaded, content, said):
    corpus = loaded(openclipart_files() | {f"{FOLDER}/people/bad.svg": content})
    assert len(corpus) == 4
    (problem,) = corpus.problems
    assert problem.startswith(f"{FOLDER}/people/bad.svg: ")
    assert said in problem
    assert problem.endswith("; left out")


def test_a_link_to_a_drawing_is_the_same_drawing(loaded, tmp_path):
    loaded(openclipart_files())
    (tmp_path / "raw" / FOLDER / "zoo.svg").symlink_to("food/fish.svg")
    corpus = loaded({})
    assert len(corpus) == 4
    assert corpus.problems == (f"{FOLDER}/zoo.svg: the same file as food/fish.svg; left out",)


def test_drawings_are_drawn_once(loaded, monkeypatch):
    first = loaded(openclipart_files())
    monkeypatch.setattr("resvg_py.svg_to_bytes", None)
    assert loaded({}).fingerprint() == first.fingerprint()


def test_what_is_missing_is_said(loaded, tmp_path):
    with pytest.raises(FileNotFoundError, match="lib data get openclipart"):
        loaded({"other/a.svg": drawing()})
    with pytest.raises(ValueError, match="size is 8 pixels"):
        loaded(openclipart_files(), size=8)
    with pytest.raises(ValueError, match=r"nothing could be read; 4 problems"):
        loaded(dict.fromkeys(openclipart_files(), ""))
