"""Diagrams drawn from configs and from the model's own functions: a model's shapes, and RoPE."""

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lmcore.model.config import ModelConfig
from lmcore.model.rope import rope_table, rotate
from lmcore.report import plotting

PALE = "#cfe2f0"


def layers_of(config: ModelConfig, batch_size: int) -> list[tuple[str, str]]:
    """Return what a batch passes through, from below: a layer's name, and the shape after it."""
    wide = f"{batch_size} × {config.context_length} × {config.d_model}"
    d_head = config.d_model // config.n_heads
    return [
        ("token ids", f"{batch_size} × {config.context_length}"),
        (f"token embedding, {config.vocab_size:,} × {config.d_model}", wide),
        (f"+ positions: {config.positions}", wide),
        (f"norm, then attention: {config.n_heads} heads of {d_head} features", wide),
        (f"norm, then MLP: {config.d_model} → {config.d_ff:,} → {config.d_model}", wide),
        ("norm", wide),
        (
            f"head: {'the token embedding again' if config.tie_embeddings else 'a matrix'}",
            f"{batch_size} × {config.context_length} × {config.vocab_size:,}",
        ),
    ]


def plot_model(config: ModelConfig, batch_size: int) -> Figure:
    """Return the model as a stack of layers, with the shape of a batch after each of them."""
    layers = layers_of(config, batch_size)
    fig, ax = plt.subplots(figsize=(plotting.WIDTH, 4.6))
    for place, (name, shape) in enumerate(layers):
        is_block = 3 <= place <= 4
        color = PALE if is_block or place in (1, 6) else "#eceff2"
        ax.barh(place, 1, height=0.62, color=color)
        ax.annotate(name, (0.5, place), ha="center", va="center", fontsize=9)
        ax.annotate(shape, (1.03, place), va="center", fontsize=9, color=plotting.REFERENCE)
        if place:
            arrow = {"arrowstyle": "->", "color": plotting.REFERENCE}
            ax.annotate("", (0.5, place - 0.3), (0.5, place - 0.7), arrowprops=arrow)
    ax.plot([-0.03] * 2, [2.6, 4.4], color=plotting.OURS, lw=2)
    ax.annotate(
        f"block,\n{config.n_layers} times;\neach part is\nadded to\nits input", (-0.05, 3.5),
        ha="right", va="center", fontsize=9, color=plotting.OURS,
    )  # fmt: skip
    ax.annotate("shape after it", (1.03, len(layers) - 0.4), fontsize=9, color=plotting.REFERENCE)
    ax.set_xlim(-0.32, 1.45)
    ax.set_ylim(-0.6, len(layers) - 0.2)
    ax.axis("off")
    return fig


def plot_rope(base: float, d_head: int, positions: tuple[int, ...] = (0, 1, 2, 3, 4, 5)) -> Figure:
    """Return how RoPE turns three pairs of features, and a score against distance.

    Arrows are a pair (1, 0) turned by each position. The score is of one query and one key drawn
    once, at distances up to 64, with the query at three positions: the lines lie on each other.
    """
    fig, axes = plt.subplots(1, 4, figsize=(plotting.WIDTH, 2.5), width_ratios=(1, 1, 1, 2.2))
    pairs = (0, d_head // 16, d_head // 8)
    cos, sin = rope_table(torch.arange(max(positions) + 1), d_head, base=base)
    shades = np.linspace(0.25, 1, len(positions))
    for ax, pair in zip(axes, pairs, strict=False):
        for position, alpha in zip(positions, shades, strict=True):
            x, y = cos[position, pair].item(), sin[position, pair].item()
            ax.plot([0, x], [0, y], color=plotting.OURS, alpha=alpha, lw=1.6)
            ax.plot(x, y, "o", color=plotting.OURS, alpha=alpha, ms=4)
            ax.annotate(f"{position}", (1.22 * x, 1.22 * y), ha="center", va="center", fontsize=7)
        ax.set_title(f"pair {pair}", fontsize=9, pad=3)
        ax.set_xlim(-1.4, 1.4)
        ax.set_ylim(-1.4, 1.4)
        ax.set_aspect("equal")
        ax.axis("off")
    draw_scores(axes[-1], base, d_head)
    return fig


def draw_scores(ax: Axes, base: float, d_head: int, most: int = 64) -> None:
    """Draw the score of a query and a key against their distance, at three query positions."""
    generator = torch.Generator().manual_seed(0)
    query, key = torch.randn(2, 1, d_head, generator=generator)
    key = 0.5 * key + 0.5 * query  # alike, so that the score is not all noise
    looks = ((1000, "-", 2.6, 0.35), (400, "--", 1.4, 0.9), (most, ":", 1.4, 1.0))
    for place, style, width, alpha in looks:
        back = torch.arange(most + 1)
        keys = rotate(key.expand(most + 1, -1), *rope_table(place - back, d_head, base=base))
        (turned,) = rotate(query, *rope_table(torch.tensor([place]), d_head, base=base))
        score = (keys @ turned) / d_head**0.5
        ax.plot(back, score, style, lw=width, alpha=alpha, color=plotting.OURS, label=f"{place}")
    ax.legend(title="query at", fontsize=8, title_fontsize=8)
    ax.set_xlabel("distance, tokens")
    ax.set_ylabel("score")
