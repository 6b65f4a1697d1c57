"""The memory of this process, and its peak since a moment (Linux)."""

import ctypes
from pathlib import Path


def reset_peak() -> float:
    """Give freed memory back to the system and forget the peak of this process; memory in use, MB."""
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    return status("VmRSS")


def status(name: str) -> float:
    """A line of the process's status, such as VmRSS or VmHWM, MB."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) / 1024
