"""How to compute: device, precision, compilation. It changes no result beyond rounding.

What a run learns stands in `TrainConfig`; what it is computed with is settled here from what the
machine really has, and recorded with the run.
"""

import contextlib
import ctypes
import dataclasses
import os
import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from lmcore.config import check_choices

WORTH_COMPILING = 1e14
"""Floating-point operations in a run above which compilation, about a minute, is soon repaid."""


@dataclass(frozen=True, kw_only=True)
class Runtime:
    """How to compute. `auto` is settled by `resolve` from what the machine really has.

    Without flex, attention within documents is that of a mask; see `document_attention`. With
    accumulate, a batch is read in as many parts, one after the other, to take less memory; dropout
    then draws other numbers.
    """

    device: str = "auto"
    precision: Literal["auto", "float32", "tf32", "bfloat16"] = "auto"
    compile: Literal["auto", "yes", "no"] = "auto"
    flex: Literal["auto", "no"] = "auto"
    grad_accum_steps: int = 1
    checkpoint_every_s: float = 300.0

    def __post_init__(self):
        check_choices(self)
        if self.grad_accum_steps < 1:
            raise ValueError(f"grad_accum_steps must be at least 1, not {self.grad_accum_steps}")

    def resolve(self, flops: int | float, precision: str = "auto") -> "Runtime":
        """Return the runtime with nothing left to settle, for a run of so many operations.

        precision is what the run wants where nothing else is asked for.

        Raises:
            ValueError: the device is unknown or not there, or has no such precision.
        """
        device = self.device
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        if device.split(":")[0] not in ("cpu", "cuda"):
            raise ValueError(f"unknown device {device!r}: take cpu, cuda or auto")
        if device.startswith("cuda") and not torch.cuda.is_available():
            raise ValueError("device cuda was asked for, but torch sees no GPU here")
        precision = precision if self.precision == "auto" else self.precision
        if precision == "auto":
            precision = "bfloat16" if has_bfloat16(device) else "float32"
        if precision == "tf32" and not (device.startswith("cuda") and has_bfloat16(device)):
            raise ValueError(f"{device} here has no TF32: take float32, bfloat16 or auto")
        compile_ = self.compile
        if compile_ == "auto":
            can = device != "cpu" or shutil.which("g++") is not None
            compile_ = "yes" if can and flops > WORTH_COMPILING else "no"
        return dataclasses.replace(self, device=device, precision=precision, compile=compile_)

    def document_attention(self, dropout: float) -> Literal["flex", "masked"]:
        """Return how a model with so much dropout is trained with attention within documents.

        FlexAttention has no dropout, no backward pass on a CPU, and is fast only when compiled.
        """
        can = self.device.startswith("cuda") and self.compile == "yes" and dropout == 0
        return "flex" if can and self.flex == "auto" else "masked"

    def memory_bytes(self) -> int | None:
        """Return how much memory the device has, or None where the system does not tell."""
        if self.device.startswith("cuda"):
            return torch.cuda.get_device_properties(self.device).total_memory
        if not hasattr(os, "sysconf") or "SC_PHYS_PAGES" not in os.sysconf_names:
            return None
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")

    @contextlib.contextmanager
    def autocast(self) -> Iterator[None]:
        """Take products in this precision while the block runs."""
        before = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision("high" if self.precision == "tf32" else "highest")
        kind = self.device.split(":")[0]
        try:
            with torch.autocast(kind, torch.bfloat16, enabled=self.precision == "bfloat16"):
                yield
        finally:
            torch.set_float32_matmul_precision(before)

    @property
    def dtype(self) -> torch.dtype:
        """The type that products are taken in."""
        return torch.bfloat16 if self.precision == "bfloat16" else torch.float32

    def product_speed(self) -> float:
        """Return the floating-point operations a second of large matrix products, measured now.

        It is the ceiling that a training step's speed is compared with, and what the cost of a run
        is estimated from. A run's own random numbers are left alone.
        """
        n, products = (8192, 20) if self.device.startswith("cuda") else (2048, 3)
        generator = torch.Generator(self.device).manual_seed(0)
        with self.autocast():
            a = torch.randn(n, n, device=self.device, dtype=self.dtype, generator=generator)
            trace = (a @ a).trace().item()
            started = time.perf_counter()
            for _ in range(products):
                trace += (a @ a).trace().item()  # reading the number back waits for the device
        return products * 2 * n**3 / (time.perf_counter() - started)


def has_bfloat16(device: str) -> bool:
    """Return whether device multiplies bfloat16 in hardware; emulation is slower than float32.

    GPUs that do have TF32 too.
    """
    if device.startswith("cuda"):
        return torch.cuda.get_device_capability(device)[0] >= 8
    with contextlib.suppress(OSError):
        flags = Path("/proc/cpuinfo").read_text()
        return "avx512_bf16" in flags or "amx_bf16" in flags
    return False


def keep_large_blocks() -> None:
    """Tell glibc to keep freed memory for reuse; training frees and takes the same blocks always.

    Without it each step pays for giving gigabytes back to the system and getting them again.
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            libc = ctypes.CDLL("libc.so.6")
            trim_threshold, mmap_threshold, largest = -1, -3, 2**31 - 1
            libc.mallopt(trim_threshold, largest)
            libc.mallopt(mmap_threshold, largest)
