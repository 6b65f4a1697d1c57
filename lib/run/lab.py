"""Opens the notebooks in JupyterLab."""

import argparse
import os
import subprocess
import sys

from lib.base.environment import wait
from lib.base.files import ROOT


def main(arguments: list[str] | None = None) -> int:
    """Open JupyterLab in the folder of the notebooks; returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m lib lab", description=__doc__)
    parser.add_argument("options", nargs="*", help="options of JupyterLab, after --; for example: -- --no-browser")
    command = [sys.executable, "-m", "jupyterlab", *parser.parse_args(arguments).options]
    # the kernels are of this interpreter, and find this checkout's lib wherever the folder was moved
    paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return wait(subprocess.Popen(command, cwd=ROOT / "notebooks", env={**os.environ, "PYTHONPATH": paths}))


if __name__ == "__main__":
    sys.exit(main())
