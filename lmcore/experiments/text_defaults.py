"""What to train on a text if nobody says so: chosen from its size and this machine's speed."""

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from lmcore.config import flat_fields
from lmcore.data.sources import files_of
from lmcore.experiments.text_config import TextRun, preset_run, text_run
from lmcore.experiments.text_run import text_task, tokens_per_step
from lmcore.model.gpt import GPT
from lmcore.tasks.prepared_text import PreparedText
from lmcore.training.runtime import Runtime
from lmcore.training.step import Stepper

VOCAB_SIZES = {300_000: 512, 3_000_000: 1_000, 30_000_000: 4_000}
"""Vocabulary for texts of fewer bytes than this; 10,000 for all others."""

SIZES = ((64, 2, 2), (128, 4, 4), (256, 4, 4), (384, 6, 6), (512, 8, 8), (768, 12, 12))
"""d_model, n_layers and n_heads of the models to choose from."""

MIN_STEPS = 1_000
"""Steps that a model must be able to take in the time to be chosen over a smaller one."""
MAX_EPOCHS = 40
"""Passes over a small text after which more time brings nothing."""
MIN_BATCHES = 20
"""Batches that a small text is split into at least."""
N_EVALUATIONS = 5
TIMED_STEPS = 3
OVERHEAD = 0.15
"""Share of the time that evaluations and samples take."""
MEASURED_SHARE = 0.3
"""Most of the time that choosing a model may take off its training."""
TOKENS = {"cpu": (8, 128), "cuda": (64, 256)}
"""Rows and context of a batch on each kind of device, where the text is long enough."""


def default_vocab_size(texts: str | Path | Sequence[str | Path]) -> int:
    """Return a vocabulary size for texts, chosen by their size on disk."""
    paths = [Path(file) for file in files_of(texts)]
    n_bytes = sum(path.stat().st_size for path in paths if path.is_file())
    if len(paths) > sum(path.is_file() for path in paths):  # a data set of the hub
        return 10_000
    return next((size for most, size in VOCAB_SIZES.items() if n_bytes < most), 10_000)


def default_run(prepared: PreparedText, seconds: float, runtime: Runtime | None = None) -> TextRun:
    """Return the largest model that can take MIN_STEPS in so many seconds, for as many as it can.

    It is measured here and now, so that another call may return another length.

    Raises:
        ValueError: the text is too short for any batch.
    """
    resolved = (runtime or Runtime()).resolve(0)
    started = time.perf_counter()
    shapes = [_shape(prepared, resolved, *size) for size in SIZES]
    first = shapes[min(1, len(shapes) - 1)]
    speed = flops_per_step(first) / step_seconds(first, prepared, resolved)
    fitting = [s for s in shapes if MIN_STEPS * flops_per_step(s) / speed < seconds]
    chosen = fitting[-1] if fitting else shapes[0]
    step_s = step_seconds(chosen, prepared, resolved)
    measured_s = min(time.perf_counter() - started, MEASURED_SHARE * seconds)
    left_s = (1 - OVERHEAD) * seconds - measured_s
    return _with_steps(chosen, prepared, max(10, int(left_s / step_s)))


def flags_for(config: TextRun, preset: str = "tiny") -> list[str]:
    """Return the flags of lmcore train that make config out of a preset."""
    out = ["--preset", preset]
    before, after = flat_fields(preset_run(preset)), flat_fields(config)
    for name in after:
        if name in ("text", "tokenizer", "model.vocab_size") or before[name] == after[name]:
            continue
        out += [f"--{name.replace('_', '-')}", f"{after[name]}"]
    return out


def step_seconds(config: TextRun, prepared: PreparedText, runtime: Runtime) -> float:
    """Return the seconds of one step of config, the fastest of a few."""
    with torch.random.fork_rng():
        model = GPT(config.model).to(runtime.device).train()
        steps = max(TIMED_STEPS + 1, config.train.schedule.warmup_steps)
        stepper = Stepper(model, config.train, runtime, steps)
        batch = text_task(prepared, config).batch(0)
        stepper.start(batch, 0)
        seconds = []
        for step in range(1, TIMED_STEPS + 2):
            started = time.perf_counter()
            loss = stepper.gradient(batch)
            stepper.update(step, with_ratios=False)
            loss.item()  # waits for the device
            seconds.append(time.perf_counter() - started)
    return min(seconds[1:])


def flops_per_step(config: TextRun) -> int:
    """Return the floating-point operations of a step."""
    return tokens_per_step(config) * config.model.flops_per_token


def _shape(
    prepared: PreparedText, runtime: Runtime, d_model: int, n_layers: int, n_heads: int
) -> TextRun:
    """Return a run of the smallest length with a model of this size and a batch that fits."""
    rows, context_length = TOKENS["cuda" if runtime.device.startswith("cuda") else "cpu"]
    shortest = min(prepared.validation.info.n_tokens, prepared.train.info.n_tokens // 4)
    while context_length > max(1, shortest):
        context_length //= 2
    rows = max(1, min(rows, prepared.train.info.n_tokens // (MIN_BATCHES * context_length)))
    return text_run(
        prepared,
        "tiny",
        d_model=d_model,
        n_layers=n_layers,
        n_heads=n_heads,
        context_length=context_length,
        batch_size=rows,
        lr=round(2e-3 * min(1, 128 / d_model), 5),
        steps=1,
        warmup_steps=0,
    )


def _with_steps(config: TextRun, prepared: PreparedText, steps: int) -> TextRun:
    """Return config with so many steps, fewer if they are more than MAX_EPOCHS."""
    n_tokens = prepared.train.info.n_tokens
    steps = min(steps, max(10, MAX_EPOCHS * n_tokens // tokens_per_step(config)))
    epochs = steps * tokens_per_step(config) / n_tokens
    plan = config.train
    train = replace(
        plan,
        steps=steps,
        schedule=replace(plan.schedule, warmup_steps=min(50, steps // 10)),
        evaluation=replace(plan.evaluation, eval_every=-(-steps // N_EVALUATIONS)),
    )
    dropout = 0.0 if epochs < 4 else 0.1
    return replace(config, train=train, model=replace(config.model, dropout=dropout))
