"""What the test of key waves without a leak says of every run that was tested."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from lmcore.experiments.run_folder import Run
from lmcore.report import plotting
from lmcore.report.tables import Table
from lmcore.studies.grokking.circuits import SIGNS, grid, trained_pairs
from lmcore.studies.grokking.experiments import SOLVED
from lmcore.studies.grokking.keywaves import both_ways, leaking, lookup_tables, unseen_halves
from lmcore.tasks.modular import ModularConfig

ENOUGH = 0.97
"""The share of unseen pairs that key waves alone must have right for a model to pass."""
LOOKUP_SHARES = (0.2, 0.3, 0.4, 0.5)
ARROW = {"arrowstyle": "-", "color": plotting.OURS, "lw": 0.8}
WEIGHTS = {"both only keys": "weights: only keys", "both without keys": "weights: no keys"}
SHOWN = {"only keys": "only keys", "projected": "projected", "without keys": "no keys"} | WEIGHTS
"""Results that tables show, by the name of their column."""


def tested(runs: Sequence[Run]) -> dict[tuple[str, int], dict[str, Any]]:
    """Return the result of each run that was tested without the leak, by its name and seed.

    "with the leak" is what the key waves have right when they are averaged over all pairs.
    """
    out = {}
    for run in runs:
        probe = run.outcome.get("probe", {})
        if "without leak" in probe:
            result = probe["without leak"] | {"with the leak": probe["claim"]["only keys"]}
            out[run.config.name, run.config.seed] = result
    return out


def knows(result: Mapping[str, Any]) -> bool:
    """Return whether the whole model has SOLVED of the unseen pairs right at the end."""
    return result["whole"] >= SOLVED


def passes(result: Mapping[str, Any]) -> bool:
    """Return whether the key waves alone have ENOUGH of the unseen pairs right."""
    return result["only keys"] >= ENOUGH


def key_table(runs: Sequence[Run]) -> Table:
    """Return the test without a leak, a row for each recipe: runs that know the unseen pairs."""
    results, rows = tested(runs), []
    for name in dict.fromkeys(name for name, _ in results):
        group = [result for (other, _), result in results.items() if other == name]
        good = [result for result in group if knows(result)]
        n_keys = [len(keys) for result in good for keys in result["keys"]]
        rows.append(
            (
                name.removeprefix("keys-"),
                f"{len(good)} of {len(group)}",
                f"{sum(map(passes, good))} of {len(good)}" if good else "–",
                f"{min(n_keys)}–{max(n_keys)}" if good else "–",
                *(spread([result[key] for result in good]) for key in SHOWN),
            )
        )
    header = ("recipe", "know unseen pairs", "of these pass", "keys", *SHOWN.values())
    return Table(header, tuple(rows))


def exception_table(runs: Sequence[Run]) -> Table:
    """Return each run that fails the test, or does not know the unseen pairs, and its shares."""
    rows = []
    for (name, seed), result in tested(runs).items():
        if knows(result) and passes(result):
            continue
        shown = ("whole", "with the leak", *SHOWN)
        n_keys = "/".join(str(len(keys)) for keys in result["keys"])
        cells = [f"{result[key]:.1%}" for key in shown]
        rows.append((name.removeprefix("keys-"), str(seed), n_keys, *cells))
    header = ("recipe", "seed", "keys", "whole", "only keys, with the leak", *SHOWN.values())
    return Table(header, tuple(rows))


def spread(values: Sequence[float]) -> str:
    """Return the least and the greatest of some shares, a dash where there are none."""
    if not values:
        return "–"
    ends = dict.fromkeys(f"{100 * value:.0f}" for value in (min(values), max(values)))
    return f"{'–'.join(ends)} %"


def plot_tests(runs: Sequence[Run], config: ModularConfig) -> Figure:
    """Return what key waves have right with the leak and without it, a mark for each run.

    Crosses are lookup tables of the same table, which know training pairs and nothing else.
    """
    fig, ax = plt.subplots(figsize=(plotting.WIDTH, 4.2))
    results = list(tested(runs).values())
    some = [r for r in results if 0.5 < r["whole"] < SOLVED]
    memorisers = [r for r in results if r["whole"] <= 0.5]
    groups = {
        "knows the unseen pairs": ([r for r in results if knows(r)], plotting.OURS, "o"),
        "knows most of them": (some, plotting.OTHER, "s"),
        "knows only training pairs": (memorisers, plotting.PUBLISHED, "o"),
    }
    for name, (group, color, marker) in groups.items():
        x, y = ([r[key] for r in group] for key in ("with the leak", "only keys"))
        ax.plot(x, y, marker, color=color, ms=5, alpha=0.55, label=f"{name}: {len(group)} runs")
    n = sum(passes(r) for r in groups["knows the unseen pairs"][0])
    ax.annotate(f"{n} runs", (0.985, 0.985), (0.86, 0.83), color=plotting.OURS, arrowprops=ARROW)
    x, y = zip(*lookup_scores(config), strict=True)
    ax.plot(x, y, "x", color=plotting.REFERENCE, ms=7, mew=2, label="a lookup table")
    ax.axhline(ENOUGH, color=plotting.REFERENCE, lw=0.8, ls=":")
    ax.plot([0, 1], [0, 1], color=plotting.REFERENCE, lw=0.8)
    ax.set_xlabel("right by key waves, averaged over all pairs (the leak)")
    ax.set_ylabel("right by key waves, without the leak")
    ax.set_xlim(-0.02, 1.03)
    ax.set_ylim(-0.02, 1.03)
    ax.legend(loc="upper left", bbox_to_anchor=(0, 0.95))
    return fig


def lookup_scores(config: ModularConfig) -> list[tuple[float, float]]:
    """Return what key waves of lookup tables have right with the leak and without it."""
    sign, out = SIGNS[config.operations[0]], []
    for data, logits in lookup_tables(config, LOOKUP_SHARES):
        answers = grid(data.config)[1]
        _, with_leak = leaking(logits, answers, trained_pairs(data), sign)
        without = both_ways(logits, answers, unseen_halves(data), sign)["only keys"]
        out.append((with_leak, without))
    return out
