"""How soon is division modulo 97 solved, ours beside scripts as people write them?

Usage: python benchmarks/grokking.py [--rounds N] [--threads N]
Writes the machine and a row for each contender to standard output, as Markdown. All learn from the
same half of the table and are scored every 20 steps; solved is the first of five scores in a row at
99 % or above. Each process has a seed of its own, the same for all contenders of a round.
"""

import argparse
import math
import time
from collections.abc import Iterator
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from turns import in_turn, machine, median, report, start

from lmcore.experiments.experiment import task_of
from lmcore.model.gpt import GPT
from lmcore.studies.grokking.experiments import FAST, SOLVED
from lmcore.tasks.modular import Table
from lmcore.training.early_stopping import ACCURATE_EVALUATIONS
from lmcore.training.loop import train

FIRST_SEED = 201
EVERY = 20
CONTENDERS = ("lmcore", "plain script, our recipe", "plain script, Power et al.'s recipe")
LONGEST = {CONTENDERS[2]: 3_000}
"""Steps after which a recipe is given up, where they are not the study's own."""

Scored = Iterator[tuple[int, float]]


class PlainBlock(nn.Module):
    """Attention and MLP as they are usually written, every position computed."""

    def __init__(self, d_model: int, n_heads: int, norm: bool):
        super().__init__()
        self.n_heads = n_heads
        self.norms = nn.ModuleList(
            nn.LayerNorm(d_model) if norm else nn.Identity() for _ in range(2)
        )
        self.qkv = nn.Linear(d_model, 3 * d_model, bias=False)
        self.out = nn.Linear(d_model, d_model, bias=False)
        self.mlp = nn.Sequential(
            nn.Linear(d_model, 4 * d_model, bias=False),
            nn.ReLU(),
            nn.Linear(4 * d_model, d_model, bias=False),
        )

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(self.norms[0](x)).chunk(3, dim=-1)
        q, k, v = (each.unflatten(-1, (self.n_heads, -1)).transpose(1, 2) for each in (q, k, v))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(y.transpose(1, 2).flatten(2))
        return x + self.mlp(self.norms[1](x))


class PlainModel(nn.Module):
    """A small transformer over a, b and the operation."""

    def __init__(self, n_tokens: int, n_layers: int, norm: bool, head_scale: float | None):
        super().__init__()
        self.tokens, self.places = nn.Embedding(n_tokens, 128), nn.Embedding(3, 128)
        self.blocks = nn.Sequential(*(PlainBlock(128, 4, norm) for _ in range(n_layers)))
        self.norm = nn.LayerNorm(128) if norm else nn.Identity()
        self.head = nn.Linear(128, n_tokens, bias=False)
        self.head_scale = head_scale
        for p in self.parameters():
            if p.ndim == 2:
                nn.init.normal_(p, std=0.08)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.norm(self.blocks(self.tokens(ids) + self.places.weight))[:, -1]
        if self.head_scale is None:
            return self.head(x)
        weight = F.normalize(self.head.weight, dim=-1)
        return self.head_scale * F.normalize(x, dim=-1) @ weight.T


def ours(table: Table, seed: int) -> Scored:
    """Yield step and validation accuracy of the study's fast recipe."""
    experiment = replace(FAST, seed=seed, task=table.config)
    records = train(GPT(experiment.model), experiment.train, task_of(experiment, table))
    for record in records:
        yield record.step, record.scores["validation"].accuracy


def plain(table: Table, seed: int, model: nn.Module, optimizer: torch.optim.Optimizer) -> Scored:
    """Yield step and validation accuracy of a script with our schedule, or a constant rate."""
    (x, y), unseen = table.rows(table.train), table.rows(table.validation)
    y, steps = y[:, 0], FAST.train.steps
    peak = [group["lr"] for group in optimizer.param_groups]
    is_ours = getattr(model, "head_scale", None) is not None
    for step in range(1, (steps if is_ours else LONGEST[CONTENDERS[2]]) + 1):
        share = FAST.train.schedule.multiplier(step - 1, steps) if is_ours else min(step / 10, 1)
        for group, lr in zip(optimizer.param_groups, peak, strict=True):
            group["lr"] = lr * share
        rows = torch.randint(len(x), (512,))
        loss = F.cross_entropy(model(x[rows]), y[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % EVERY == 0:
            with torch.no_grad():
                model(x[:1024])  # the training score that ours takes too
                right = model(unseen[0]).argmax(-1) == unseen[1][:, 0]
            yield step, right.float().mean().item()


def contender(name: str, table: Table, seed: int) -> Scored:
    """Return the scores of the contender called name."""
    if name == CONTENDERS[0]:
        return ours(table, seed)
    n_tokens, plan = table.config.vocab_size, FAST.train
    if name == CONTENDERS[1]:
        model = PlainModel(n_tokens, 1, norm=False, head_scale=FAST.model.head_scale)
        lr, decay = plan.optimizer.lr, plan.optimizer.weight_decay
    else:
        model, lr, decay = PlainModel(n_tokens, 2, norm=True, head_scale=None), 1e-3, 1.0
    adamw = torch.optim.AdamW(model.parameters(), lr=lr, betas=(0.9, 0.98), weight_decay=decay)
    return plain(table, seed, model, adamw)


def child(name: str, seed: int, threads: int) -> None:
    """Report a contender's steps a second, and when it had solved the table."""
    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    table = replace(FAST.task, seed=seed).prepare()
    held, solved, solved_s, started = 0, math.inf, math.inf, time.perf_counter()
    for step, accuracy in contender(name, table, seed):
        took = time.perf_counter() - started
        if accuracy < SOLVED:
            held = 0
            continue
        if held == 0:
            solved, solved_s = step, took
        held += 1
        if held == ACCURATE_EVALUATIONS:
            break
    is_solved = held == ACCURATE_EVALUATIONS
    report(
        steps_per_s=step / took,
        solved=solved if is_solved else math.inf,
        solved_s=solved_s if is_solved else math.inf,
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="rounds, each with another seed")
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    found: dict[str, list[dict]] = {name: [] for name in CONTENDERS}
    for seed in range(FIRST_SEED, FIRST_SEED + given.rounds):
        names = CONTENDERS[: 3 if seed == FIRST_SEED else 2]
        for name, runs in in_turn(__file__, names, 1, seed, given.threads).items():
            found[name] += runs
    print(machine("torch"))
    print(f"Medians over seeds, threads for each: {given.threads}. Scoring is part of the time.\n")
    print("| contender | seeds solved | steps a second | ours, times this | solved at step | s |")
    print("| --- | --- | --- | --- | --- | --- |")
    own = median(found[CONTENDERS[0]], "steps_per_s")
    for name, runs in found.items():
        speed, at, s = (median(runs, key) for key in ("steps_per_s", "solved", "solved_s"))
        known = sum(math.isfinite(run["solved"]) for run in runs)
        told = f"{at:,.0f} | {s:.1f}" if math.isfinite(at) else f"not by {LONGEST[name]:,} |"
        print(f"| {name} | {known} of {len(runs)} | {speed:.1f} | {own / speed:.2f} | {told} |")


if __name__ == "__main__":
    start(main, child)
