"""The command line of lib.run."""

import argparse
import signal
import sys
from pathlib import Path

import lib.run
from lib.run import ProfileError, run_notebooks


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m lib run", description=lib.run.__doc__.splitlines()[0])
    parser.add_argument("--profile", required=True, help="name of a file in notebooks/profiles, e.g. openmoji or smoke")
    parser.add_argument("--only", nargs="+", metavar="NN", help="numbers or names of notebooks, e.g. 03 04")
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder of this run (default: runs/<profile>)")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="notebooks at the same time (default: 1)")
    parser.add_argument("--resume", action="store_true", help="skip what is done with the same code and parameters")
    parser.add_argument("--notebooks", type=Path, metavar="DIR", help="folder of the notebooks (default: notebooks)")
    parser.add_argument("--cell-timeout", type=float, default=1800, metavar="S", help="seconds (default: 1800)")
    options = vars(parser.parse_args(arguments))
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        results = run_notebooks(**options)
    except ProfileError as error:
        print(f"nothing was run: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\ninterrupted; the same command with --resume continues", file=sys.stderr)
        return 130
    return 0 if all(result.passed for result in results) else 1


if __name__ == "__main__":
    sys.exit(main())
