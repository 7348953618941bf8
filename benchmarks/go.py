"""How soon is a model as good, from a text to bits per byte, with lmcore go's steps or a script?

Usage: python benchmarks/go.py TEXT [--steps N] [--rounds N] [--threads N]
Ours prepares the text and trains as `lmcore go` does. The peers are one script in the way of
nanoGPT, in float32 and eager as nanoGPT runs on a processor: with a BPE that the tokenizers library
trains, and with characters, as in its Shakespeare example. All have the same width, layers, context
and tokens in a batch, train on the same nine tenths of the text, and score the rest whole, equally
often. Each run is a fresh process, all kinds take turns, and the clocks run from its start. The
goal is the score that every run reached. Writes go.json and go.md beside this file, or to --to.
"""

import argparse
import math
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from turns import in_turn, machine, report, start, write_down

OURS, WITH_BPE, WITH_CHARACTERS = "lmcore go", "script, BPE", "script, characters"
SHAPE = {
    "d_model": 128, "n_layers": 2, "n_heads": 4, "context_length": 128, "dropout": 0.0,
}  # fmt: skip
BATCH_SIZE, VOCAB_SIZE, N_EVALUATIONS = 8, 1_000, 8
SCRIPT = {"lr": 1e-3, "min_lr_ratio": 0.1, "warmup_steps": 100, "weight_decay": 0.1}
"""nanoGPT's numbers for characters on a processor; its beta2 there is 0.99."""
HEADER = (
    "| contender | tokens/s | ids after, s | bits/byte at the end | CPU seconds | "
    "steps to goal | seconds to goal | CPU seconds to goal | ratio of these |"
)
Point = dict[str, float]
Encode = Callable[[str], list[int]]


def point(step: int, bpb: float, started: float) -> Point:
    """Return a score with the time since this process began to work."""
    wall_s = round(time.perf_counter() - started, 2)
    return {"step": step, "bpb": bpb, "wall_s": wall_s, "cpu_s": round(time.process_time(), 2)}


def child(contender: str, folder: str, steps: int, threads: int) -> None:
    """Report the scores of a contender's run, and when each was known."""
    started = time.perf_counter()
    os.environ["NUMBA_NUM_THREADS"] = os.environ["RAYON_NUM_THREADS"] = str(threads)
    import torch

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    run = ours if contender == OURS else script
    points, ids_s, tokens_per_s = run(contender, Path(folder), steps, started)
    report(points=points, ids_s=ids_s, tokens_per_s=tokens_per_s)


