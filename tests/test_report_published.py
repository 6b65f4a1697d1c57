"""The transcription of the published tables: totals, orders, copies that must agree, and errors that name the row."""

import pytest
import yaml

from lib.report.names import heading, metric_name
from lib.report.published import PATH, load_published, papers, sources

RECALLS = [f"{d}_r{k}" for d in ("i2t", "t2i") for k in (1, 5, 10)]


@pytest.fixture(scope="module")
def published():
    return load_published()


def wide(frame):
    return frame.pivot(index=["paper", "method", "corpus", "setting"], columns="metric", values="value")


@pytest.mark.parametrize(
    ("paper", "method", "corpus", "setting", "metric", "value", "source"),
    [
        ("A", "Webly supervised (VSEPP ResNet152)", "coco-1k", "1K test, mean of 5 folds", "i2t_r1", 61.5, "PDF-A"),
        ("A", "VSE VGG19", "coco-1k", "1K test, mean of 5 folds", "t2i_medr", 2.6, "PDF-A"),
        ("A", "Webly supervised (VSEPP ResNet152)", "flickr30k", "1K test", "t2i_r10", 74.8, "PDF-A"),
        ("B", "GloVe tf-idf", "instacities1m", "trained on InstaCities1M", "p5_simple", 0.82, "BLOG-B"),
        ("B", "Word2Vec tf-idf", "instacities1m", "trained on WebVision", "p5_complex", 0.27, "BLOG-B"),
        ("B", "GloVe tf-idf", "mirflickr-25k", "trained on MIRFlickr", "map_t2i", 0.883, "BLOG-B"),
        ("C", "A3VSE", "flickr30k", "presumably all annotations", "i2t_r10", 94.5, "PERF"),
        ("D", "CRCGS", "mirflickr-25k", "64 bits", "map_t2i", 0.8779, "CODE-D"),
        ("E", "IMRAM", "flickr8k", "BUTD, Full", "rsum", 420.0, "PERF"),
        ("E", "VSE++", "flickr30k", "ResNet152 frozen", "i2t_r1", 43.7, "PDF-A"),
        ("E", "VSE++", "flickr30k", "ResNet152 frozen", "i2t_r5", 71.9, "MEM"),
        ("E", "CLIP zero-shot", "coco-5k", "ViT-L/14@336", "t2i_r1", 37.1, "OC"),
        ("E", "PCME", "coco-1k", "1K test", "t2i_mapr", 48.0, "PCME"),
        ("E", "SSAH", "nus-wide", "CNN-F, 32 bits", "map_t2i", 0.662, "SSAH"),
        ("E", "UCCH", "coco", "unsupervised, VGG19 features, 128 bits", "map_i2t", 0.665, "UCCH"),
    ],
)
def test_spot_checks(published, paper, method, corpus, setting, metric, value, source):
    found = published[
        (published.paper == paper)
        & (published.method == method)
        & (published.corpus == corpus)
        & (published.setting == setting)
        & (published.metric == metric)
    ]
    assert found[["value", "source"]].to_numpy().tolist() == [[value, source]]


def test_numbers_per_table():
    rows = {table["title"]: len(table["rows"]) for table in yaml.safe_load(PATH.read_text())["tables"]}
    assert rows["Paper A, Table 1"] == 12
    assert rows["Paper A, Table 2"] == 8
    assert sum(n for title, n in rows.items() if title.startswith("Paper B, P@5")) == 4 * 8
    assert rows["Paper B, MIRFlickr, images by text"] == 18
    assert rows["Flickr8k"] == 25


def test_recall_sums(published):
    table = wide(published).dropna(subset=[*RECALLS, "rsum"])
    assert len(table) == 20
    gap = table[RECALLS].sum(axis=1) - table["rsum"]
    assert gap[gap.abs() > 0.2].to_dict() == {}


def test_recall_grows_with_k(published):
    table = wide(published)
    for direction in ("i2t", "t2i"):
        for small, large in (("r1", "r5"), ("r5", "r10"), ("r1", "r10")):
            wrong = table[table[f"{direction}_{small}"] > table[f"{direction}_{large}"]]
            assert wrong.index.tolist() == []


def test_precision_is_the_mean_of_simple_and_complex_queries(published):
    """Twelve queries of each kind; each of the three numbers is rounded to 0.01."""
    table = wide(published).dropna(subset=["p5_all"])
    gap = (table["p5_simple"] + table["p5_complex"]) / 2 - table["p5_all"]
    assert len(table) == 32
    assert gap[gap.abs() > 0.0101].to_dict() == {}


