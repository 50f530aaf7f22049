"""The precision of encoding: bf16 where a device is faster with it."""

from typing import Literal

import torch


def has_fast_bf16(device: torch.device) -> bool:
    """Return whether bf16 is fast on a device: a recent GPU, or a CPU with AVX512-BF16 or AMX."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    probes = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return device.type == "cpu" and any(getattr(torch.cpu, probe, bool)() for probe in probes)


def resolve_precision(precision: str, device: torch.device) -> Literal["float32", "bf16"]:
    """Resolve "auto": bf16 where the device is faster with it, float32 otherwise."""
    if precision == "auto":
        precision = "bf16" if has_fast_bf16(device) else "float32"
    return "bf16" if precision == "bf16" else "float32"


def emulated_bf16(device: torch.device) -> str:
    """Return a warning if a device emulates bf16, else ""."""
    if has_fast_bf16(device):
        return ""
    return (
        f"bf16 is asked for, but this {device.type.upper()} has no instructions for it and emulates them, up to "
        "hundreds of times slower than float32; leave the precision at auto."
    )
