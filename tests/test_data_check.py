"""`check` and the command line: every kind of damage is found in one go, in the table and in the CSV file."""

import csv
import dataclasses
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from lib.data import Corpus, ImageFiles
from lib.data.__main__ import main
from lib.data.obtain.check import check, format_findings, write_findings

NAMES = ["good", "empty", "truncated", "page", "huge", "missing", "folder", "twin", "other", "noise", "bomb"]


def huge_png(path, side):
    """A PNG that claims side x side pixels: a hundred bytes that would need gigabytes."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)


@pytest.fixture
def folder(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    path = {name: tmp_path / f"{name}.jpg" for name in NAMES}
    Image.fromarray(pixels).save(path["good"])
    path["empty"].write_bytes(b"")
    path["truncated"].write_bytes(path["good"].read_bytes()[:-800])
    path["page"].write_bytes(b"<!DOCTYPE html>\n<title>Sign in</title>")
    huge_png(path["huge"], 10_000)  # above PIL's limit, below twice the limit: there it only warns
    huge_png(path["bomb"], 30_000)
    path["folder"].mkdir()
    path["twin"].write_bytes(path["good"].read_bytes())
    Image.fromarray(pixels[::-1]).save(path["other"])
    path["noise"].write_bytes(b"\xff\xd8\xff" + bytes(range(256)) * 4)
    return tmp_path


def corpus_of(images, ids):
    n = len(ids)
    return Corpus(
        name="toy", images=images, image_ids=ids, captions=[["a"]] * n, tags=[[]] * n, labels=None, label_names=[],
        split=np.array(["train"] * n), licence="CC0", source="here", attribution="us",
    )  # fmt: skip


@pytest.fixture
def corpus(folder):
    return corpus_of(ImageFiles([folder / f"{name}.jpg" for name in NAMES]), NAMES)


KIND_OF = {
    "empty": "empty", "truncated": "corrupt", "page": "web page", "huge": "huge", "missing": "missing",
    "folder": "unreadable", "twin": "duplicate", "noise": "corrupt", "bomb": "huge",
}  # fmt: skip


@pytest.mark.parametrize("threads", [1, 4])
def test_every_kind_of_damage_is_found_in_one_go(corpus, folder, threads):
    findings = check(corpus, threads=threads, progress=False)
    assert {finding.item: finding.kind for finding in findings} == KIND_OF
    assert [finding.item for finding in findings] == [name for name in NAMES if name in KIND_OF]
    assert all(finding.file == str(folder / f"{finding.item}.jpg") for finding in findings)
    details = {finding.item: finding.detail for finding in findings}
    assert details["twin"] == "equal to good"
    assert "truncated" in details["truncated"]
    assert "<!DOCTYPE html>" in details["page"]
    assert "100000000 pixels" in details["huge"]


def test_sound_corpus_has_no_findings(corpus):
    assert check(corpus.take([0, 8]), progress=False) == []
    assert format_findings([]) == ""


def test_pictures_of_one_colour_are_named_and_are_no_copies(tmp_path):
    made = {
        "white": Image.new("RGB", (40, 40), "white"),
        "clear": Image.new("RGBA", (30, 30), (0, 0, 0, 0)),  # noise under a transparency of nothing
        "grey": Image.new("L", (30, 30), 99),
        "dot": Image.new("RGB", (40, 40), "white"),
    }
    made["dot"].paste("black", (10, 10, 20, 20))
    made["clear"].paste((9, 8, 7, 0), (0, 0, 9, 9))
    for name, image in made.items():
        image.save(tmp_path / f"{name}.png")
    findings = check(corpus_of(ImageFiles([tmp_path / f"{name}.png" for name in made]), list(made)), progress=False)
    assert [finding[:2] for finding in findings] == [("one colour", name) for name in ("white", "clear", "grey")]


def test_strips_and_copies_are_named(folder):
    pixels = np.asarray(Image.open(folder / "good.jpg").resize((200, 160), Image.Resampling.BICUBIC))
    Image.fromarray(pixels).save(folder / "large.png")
    Image.fromarray(pixels[:, ::-1]).resize((100, 80)).save(folder / "mirrored.png")
    Image.new("RGB", (8, 400)).save(folder / "strip.png")
    names = ["large", "mirrored", "strip"]
    findings = check(corpus_of(ImageFiles([folder / f"{name}.png" for name in names]), names), progress=False)
    assert [finding[:2] for finding in findings] == [("strip", "strip"), ("copy", "mirrored")]
    assert findings[1].detail == "large again, mirrored"


def test_problems_of_the_adapter_are_findings(corpus):
    findings = check(dataclasses.replace(corpus.take([0]), problems=("a.txt, row 3: empty",)), progress=False)
    assert [tuple(finding) for finding in findings] == [("texts", "", "", "a.txt, row 3: empty")]


class Shard:
    """Pictures without files of their own."""

    def __init__(self, folder):
        self.files = ImageFiles([folder / "good.jpg", folder / "page.jpg", folder / "good.jpg", folder / "other.jpg"])

    def __len__(self):
        return 4

    def __getitem__(self, i):
        if i == 3:
            raise KeyError("index of the shard")
        return self.files[i]

    def fingerprint(self, i):
        return self.files.fingerprint(i)


def test_pictures_without_files_are_opened_through_the_adapter(folder):
    findings = check(corpus_of(Shard(folder), ["a", "b", "c", "d"]), progress=False)
    assert [finding[:3] for finding in findings] == [
        ("web page", "b", ""),
        ("duplicate", "c", ""),
        ("unreadable", "d", ""),
    ]
    assert "it is a web page" in findings[0].detail
    assert findings[2].detail == "KeyError: 'index of the shard'"


def test_more_pictures_than_fit_in_one_batch(folder, monkeypatch):
    monkeypatch.setattr("lib.data.obtain.check.BATCH", 3)
    paths = [folder / f"{'empty' if i % 4 == 0 else 'good'}.jpg" for i in range(10)]
    findings = check(corpus_of(ImageFiles(paths), [str(i) for i in range(10)]), progress=False)
    assert [f.item for f in findings if f.kind == "empty"] == ["0", "4", "8"]
    assert [f.item for f in findings if f.kind == "duplicate"] == ["2", "3", "5", "6", "7", "9"]


def test_table_and_file(corpus, tmp_path):
    findings = check(corpus, progress=False)
    write_findings(tmp_path / "new" / "report.csv", findings)
    with (tmp_path / "new" / "report.csv").open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert [tuple(row.values()) for row in rows] == [tuple(finding) for finding in findings]
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["report.csv"]
    table = format_findings(findings, shown=1)
    assert "        2  corrupt    the decoder gives up" in table
    assert "corrupt:\n  truncated | " in table
    assert "  and 1 more" in table


# ---------------------------------------------------------------------------------------------------- the command line
def test_check_command(folder, tmp_path, capsys):
    for name in NAMES:
        (folder / f"{name}.txt").write_text("a caption", encoding="utf-8")
    (folder / "good.txt").write_bytes(b"caf\xe9 \xff")
    out = tmp_path / "report.csv"
    assert main(["check", "folder", "--root", str(folder), "--out", str(out)]) == 1
    printed = capsys.readouterr().out
    assert f"all of them in {out}" in printed
    assert "good.txt" in printed
    with out.open(newline="", encoding="utf-8") as stream:
        kinds = {row["item"]: row["kind"] for row in csv.DictReader(stream) if row["item"]}
    assert kinds == {name: kind for name, kind in KIND_OF.items() if name not in ("missing", "folder")}


def test_check_command_of_a_sound_folder(folder, tmp_path, capsys):
    sound = tmp_path / "sound"
    sound.mkdir()
    (folder / "good.jpg").rename(sound / "1.jpg")
    (sound / "1.txt").write_text("a caption", encoding="utf-8")
    assert main(["check", "folder", "--root", str(sound), "--out", str(tmp_path / "out.csv")]) == 0
    assert "1 pictures, 0 findings" in capsys.readouterr().out
    assert (tmp_path / "out.csv").read_text(encoding="utf-8").strip() == "kind,item,file,detail"


def test_counts_of_the_registry_are_compared(folder, tmp_path, capsys, monkeypatch):
    from lib.data import __main__
    from lib.data.obtain.registry import read_entry

    sound = tmp_path / "sound"
    sound.mkdir()
    (folder / "good.jpg").rename(sound / "1.jpg")
    (sound / "1.txt").write_text("a caption", encoding="utf-8")
    counted = dataclasses.replace(read_entry("folder"), counts={"images": 2, "captions": 1})
    monkeypatch.setattr(__main__, "read_entry", lambda name: counted)
    assert main(["check", "folder", "--root", str(sound), "--out", str(tmp_path / "out.csv")]) == 1
    printed = capsys.readouterr().out
    assert "1 images, not the 2 of the registry" in printed
    assert "captions" not in printed.partition("registry")[2]


def test_list_command(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("DATA", str(tmp_path))
    assert main(["list"]) == 0
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert "form        not here" in lines["flickr8k"]
    assert "taken down" in lines["instacities1m"]
    assert "download" in lines["coco"]


def test_commands_say_what_is_wrong(capsys, tmp_path):
    assert main(["get", "flickr9k"]) == 1
    assert "no corpus 'flickr9k'" in capsys.readouterr().err
    assert main(["get", "instacities1m", "--root", str(tmp_path)]) == 1
    assert "instacities1m was taken down: by petition of Meta" in capsys.readouterr().err
    assert main(["check", "flickr8k", "--root", str(tmp_path / "nowhere")]) == 1
    assert "nowhere" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["fetch"])
