"""All of it, and a table of what was tried and survived: `python -m tests.chaos`. Minutes; needs no network."""

import sys
from pathlib import Path

import pytest

if __name__ == "__main__":
    sys.exit(pytest.main(["-q", "-s", "-m", "", str(Path(__file__).parent), *sys.argv[1:]]))
