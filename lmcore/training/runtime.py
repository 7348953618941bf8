"""Where and how to compute: device, precision, compilation.

None of it changes a result beyond rounding. `TrainConfig` says what is learned; `Runtime` is
resolved from what the machine has and recorded with the run.
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

from lmcore.boundary import convert_fields

WORTH_COMPILING = 1e14
"""Floating-point operations in a run above which the minute that compilation takes pays off."""


@dataclass(frozen=True, kw_only=True)
class Runtime:
    """Where and how to compute; `resolve` replaces `auto` by what the machine has."""

    device: str = "auto"
    """cpu, cuda, one GPU such as cuda:1, or mps on a Mac. auto: a CUDA GPU if there is one."""
    precision: Literal["auto", "float32", "tf32", "bfloat16"] = "auto"
    """Precision of matrix products; weights stay in float32. auto: bfloat16 where the hardware
    multiplies it.
    """
    compile: Literal["auto", "yes", "no"] = "auto"
    """Compile the model with torch.compile. auto: for runs long enough to repay it."""
    flex: Literal["auto", "no"] = "auto"
    """FlexAttention for attention within documents. auto: where `document_attention` allows it;
    no: a mask.
    """
    grad_accum_steps: int = 1
    """Parts that a batch is split into, computed one after the other to save memory. Dropout
    draws other numbers for other parts.
    """
    checkpoint_every_s: float = 300.0
    """Seconds between checkpoints."""

    def __post_init__(self):
        if isinstance(self.device, torch.device):
            object.__setattr__(self, "device", str(self.device))
        convert_fields(self)
        if self.grad_accum_steps < 1:
            raise ValueError(f"grad_accum_steps must be at least 1, not {self.grad_accum_steps}")

    def resolve(self, flops: int | float | None, precision: str = "auto") -> "Runtime":
        """Return the runtime with every auto decided, for a run of so many operations.

        Where flops is None, as for a model whose operations nobody counted, auto compiles nothing.
        precision is what the run prefers where this runtime leaves it open.

        Raises:
            ValueError: the device is unknown or missing, or lacks the precision.
        """
        device = self.device
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        kind = device.split(":")[0]
        if kind not in ("cpu", "cuda", "mps"):
            raise ValueError(f"unknown device {device!r}: take cpu, cuda, mps or auto")
        is_there = {"cuda": torch.cuda.is_available, "mps": torch.backends.mps.is_available}
        if kind in is_there and not is_there[kind]():
            raise ValueError(
                f"device {kind} was asked for, but torch sees no GPU of that kind here: take cpu, "
                "or auto for what there is"
            )
        precision = precision if self.precision == "auto" else self.precision
        if precision == "bfloat16" and device.startswith("mps"):
            raise ValueError("mps trains in float32: take float32 or auto")
        if precision == "auto":
            precision = "bfloat16" if has_bfloat16(device) else "float32"
        if precision == "tf32" and not (device.startswith("cuda") and has_bfloat16(device)):
            raise ValueError(f"{device} here has no TF32: take float32, bfloat16 or auto")
        compile_ = self.compile
        if compile_ == "auto":
            can = kind == "cuda" or (kind == "cpu" and shutil.which("g++") is not None)
            compile_ = "yes" if can and (flops or 0) > WORTH_COMPILING else "no"
        return dataclasses.replace(self, device=device, precision=precision, compile=compile_)

    def document_attention(self, dropout: float) -> Literal["flex", "masked"]:
        """Return how attention within documents is computed for a model with this dropout.

        FlexAttention has no dropout and no backward pass on a CPU, and is fast only when compiled.
        """
        can = self.device.startswith("cuda") and self.compile == "yes" and dropout == 0
        return "flex" if can and self.flex == "auto" else "masked"

    def memory_bytes(self) -> int | None:
        """Return the memory of the device in bytes, or None where the system does not say."""
        if self.device.startswith("cuda"):
            return torch.cuda.get_device_properties(self.device).total_memory
        if not hasattr(os, "sysconf") or "SC_PHYS_PAGES" not in os.sysconf_names:
            return None
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")

    @contextlib.contextmanager
    def autocast(self) -> Iterator[None]:
        """Compute matrix products in this precision inside the block."""
        before = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision("high" if self.precision == "tf32" else "highest")
        kind, is_bfloat16 = self.device.split(":")[0], self.precision == "bfloat16"
        plain = kind == "mps" and not is_bfloat16  # old macOS lacks even an autocast that is off
        try:
            with (
                contextlib.nullcontext()
                if plain
                else torch.autocast(kind, torch.bfloat16, enabled=is_bfloat16)
            ):
                yield
        finally:
            torch.set_float32_matmul_precision(before)

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of matrix products."""
        return torch.bfloat16 if self.precision == "bfloat16" else torch.float32

    def product_speed(self) -> float:
        """Return the floating-point operations a second of large matrix products, measured now.

        It is the upper limit for a training step, and the basis of cost estimates. It leaves the
        random state of the run alone.
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

    GPUs that do also have TF32.
    """
    if device.startswith("cuda"):
        return torch.cuda.get_device_capability(device)[0] >= 8
    if device.startswith("mps"):
        return False
    with contextlib.suppress(OSError):
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
        return "avx512_bf16" in flags or "amx_bf16" in flags
    return False


def keep_large_blocks() -> None:
    """Make glibc keep freed memory for reuse, in the whole process.

    Training frees and allocates the same large blocks in every step. Without this each step returns
    gigabytes to the system and gets them back. The command line calls it; `train` does not.
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            libc = ctypes.CDLL("libc.so.6")
            trim_threshold, mmap_threshold, largest = -1, -3, 2**31 - 1
            libc.mallopt(trim_threshold, largest)
            libc.mallopt(mmap_threshold, largest)
