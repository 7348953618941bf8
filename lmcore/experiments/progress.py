"""A bar for a run's records: steps, losses, tokens per second, MFU and the time that is left."""

import sys
from collections.abc import Iterator

from tqdm.auto import tqdm

from lmcore.training.records import Record
from lmcore.training.runtime import Runtime

WORTH_COMPARING = 2e12
"""Runs with more operations than this measure the device's speed first, to show their MFU."""


def speed_to_compare(runtime: Runtime, flops: int | float) -> float | None:
    """Return the operations a second of large matrix products here, None for a run of seconds."""
    return runtime.product_speed() if flops > WORTH_COMPARING else None


def show_progress(
    records: Iterator[Record],
    *,
    name: str,
    steps: int,
    flops_per_token: int | float,
    speed: float | None,
    shown: bool,
) -> Iterator[Record]:
    """Pass records on, with a bar of steps, loss, score, tokens per second and MFU.

    MFU is the share of speed, which large matrix products reach on this device (see `accounting`).
    Without a speed neither it nor the tokens are shown. A log file gets no bar.
    """
    numbers: dict[str, str] = {}
    first: Record | None = None
    hidden = not shown or not (sys.stderr.isatty() or "ipykernel" in sys.modules)
    with tqdm(total=steps, desc=name, unit="step", disable=hidden, leave=False) as bar:
        for record in records:
            if first is None:
                first, bar.n = record, record.step
                bar.initial = record.step  # steps of an earlier session are not of this speed
            if record.loss is not None:
                numbers["loss"] = f"{record.loss:.3f}"
            if "validation" in record.scores:
                numbers["validation"] = str(record.scores["validation"])
            numbers |= {name: f"{value:.3g}" for name, value in record.metrics.items()}
            if record.elapsed_s > first.elapsed_s and speed is not None:
                per_s = (record.tokens - first.tokens) / (record.elapsed_s - first.elapsed_s)
                numbers["tokens/s"] = f"{per_s:,.0f}"
                numbers["MFU"] = f"{per_s * flops_per_token / speed:.0%}"
            bar.set_postfix(numbers, refresh=False)
            bar.update(record.step - bar.n)
            yield record
