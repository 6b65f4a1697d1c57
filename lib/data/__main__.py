"""python -m lib data {list,get,check,assemble}: which corpora there are; bring one here, look at it, or make one."""

import argparse
import sys
from pathlib import Path

from lib.base.environment import print_anywhere
from lib.base.files import cache_dir
from lib.data import load
from lib.data.obtain.assemble import FAILED, AssemblyError, assemble, format_outcomes
from lib.data.obtain.check import check, format_findings, write_findings
from lib.data.obtain.get import NotObtained, obtain
from lib.data.obtain.registry import Entry, read_entry, read_registry, wrong_counts


def main(arguments: list[str] | None = None) -> int:
    """Run a command; returns 0 when all is well, 1 when something is missing or wrong, 2 for a wrong command."""
    print_anywhere()
    options = _parser().parse_args(arguments)
    try:
        return options.command(options)
    except (AssemblyError, NotObtained, OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m lib data", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="{list,get,check,assemble}")
    for name, command, text in (
        ("list", _list, "the corpora of registry.yaml, and which are here"),
        ("get", _get, "download, verify and unpack a corpus, or say what to do by hand"),
        ("check", _check, "open every picture of a corpus; report what is missing, damaged or double"),
        ("assemble", _assemble, "fetch the pictures of a list of addresses into shards that corpus webdataset reads"),
    ):
        sub = commands.add_parser(name, help=text, description=text)
        sub.set_defaults(command=command)
        if name in ("get", "check"):
            sub.add_argument("name", metavar="NAME", help="name of the corpus, as in list")
            sub.add_argument(
                "--root", type=Path, help="its folder (default: NAME in data/raw, or in the variable DATA)"
            )
        if name == "check":
            sub.add_argument("--out", type=Path, help="report as CSV (default: data/cache/check/NAME.csv)")
            sub.add_argument("--threads", type=int, default=4, help="pictures that are read at once (default: 4)")
        if name == "assemble":
            sub.add_argument("urls", metavar="URLS", type=Path, help=".csv, .tsv, .parquet, .jsonl or .txt")
            sub.add_argument("--out", type=Path, required=True, help="folder of the shards; a second call goes on")
            sub.add_argument("--captions", nargs="+", default=(), metavar="COLUMN", help="default: caption, captions")
            sub.add_argument("--tags", metavar="COLUMN", help="default: tags, where there is such a column")
            sub.add_argument("--size", type=int, default=256, help="pixels of the shorter side (default: 256)")
            sub.add_argument("--timeout", type=float, default=10, help="seconds a server may be silent (default: 10)")
            text = "fetch also from this machine and networks inside, for a list that you made yourself"
            sub.add_argument("--allow-private", action="store_true", help=text)
            sub.add_argument("--threads", type=int, default=32, help="pictures fetched at once (default: 32)")
    return parser


def _list(options: argparse.Namespace) -> int:
    entries = read_registry().values()
    width = max(len(entry.name) for entry in entries)
    for entry in entries:
        print(f"{entry.name:<{width}}  {_how(entry):<10}  {_state(entry):<8}  {entry.title}")
    return 0


def _how(entry: Entry) -> str:
    """The way to have it, in a word or two."""
    if entry.taken_down:
        return "taken down"
    if entry.form:
        return "form"
    if any(file.urls for file in entry.files):
        return "download"
    return "by hand" if entry.layout else "-"


def _state(entry: Entry) -> str:
    if not entry.layout:
        return "-"
    missing = len(entry.missing(entry.root()))
    return "here" if missing == 0 else "in part" if missing < len(entry.layout) else "not here"


def _get(options: argparse.Namespace) -> int:
    entry = read_entry(options.name)
    obtain(entry, entry.root(options.root))
    return 0


def _check(options: argparse.Namespace) -> int:
    entry = read_entry(options.name)
    corpus = load(options.name, root=options.root)
    print(corpus)
    findings = check(corpus, threads=options.threads)
    out = options.out or cache_dir("check") / f"{options.name}.csv"
    write_findings(out, findings)
    if findings:
        print(format_findings(findings))
    for wrong in wrong_counts(entry, corpus):
        print(wrong)
    print(f"{len(corpus):,} pictures, {len(findings):,} findings; all of them in {out}")
    return 1 if findings or wrong_counts(entry, corpus) else 0


def _assemble(options: argparse.Namespace) -> int:
    counts = assemble(
        options.urls,
        options.out,
        options.captions,
        options.tags,
        options.size,
        options.timeout,
        options.threads,
        allow_private=options.allow_private,
    )
    print(format_outcomes(counts))
    if counts.total() > counts["good"]:
        print(f"each of the others, with the reason: {options.out / FAILED}")
    print(f'to read it: load("webdataset", root="{options.out}")')
    return 0 if counts["good"] and not counts["not tried"] else 1


if __name__ == "__main__":
    sys.exit(main())
