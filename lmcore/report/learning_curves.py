"""Learning curves: training and validation loss of one or several runs against steps."""

from collections.abc import Iterable, Mapping
from typing import Any, cast

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lmcore.boundary import checked
from lmcore.evaluation.score_types import Answers, Score
from lmcore.experiments.run_folder import Run
from lmcore.experiments.runner import record_to_dict
from lmcore.report import plotting
from lmcore.training.records import Record

Records = Iterable[Record] | Run
"""What `train` yields, or a run read from its folder."""
Points = list[tuple[int, float]]
Scores = list[tuple[int, Score | Answers]]

SMOOTHING = 0.05
"""Share of a run's length over which its training loss is averaged."""
ONLY_RUN = "run"


@checked
def learning_curves(runs: Mapping[str, Records] | Records) -> Figure:
    """Return a figure of training and validation loss against steps.

    Of several runs by name, each has its colour: the validation loss is a line with points, the
    training loss a thin one, the mean over the last steps. Runs whose tokenizers differ, as their
    scores show, are drawn in bits per byte and without training loss, which has no such unit.

    Example:
        records = list(lmcore.train(model, config, task)); lmcore.learning_curves(records)

    Raises:
        ValueError: a run has no loss to draw yet; the message names it.
    """
    is_one = not isinstance(runs, Mapping)
    by_name = cast("Mapping[str, Records]", {ONLY_RUN: runs} if is_one else runs)
    read = {name: list(_as_dicts(records)) for name, records in by_name.items()}
    scores = {name: _scores(records) for name, records in read.items()}
    in_bytes = len({_tokens_per_byte(of_run) for of_run in scores.values()} - {None}) > 1
    fig, ax = plt.subplots()
    for number, (name, records) in enumerate(read.items()):
        training = [] if in_bytes else _training(records)
        validation = [(step, _loss(score, in_bytes)) for step, score in scores[name]]
        if not (training or validation):
            plt.close(fig)
            raise ValueError(f"{name} has no loss to draw yet: leave it out of the figure")
        color = plotting.PALETTE[number % len(plotting.PALETTE)]
        _draw(ax, training, validation, color, "" if is_one else name)
    plotting.step_axis(ax, max(records[-1]["step"] for records in read.values()) or 1)
    ax.set_ylabel("validation loss, bits/byte" if in_bytes else "loss, nats/token")
    plotting.name_ends(ax)
    plt.close(fig)  # a notebook would show it twice
    return fig


def _as_dicts(records: Records) -> Iterable[dict[str, Any]]:
    if isinstance(records, Run):
        return records.records
    records = list(records)
    for record in records:
        if not isinstance(record, Record):
            raise ValueError(f"runs must hold records, as train() yields them, not {record!r:.40}")
    # record_to_dict has dicts in place of the scores.
    return [record_to_dict(record) | record.scores for record in records]


def _scores(records: list[dict[str, Any]]) -> Scores:
    return [(r["step"], r["validation"]) for r in records if "validation" in r]


def _tokens_per_byte(scores: Scores) -> float | None:
    """Return what tells tokenizers apart by the text that a run is scored on."""
    of_text = [score for _, score in scores if isinstance(score, Score)]
    return of_text[0].n_tokens / of_text[0].bytes if of_text else None


def _loss(score: Score | Answers, in_bytes: bool) -> float:
    return score.bpb if in_bytes and isinstance(score, Score) else score.loss


def _training(records: list[dict[str, Any]]) -> Points:
    """Return the mean training loss over the last steps, at each step."""
    points = [(r["step"], r["loss"]) for r in records if r.get("loss") is not None]
    span = max(1, round(SMOOTHING * len(points)))
    return [
        (step, sum(loss for _, loss in points[max(0, end - span) : end]) / min(span, end))
        for end, (step, _) in enumerate(points, 1)
    ]


def _draw(ax: Axes, training: Points, validation: Points, color: str, name: str) -> None:
    """Draw the curves of a run; the validation curve has the run's name if there is one."""
    if training:
        label = "_" if name and validation else name or "training"
        ax.plot(*zip(*training, strict=True), color=color, lw=0.9, alpha=0.6, label=label)
    if validation:
        label = name or "validation"
        ax.plot(*zip(*validation, strict=True), color=color, marker="o", ms=3, label=label)
