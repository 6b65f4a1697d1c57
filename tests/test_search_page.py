"""The engine on the embedded corpus, and its page driven in headless Chromium: type, look, click, look again."""

import json
import shutil
import threading
import urllib.request
from urllib.error import HTTPError

import numpy as np
import pytest

from lib.data import load
from lib.search import Engine, Index, QueryError, Term
from lib.search.server import Server, listen

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
# No name resolves, so a page that needs a network shows here that it does.
OFFLINE = ["--no-sandbox", "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1"]

pytestmark = pytest.mark.notebooks


@pytest.fixture(scope="module")
def engine():
    return Engine.of(load("openmoji"), device="cpu")


@pytest.fixture(scope="module")
def address(engine):
    server = Server(engine, listen("127.0.0.1", 0))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.port}"
    server.shutdown()
    thread.join()


def get(url: str):
    with urllib.request.urlopen(url, timeout=60) as reply:
        return reply.headers["Content-Type"], reply.read()


def names(hits) -> list[str]:
    return [hit.name for hit in hits]


def test_words_find_pictures(engine):
    assert any("heart" in name for name in names(engine.search("red + heart", 3)))
    best = engine.search("red + circle - face", 1)[0]
    assert (best.name, best.split) == ("red circle", "test")  # the model never saw it
    unseen = engine.corpus.split == "test"
    assert {hit.split for hit in engine.search("wild animal", 20, unseen)} == {"test"}


def test_the_space_was_learned(engine):
    """Half of the test names find their picture among the first 50 of 500 at least; chance is a tenth."""
    test = np.flatnonzero(engine.corpus.split == "test")
    vectors = np.stack([engine.index.vector(engine.corpus.image_ids[row]) for row in test])
    cosines = engine.encode([engine.corpus.captions[row][0] for row in test]) @ vectors.T
    ranks = (cosines > np.diag(cosines)[:, None]).sum(1)
    assert (ranks < 50).mean() > 0.5


def test_a_picture_finds_its_neighbours_and_not_itself(engine):
    id_ = engine.corpus.image_ids[0]
    found = engine.search(f"@{id_}", 5)
    assert [(hit.id, pytest.approx(hit.score, abs=1e-5)) for hit in found] == engine.index.neighbours(id_, 5)
    with pytest.raises(QueryError, match="no such picture"):
        engine.search("@nowhere")
    with pytest.raises(QueryError, match="cancel"):
        engine.search([Term("dog"), Term("dog", -1)])


def test_the_engine_refuses_an_index_of_other_pictures(engine):
    with pytest.raises(ValueError, match="other pictures"):
        Engine(engine.corpus, engine.model, Index(np.eye(3)))


def test_what_the_server_answers(engine, address):
    kind, page = get(address)
    assert kind.startswith("text/html")
    assert b"Search pictures" in page
    assert b"http" not in page.replace(b"http-equiv", b"")  # nothing from elsewhere
    answer = json.loads(get(f"{address}/search?q=dog:2+-%20face&k=4&split=val")[1])
    assert [(term["name"], term["weight"]) for term in answer["terms"]] == [("dog", 2), ("face", -1)]
    assert [hit["split"] for hit in answer["hits"]] == ["val"] * 4
    kind, picture = get(f"{address}/picture/{answer['hits'][0]['row']}")
    assert (kind, picture[:2]) == ("image/jpeg", b"\xff\xd8")
    for query, message in (("q=", "empty"), ("q=dog&k=0", "1 to 1000"), ("q=dog&split=x", "'x'"), ("q=@x", "picture")):
        assert message in json.loads(get(f"{address}/search?{query}")[1])["error"]
    for path in ("picture/99999", "picture/..%2f", "etc", "picture/-1"):
        with pytest.raises(HTTPError, match="404"):
            get(f"{address}/{path}")


@pytest.fixture(scope="module")
def browser():
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip(f"needs Chromium: none of {', '.join(BROWSERS)} is on the path")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=OFFLINE)
        yield browser
        browser.close()


def test_a_person_searches(engine, address, browser):
    page = browser.new_page(viewport={"width": 1200, "height": 900})
    wrong = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda said: wrong.append(said.text) if said.type == "error" else None)  # of the policy, too
    page.on("requestfailed", lambda request: wrong.append(request.url))
    page.goto(address)
    page.wait_for_selector(".card")

    def shown(chips: list[str]) -> list[str]:
        """The names of the pictures, once the page says that it searched for these concepts."""
        there = (
            "wanted => [...document.querySelectorAll('.chip')].map(c => c.textContent).join('|') === wanted.join('|')"
        )
        page.wait_for_function(there, arg=chips)
        return page.locator(".card .name").all_text_contents()

    page.fill("#number", "8")
    page.fill("#query", "red + circle - face")
    page.press("#query", "Enter")
    assert shown(["+ red", "+ circle", "− face"]) == names(engine.search("red + circle - face", 8))
    page.wait_for_function("[...document.querySelectorAll('.card img')].every(i => i.complete && i.naturalWidth > 0)")

    page.locator(".card .open").first.click()
    red_circle = engine.search("red + circle - face", 1)[0]
    assert shown(["+ red circle"]) == names(engine.search(f"@{red_circle.id}", 8))

    page.locator("#query").fill(page.input_value("#query") + " + animal:2")
    page.click("form > button")
    assert shown(["+ red circle", "+ 2 × animal"]) == names(engine.search(f"@{red_circle.id} + animal:2", 8))

    page.locator(".card").first.hover()
    page.locator(".card .less").first.click()
    assert len(page.locator(".card").all()) == 8
    page.wait_for_selector(".chip.minus img")

    page.go_back()
    shown(["+ red circle", "+ 2 × animal"])
    page.fill("#query", "dog:x")
    page.press("#query", "Enter")
    page.wait_for_selector(".error")
    assert "no number above 0" in page.text_content("#said")
    assert page.locator(".card").count() == 0
    assert wrong == []
    page.close()