def test_average_of_both_directions(published):
    table = wide(published[published.paper == "D"])
    assert len(table) == 6
    assert (((table["map_i2t"] + table["map_t2i"]) / 2 - table["map_avg"]).abs() < 1e-4).all()


def test_rows_that_stand_in_two_tables_agree(published):
    """Paper A took its baselines from VSE++; the rows listed under E are the same measurements."""
    pairs = {
        ("VSE VGG19", "coco-1k"): ("VSE0", "VGG19 frozen (RC+RV)"),
        ("VSEPP VGG19", "coco-1k"): ("VSE++", "VGG19 frozen (RC+RV)"),
        ("VSE ResNet152", "coco-1k"): ("VSE0", "ResNet152 frozen"),
        ("VSEPP ResNet152", "coco-1k"): ("VSE++", "ResNet152 frozen"),
        ("VSEPP ResNet152", "flickr30k"): ("VSE++", "ResNet152 frozen"),
    }
    table = wide(published)
    columns = ["i2t_r1", "i2t_r10", "t2i_r1", "t2i_r10"]
    for (method, corpus), (name, setting) in pairs.items():
        in_a = table.xs(("A", method, corpus), level=("paper", "method", "corpus"))[columns]
        in_e = table.loc[("E", name, corpus, setting), columns]
        assert in_a.iloc[0].tolist() == in_e.tolist()


def test_every_source_and_paper_is_explained_and_used(published):
    assert set(published["source"]) == set(sources())
    assert set(published["paper"]) == set(papers())


def test_bounds_are_marked(published):
    bounds = published[published.bound == ">"]
    assert sorted(bounds["value"]) == [70.0, 80.0]
    assert set(bounds["paper"]) == {"C"}
    assert set(published["bound"]) == {"", ">"}


def test_choosing_a_corpus_and_a_metric(published):
    chosen = load_published(corpus="flickr8k", metric="rsum")
    assert len(chosen) == 20
    assert set(chosen["corpus"]) == {"flickr8k"}
    with pytest.raises(ValueError, match="flickr8k"):
        load_published(corpus="flickr8")
    with pytest.raises(ValueError, match="i2t_r1"):
        load_published(metric="r1")


def test_every_metric_has_a_name_for_people(published):
    assert {m for m in set(published["metric"]) if metric_name(m) == m} == set()
    assert metric_name("seconds") == "seconds"
    assert heading("i2t_r10") == "I→T R@10"
    assert heading("map_t2i") == "T→I mAP"
    assert metric_name("val_rsum") == "validation recall sum"


VALID = {
    "papers": {"A": "a"},
    "sources": {"S": "s"},
    "tables": [
        {
            "title": "T", "paper": "A", "corpus": "c", "setting": "s", "source": "S",
            "fields": ["method", "i2t_r1"], "rows": [["first", 1.0], ["second", None]],
        }
    ],
}  # fmt: skip


def write(path, **changes):
    content = yaml.safe_load(yaml.safe_dump(VALID))
    content["tables"][0].update(changes)
    path.write_text(yaml.safe_dump(content))
    return path


def test_a_small_file(tmp_path):
    frame = load_published(path=write(tmp_path / "p.yaml"))
    assert frame[["method", "value"]].to_numpy().tolist() == [["first", 1.0]]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rows": [["first", 1.0], ["second"]]}, "row 2 .*second.*2 entries expected"),
        ({"rows": [["first", 101.0]]}, "row 1 .*first.*i2t_r1 must be null or a number in 0..100"),
        ({"rows": [["first", "1.0"]]}, "row 1 .*first.*i2t_r1"),
        ({"rows": [["first", True]]}, "row 1 .*first.*i2t_r1"),
        ({"rows": [["first", 1.0], ["first", 2.0]]}, "the same number twice.*first"),
        ({"rows": [[None, 1.0]]}, "row 1.*method.* must be a text"),
        ({"rows": []}, "'T'.*no rows"),
        ({"fields": ["method", "i2t_r3"]}, "'T'.*unknown.*i2t_r3"),
        ({"fields": ["method", "corpus"]}, "'T'.*never or twice.*corpus"),
        ({"source": "nowhere"}, "row 1.*unknown source 'nowhere'"),
        ({"paper": "Z"}, "row 1.*paper 'Z'"),
        ({"comment": "x"}, "unknown.*comment"),
        ({"bound": "<"}, "bound must be '>'"),
    ],
)
def test_a_bad_row_is_named(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        load_published(path=write(tmp_path / "p.yaml", **changes))