def ours(
    contender: str, folder: Path, steps: int, started: float
) -> tuple[list[Point], float, float]:
    """Return the scores of the steps of lmcore go, seconds to the ids, and tokens per second."""
    from lmcore import PrepareConfig, prepare, text_run, train_text
    from lmcore.training.runtime import keep_large_blocks

    keep_large_blocks()
    with tempfile.TemporaryDirectory() as out:
        prepared = prepare(
            folder / "train.txt",
            Path(out) / "data",
            PrepareConfig(vocab_size=VOCAB_SIZE),
            validation=[folder / "validation.txt"],
        )
        ids_s, known = time.perf_counter() - started, []

        def show(line: str) -> None:
            if line.startswith("step "):
                known.append(point(0, 0.0, started))

        plan: dict[str, Any] = {"steps": steps, "batch_size": BATCH_SIZE, "lr": 2e-3}
        plan |= {"warmup_steps": min(50, steps // 10), "eval_every": steps // N_EVALUATIONS}
        run = train_text(
            prepared, Path(out) / "run", text_run(prepared, "tiny", SHAPE | plan), show=show
        )
        scored = [record for record in run.records if "validation" in record and record["step"]]
        last = run.records[-1]
    for when, record in zip(known, scored, strict=True):
        when |= {"step": record["step"], "bpb": record["validation"].bpb}
    return known, ids_s, last["tokens"] / last["elapsed_s"]


def script(
    contender: str, folder: Path, steps: int, started: float
) -> tuple[list[Point], float, float]:
    """Return the scores of a script in the way of nanoGPT, seconds to the ids, and its speed."""
    import numpy as np
    import torch
    from plain_gpt import PlainGPT

    from lmcore.model.config import ModelConfig

    paths = [folder / f"{name}.txt" for name in ("train", "validation")]
    texts = [path.read_text(encoding="utf-8") for path in paths]
    make = bpe if contender == WITH_BPE else characters
    encode, vocab_size = make(paths[0], texts)
    train, validation = (torch.from_numpy(np.array(encode(text), dtype=np.int64)) for text in texts)
    ids_s, n_bytes = time.perf_counter() - started, len(texts[1].encode())
    model = PlainGPT(ModelConfig(vocab_size=vocab_size, **SHAPE))
    optimizer = torch.optim.AdamW(
        [
            {"params": [p for p in model.parameters() if p.ndim > 1]},
            {"params": [p for p in model.parameters() if p.ndim < 2], "weight_decay": 0.0},
        ],
        lr=SCRIPT["lr"],
        betas=(0.9, 0.99),
        weight_decay=SCRIPT["weight_decay"],
    )
    context, points, trained_s = SHAPE["context_length"], [], 0.0
    for step in range(1, steps + 1):
        step_started = time.perf_counter()
        for group in optimizer.param_groups:
            group["lr"] = SCRIPT["lr"] * multiplier(step, steps)
        places = torch.randint(len(train) - context - 1, (BATCH_SIZE,)).tolist()
        x = torch.stack([train[place : place + context] for place in places])
        y = torch.stack([train[place + 1 : place + context + 1] for place in places])
        optimizer.zero_grad(set_to_none=True)
        model(x, y).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        trained_s += time.perf_counter() - step_started
        if step % (steps // N_EVALUATIONS) == 0 or step == steps:
            bpb = whole_nats(model, validation, context) / n_bytes / math.log(2)
            points.append(point(step, bpb, started))
    return points, ids_s, steps * BATCH_SIZE * context / trained_s


def bpe(path: Path, texts: list[str]) -> tuple[Encode, int]:
    """Return what encodes with a byte-level BPE of the tokenizers library, and its size."""
    from tokenizers import ByteLevelBPETokenizer

    tokenizer = ByteLevelBPETokenizer()
    tokenizer.train([str(path)], vocab_size=VOCAB_SIZE, show_progress=False)
    return lambda text: tokenizer.encode(text).ids, tokenizer.get_vocab_size()


def characters(path: Path, texts: list[str]) -> tuple[Encode, int]:
    """Return what encodes each character as an id, and how many there are."""
    ids = {character: id for id, character in enumerate(sorted(set("".join(texts))))}
    return lambda text: [ids[character] for character in text], len(ids)


def multiplier(step: int, steps: int) -> float:
    """Return the share of the learning rate at a step: warmup, then a cosine."""
    warmup, least = min(SCRIPT["warmup_steps"], steps // 10), SCRIPT["min_lr_ratio"]
    if step < warmup:
        return step / warmup
    progress = (step - warmup) / max(1, steps - warmup)
    return least + (1 - least) * 0.5 * (1 + math.cos(math.pi * progress))


def whole_nats(model: Any, ids: Any, context: int) -> float:
    """Return the nats of all ids but the first, in windows that do not overlap."""
    import torch

    with torch.no_grad():
        x, y = ids[:-1], ids[1:]
        whole = len(x) // context * context
        rows = (x[:whole].view(-1, context), y[:whole].view(-1, context))
        parts = [*zip(rows[0].split(32), rows[1].split(32), strict=True)]
        if whole < len(x):
            parts.append((x[whole:][None], y[whole:][None]))
        return sum(model(a, b).item() * b.numel() for a, b in parts)


def reached(run: dict, goal: float) -> Point:
    """Return the first point of a run at which the score is at most the goal."""
    return next(one for one in run["points"] if one["bpb"] <= goal)


def main() -> None:
    """Write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("text", type=Path)
    parser.add_argument("--steps", type=int, default=240)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--to", type=Path, default=Path(__file__).with_suffix(""))
    given = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = str(given.threads)  # before a child imports torch
    text = given.text.read_text(encoding="utf-8")
    cut = text.rfind("\n", 0, len(text) * 9 // 10) + 1
    with tempfile.TemporaryDirectory() as folder:
        for name, part in (("train", text[:cut]), ("validation", text[cut:])):
            (Path(folder) / f"{name}.txt").write_text(part, encoding="utf-8", newline="")
        contenders = (OURS, WITH_BPE, WITH_CHARACTERS)
        found = in_turn(__file__, contenders, given.rounds, folder, given.steps, given.threads)
    goal = max(min(one["bpb"] for one in run["points"]) for runs in found.values() for run in runs)
    rows = [{"contender": name, **run} for name, runs in found.items() for run in runs]
    told = (
        f"{machine('torch', 'tokenizers')} Text: {len(text.encode()) / 1e6:.1f} MB; {given.steps} "
        f"steps of {BATCH_SIZE} x {SHAPE['context_length']} tokens, {given.threads} thread(s). "
        f"Medians of {given.rounds} rounds; the goal is {goal:.3f} bits/byte."
    )
    write_down(given.to, told, rows, HEADER, lines(found, goal))


def lines(found: dict[str, list[dict]], goal: float) -> list[str]:
    """Return a row for each contender: medians over the rounds."""
    cpu = {
        name: statistics.median(reached(run, goal)["cpu_s"] for run in runs)
        for name, runs in found.items()
    }
    out = []
    for name, runs in found.items():
        at = [reached(run, goal) for run in runs]
        end = {key: statistics.median(run["points"][-1][key] for run in runs) for key in at[0]}
        speed, ids_s = (
            statistics.median(run[key] for run in runs) for key in ("tokens_per_s", "ids_s")
        )
        step, wall_s = (statistics.median(one[key] for one in at) for key in ("step", "wall_s"))
        out.append(
            f"| {name} | {speed:,.0f} | {ids_s:.1f} | {end['bpb']:.3f} | {end['cpu_s']:.0f} | "
            f"{step:.0f} | {wall_s:.0f} | {cpu[name]:.1f} | {cpu[name] / cpu[OURS]:.2f} |"
        )
    return out


if __name__ == "__main__":
    start(main, child)
