"""Pictures from a list of addresses: img2dataset fetches and resizes them, and every address that failed is told.

img2dataset needs pandas 2 and brings OpenCV, albumentations and wandb (which stays off), so it runs as a command in an
environment of its own, made on first use. It honours those who do not want their pictures used: answers with the
header `X-Robots-Tag: noai`, `noimageai`, `noindex` or `noimageindex` are not kept. It reads no robots.txt and knows no
licences: whether you may use the pictures you have to find out yourself.

A list may come from a stranger. What img2dataset may connect to and fetch, `lib.data.obtain.guard` says, which runs in
its processes.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib.base.files import atomic_path, cache_dir, write_text
from lib.data.obtain import guard
from lib.data.obtain.addresses import Listed, read_list

if TYPE_CHECKING:
    import pyarrow as pa

VERSION = "1.47.0"  # of img2dataset; runs with Python 3.11 to 3.13
# It imports imghdr, which left the standard library with Python 3.13.
REQUIREMENTS = (f"img2dataset=={VERSION}", 'standard-imghdr==3.13.0; python_version >= "3.13"')
AGENT = "img2dataset"  # said in the User-Agent, and a name that X-Robots-Tag may address
SHARD = 1000  # addresses; what an interruption costs at most
LIST, FAILED, LOG = "urls.parquet", "failed.jsonl", "img2dataset.log"
OUTCOMES = {
    "good": "in the shards",
    "missing": "the server has it no longer (404, 410)",
    "too slow": "the server was silent for longer than the time-out, or not done in a minute",
    "refused": "an address inside a network, or more than 20 MB",
    "opted out": "X-Robots-Tag says that it may not be used",
    "undecodable": "what came is no picture",
    "unreachable": "no such server, or it refused or broke off",
    "no address": "a row without an http address",
    "not tried": "the run was interrupted: run the command again",
}


class AssemblyError(RuntimeError):
    """img2dataset could not be installed, or failed; the message says what it said, or where."""


def assemble(
    urls: Path,
    out: Path,
    captions: Sequence[str] = (),
    tags: str | None = None,
    size: int = 256,
    timeout: float = 10,
    threads: int = 32,
    say: Callable[[str], Any] = print,
    allow_private: bool = False,
) -> Counter:
    """Fetch the pictures of a list into WebDataset shards in `out`; gives the number of addresses by OUTCOMES.

    `captions` and `tags` are columns of the list (see `read_list`). Pictures are scaled down until their shorter side
    has `size` pixels, never up. `timeout` is how many seconds a server may be silent. A second call goes on where the
    first was interrupted. A picture has at most 20 MB and comes within a minute; only with `allow_private` may it come
    from this machine or a network inside, wherever a redirect or a name leads. `failed.jsonl` names every address that
    failed and why, with its texts, and is itself a list.

    Raises ValueError where `out` was begun with another list or size, or where a proxy is set, AssemblyError where
    img2dataset cannot be run.
    """
    import pyarrow.parquet as pq

    proxies = {kind: at for kind, at in urllib.request.getproxies().items() if kind in ("http", "https", "all")}
    if proxies and not allow_private:
        raise ValueError(
            f"a proxy is set ({', '.join(sorted(proxies))}): what it connects to cannot be checked. Where the list is "
            "of people you trust, use --allow-private"
        )

    listed, unusable = read_list(urls, captions, tags)
    table = _table(listed, size)
    out.mkdir(parents=True, exist_ok=True)
    if (out / LIST).exists():
        if not pq.read_table(out / LIST).equals(table, check_metadata=True):
            raise ValueError(f"{out} was begun with another list or size: choose another folder, or delete it")
    elif next(out.iterdir(), None) is not None:
        raise ValueError(f"{out} is not empty and was not begun by this command: choose another folder")
    else:
        with atomic_path(out / LIST) as path:
            pq.write_table(table, path)
    if len(list(out.glob("*_stats.json"))) < -(-len(listed) // SHARD):  # one for each shard that is whole
        program = tool(say)
        say(f"fetching {len(listed):,} pictures; how it goes on is told in {out / LOG}")
        _run(program, out, size, timeout, threads, allow_private)
    failed = [_failure(row.url, Listed([], []), "no address", row.message) for row in unusable]
    failed += _failures(out, listed)
    write_text(out / FAILED, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in failed))
    counts = Counter(row["why"] for row in failed)
    counts["good"] = len(listed) + len(unusable) - len(failed)
    return counts


def format_outcomes(counts: Counter) -> str:
    """A table of how many addresses were good, and of the others by reason."""
    total = max(1, sum(counts.values()))
    shown = [name for name in OUTCOMES if counts[name] or name == "good"]
    return "\n".join(f"{name:<12}{counts[name]:>11,}{counts[name] / total:>8.1%}  {OUTCOMES[name]}" for name in shown)


def _table(listed: dict[str, Listed], size: int) -> "pa.Table":
    """What img2dataset gets; the first caption is the one that other readers of the shards find."""
    import pyarrow as pa

    texts_type = pa.list_(pa.field("element", pa.string()))  # as Parquet calls it, so that it reads back equal
    columns = {
        "url": pa.array(listed, pa.string()),
        "caption": pa.array([texts.captions[0] if texts.captions else "" for texts in listed.values()], pa.string()),
        "captions": pa.array([texts.captions for texts in listed.values()], texts_type),
        "tags": pa.array([texts.tags for texts in listed.values()], texts_type),
    }
    return pa.table(columns).replace_schema_metadata({"size": str(size)})


# ------------------------------------------------------------------------------------------------------------ the tool
def tool(say: Callable[[str], Any] = print) -> Path:
    """The command img2dataset, in an environment that is made when it is first asked for."""
    from filelock import FileLock

    name = f"img2dataset-{VERSION}-python{sys.version_info.major}.{sys.version_info.minor}"
    folder = cache_dir("tools") / name
    programs = folder / ("Scripts" if os.name == "nt" else "bin")
    with FileLock(folder.with_name(f".{name}.lock")):
        if not (folder / ".ready").exists():  # written last: half an environment is made anew
            say(f"installing img2dataset {VERSION} into {folder} (once; about a minute and 800 MB)")
            shutil.rmtree(folder, ignore_errors=True)
            _call([sys.executable, "-m", "venv", str(folder)])
            _call([str(programs / "python"), "-m", "pip", "install", "--quiet", *REQUIREMENTS])
            write_text(folder / ".ready", VERSION)
    return programs / "img2dataset"


def _call(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, errors="replace")
    if done.returncode:
        raise AssemblyError(f"{' '.join(command)} failed:\n{(done.stderr or done.stdout).strip()[-2000:]}")


def _run(program: Path, out: Path, size: int, timeout: float, threads: int, allow_private: bool) -> None:
    options = {
        "url_list": out / LIST,
        "input_format": "parquet",
        "output_folder": out,
        "output_format": "webdataset",
        "caption_col": "caption",
        "save_additional_columns": '["captions","tags"]',
        "image_size": size,
        "resize_mode": "keep_ratio",  # the shorter side gets `size`
        "resize_only_if_bigger": True,
        "extract_exif": False,  # where a photo was taken is nobody's business
        "number_sample_per_shard": SHARD,
        "thread_count": threads,
        "timeout": timeout,
        "user_agent_token": AGENT,
        "enable_wandb": False,
    }
    command = [str(program), *(f"--{name}={value}" for name, value in options.items())]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment |= {"WANDB_MODE": "disabled", "NO_ALBUMENTATIONS_UPDATE": "1"}
    with tempfile.TemporaryDirectory() as folder, (out / LOG).open("ab") as stream:
        write_text(Path(folder, "sitecustomize.py"), Path(guard.__file__).read_text(encoding="utf-8"))
        environment |= {"PYTHONPATH": folder, guard.ALLOW_PRIVATE: str(int(allow_private))}
        done = subprocess.run(command, stdout=stream, stderr=subprocess.STDOUT, env=environment)
    if done.returncode:
        raise AssemblyError(f"img2dataset failed with exit code {done.returncode}; it says why in {out / LOG}")


# --------------------------------------------------------------------------------------------------------- the outcome
def _failures(out: Path, listed: dict[str, Listed]) -> Iterator[dict]:
    """One dict per address that is not in the shards, in the order of the list."""
    import pyarrow.parquet as pq

    results = {}
    for stats in sorted(out.glob("*_stats.json")):  # written when the shard is whole
        shard = pq.read_table(out / f"{stats.name.removesuffix('_stats.json')}.parquet")
        for row in shard.select(["url", "status", "error_message"]).to_pylist():
            results[row["url"]] = row["status"], row["error_message"] or ""
    for url, texts in listed.items():
        status, message = results.get(url, ("not tried", ""))
        if status != "success":
            yield _failure(url, texts, _why(status, message), message)


def _failure(url: str, texts: Listed, why: str, message: str) -> dict:
    return {"url": url, **texts._asdict(), "why": why, "message": message}


def _why(status: str, message: str) -> str:
    """The outcome that img2dataset's status and message stand for."""
    if status == "not tried":
        return status
    if status == "failed_to_resize":
        return "undecodable"
    if re.match(r"HTTP Error (404|410)\b", message):
        return "missing"
    if guard.REFUSED in message:
        return "refused"
    if "X-Robots-Tag" in message:
        return "opted out"
    return "too slow" if "timed out" in message else "unreachable"
