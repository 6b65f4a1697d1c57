"""Tables of measured numbers: what is printed, what is bold, what is refused."""

import re

import pandas as pd
import pytest

from lib.report.published import load_published
from lib.report.rows import row
from lib.report.tables import beside_published, leaderboard, rows_to_frame


def cells(styler):
    """The table as it is read: list of lines of (text, bold?)."""
    html = styler.to_html()
    style = html[: html.index("</style>")]
    bold = {
        name
        for rule in re.findall(r"([^{}]*)\{[^{}]*font-weight: bold", style)
        for name in re.findall(r"#(T_\w+row\w+)", rule)
    }
    lines = []
    for line in re.findall(r"<tr>(.*?)</tr>", html, re.S)[1:]:
        found = re.findall(r'<td(?: id="(\w+)")?[^>]*>(.*?)</td>', line, re.S)
        lines.append([(text, name in bold) for name, text in found])
    return lines


def headings(styler):
    return re.findall(r"<th [^>]*>(.*?)</th>", styler.to_html())


ROWS = [
    row("CCA", "openmoji", "test", "i2t_r10", [40.0]),
    row("CCA", "openmoji", "test", "i2t_medr", [15.0], interval=(12.0, 19.0)),
    row("CCA", "openmoji", "test", "map_i2t", [0.3124]),
    row("InfoNCE", "openmoji", "test", "i2t_r10", [50.0, 52.0, 54.0]),
    row("InfoNCE", "openmoji", "test", "i2t_medr", [9.0, 10.0, 11.0]),
]


def test_rows_to_frame():
    frame = rows_to_frame(ROWS)
    line = frame[(frame.method == "InfoNCE") & (frame.metric == "i2t_r10")].iloc[0]
    assert (line["mean"], line["std"], line["seeds"], line["values"]) == (52.0, 2.0, 3, [50.0, 52.0, 54.0])
    assert pd.isna(line["low"])
    interval = frame[(frame.method == "CCA") & (frame.metric == "i2t_medr")].iloc[0]
    assert (interval["low"], interval["high"]) == (12.0, 19.0)
    assert pd.isna(interval["std"])
    assert rows_to_frame([]).columns.tolist() == frame.columns.tolist()


def test_rows_to_frame_names_the_bad_row():
    with pytest.raises(ValueError, match=r"row 1.*mean"):
        rows_to_frame([ROWS[0], {**ROWS[1], "mean": 99.0}])


def test_leaderboard_prints_spread_and_marks_the_best():
    table = leaderboard(rows_to_frame(ROWS), sort="i2t_r10")
    assert headings(table) == ["method", "I→T R@10", "I→T med. rank", "I→T mAP"]
    assert cells(table) == [
        [("InfoNCE", False), ("52.0 ± 2.0", True), ("10.0 ± 1.0", True), ("–", False)],
        [("CCA", False), ("40.0", False), ("15.0 [12.0, 19.0]", False), ("0.312", True)],
    ]


def test_leaderboard_sorts_ranks_upwards_and_keeps_the_order_without_sort():
    frame = rows_to_frame(ROWS)
    assert [line[0][0] for line in cells(leaderboard(frame, sort="i2t_medr"))] == ["InfoNCE", "CCA"]
    assert [line[0][0] for line in cells(leaderboard(frame))] == ["CCA", "InfoNCE"]
    assert headings(leaderboard(frame, metrics=["i2t_r10"], sort="i2t_medr")) == ["method", "I→T R@10"]


def test_leaderboard_compares_only_within_a_corpus_and_marks_ties():
    rows = [
        row("a", "x", "test", "i2t_r1", [10.01]),
        row("b", "x", "test", "i2t_r1", [10.04]),
        row("c", "y", "test", "i2t_r1", [5.0]),
    ]
    table = leaderboard(rows_to_frame(rows))
    assert headings(table) == ["method", "corpus", "I→T R@1"]
    assert [line[2] for line in cells(table)] == [("10.0", True), ("10.0", True), ("5.0", True)]


def test_leaderboard_refuses_what_it_cannot_show():
    frame = rows_to_frame(ROWS)
    with pytest.raises(ValueError, match="i2t_r3"):
        leaderboard(frame, metrics=["i2t_r3"])
    with pytest.raises(ValueError, match=r"two rows for .*CCA"):
        leaderboard(pd.concat([frame, frame.head(1)]))


def test_caption_and_escaping():
    rows = [row("<b>x</b>", "openmoji", "test, 500 pictures", "i2t_r1", [1.0, 2.0])]
    html = leaderboard(rows_to_frame(rows), caption="Losses").to_html()
    assert "<caption>Losses: openmoji, test, 500 pictures, 2 seeds</caption>" in html
    assert "<b>" not in html


def test_the_same_table_is_the_same_html_and_two_tables_share_no_id():
    one, again = (leaderboard(rows_to_frame(ROWS)).to_html() for _ in range(2))
    other = leaderboard(rows_to_frame(ROWS[:3])).to_html()
    assert one == again
    assert not set(re.findall(r'id="(\w+)"', one)) & set(re.findall(r'id="(\w+)"', other))


def test_beside_published():
    published = load_published(corpus="coco-1k")
    published = published[published.method.isin(["Webly supervised (VSEPP ResNet152)", "VSEPP ResNet152"])]
    published = published.sort_values("method", ascending=False, kind="stable")
    ours = rows_to_frame([row("webly", "coco-1k", "ours", "i2t_r1", [60.0, 62.0, 64.0])])
    lines = [[text for text, _ in line] for line in cells(beside_published(ours, published, ["i2t_r1", "t2i_r1"]))]
    assert [line[4:] for line in lines] == [["62.0 ± 2.0", "–"], ["+0.5", "–"], ["61.5", "46.3"], ["58.3", "43.6"]]
    assert lines[0][3] == "measured here"
    assert lines[1][0] == "… minus Webly supervised (VSEPP ResNet152)"
    assert lines[2][3] == "paper A [PDF-A]"


def test_beside_published_shows_bounds_and_every_source():
    abstract = load_published(corpus="flickr30k")
    abstract = abstract[(abstract.paper == "C") & abstract.setting.str.startswith("20 %")]
    ours = rows_to_frame([row("ours", "flickr30k", "20 %", "t2i_r10", [81.0])])
    lines = [[text for text, _ in line] for line in cells(beside_published(ours, abstract))]
    assert [line[4] for line in lines] == ["81.0", "+1.0", "&gt; 80.0"]
    mixed = load_published(corpus="flickr30k")
    mixed = mixed[(mixed.method == "VSE++") & (mixed.setting == "ResNet152 frozen")]
    ours = rows_to_frame([row("ours", "flickr30k", "x", "i2t_r5", [70.0])])
    assert cells(beside_published(ours, mixed))[-1][3][0] == "paper E [PDF-A, MEM]"


def test_beside_published_needs_a_common_metric():
    with pytest.raises(ValueError, match="no metric is in both"):
        beside_published(rows_to_frame(ROWS), load_published(metric="p5_all"))
