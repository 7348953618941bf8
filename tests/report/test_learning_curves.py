"""Learning curves: from what train() yields and from run folders, in comparable units."""

import matplotlib.pyplot as plt
import pytest
from made import PLAIN

import lmcore
from lmcore.evaluation.score_types import Score
from lmcore.training.records import Record


def score(nats: float, n_bytes: int = 300) -> Score:
    return Score(
        nats=nats, n_tokens=100, of_tokens=100, characters=200, bytes=n_bytes, n_correct=0,
        n_end_predicted=0, n_end=0,
    )  # fmt: skip


def record(step: int, loss: float | None = None, **scores: Score) -> Record:
    return Record(step=step, tokens=step, elapsed_s=0.0, loss=loss, scores=scores)


def lines(fig: plt.Figure) -> dict[str, list[tuple[float, float]]]:
    """Return the points of each line by its label."""
    [ax] = fig.axes
    plt.close(fig)
    return {str(line.get_label()): line.get_xydata().tolist() for line in ax.lines}


def test_training_and_validation_loss_of_a_run_are_two_lines():
    records = [record(0, validation=score(400.0)), record(1, 3.0), record(2, 1.0)]
    assert lines(lmcore.learning_curves(records)) == {
        "training": [[1, 3], [2, 1]],
        "validation": [[0, 4]],
    }


def test_records_may_come_straight_from_train_and_need_no_text():
    ids = list(range(8)) * 40
    batches = lmcore.Batches(ids, batch_size=4, context_length=8, order="shuffled")
    model = lmcore.GPT(lmcore.ModelConfig(vocab_size=8, d_model=8, n_layers=1, n_heads=1))
    task = lmcore.RowsTask(batches=batches, validation=batches.batch(0))
    plan = lmcore.TrainConfig(batch_size=4, steps=3)
    drawn = lines(lmcore.learning_curves(lmcore.train(model, plan, task, PLAIN)))
    assert [[x for x, _ in points] for points in drawn.values()] == [[1, 2, 3], [0, 3]]


def test_the_training_loss_is_a_mean_over_a_twentieth_of_the_steps():
    records = [record(step, float(step % 2)) for step in range(1, 41)]
    points = dict(lines(lmcore.learning_curves(records))["training"])
    assert (points[1.0], set(list(points.values())[1:])) == (1.0, {0.5})


def test_several_runs_are_lines_with_their_names():
    runs = {name: [record(0, validation=score(400.0)), record(1, 3.0)] for name in ("rope", "none")}
    drawn = lines(lmcore.learning_curves(runs))
    assert {name for name in drawn if not name.startswith("_")} == {"rope", "none"}


def test_runs_with_other_tokens_are_drawn_in_bits_per_byte_and_without_training_loss():
    runs = {
        "long tokens": [record(0, validation=score(400.0, 400)), record(1, 3.0)],
        "short tokens": [record(0, validation=score(400.0, 200)), record(1, 3.0)],
    }
    fig = lmcore.learning_curves(runs)
    assert fig.axes[0].get_ylabel() == "validation loss, bits/byte"
    assert {name: points[0][1] for name, points in lines(fig).items()} == pytest.approx(
        {name: records[0].scores["validation"].bpb for name, records in runs.items()}
    )


@pytest.mark.parametrize("records", [[], [record(1)]])
def test_a_run_without_a_loss_is_named(records):
    with pytest.raises(ValueError, match=r"^first has no loss to draw yet: leave it out"):
        lmcore.learning_curves({"first": records})
