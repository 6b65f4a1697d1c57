"""The device that work is done on, and the precision it is done with there."""

import torch


def resolve_device(device: str | torch.device) -> torch.device:
    """Return the device called `device`; "auto" is the GPU if there is one, else the CPU."""
    return torch.device(("cuda" if torch.cuda.is_available() else "cpu") if str(device) == "auto" else device)


def autocast(device: torch.device, wanted: bool = True) -> torch.autocast:
    """Return a context of bfloat16 autocast where it is wanted and the GPU has it; elsewhere one that does nothing."""
    usable = wanted and device.type == "cuda" and torch.cuda.is_bf16_supported()
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=usable)
