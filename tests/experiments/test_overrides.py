"""Changes to experiments as text: what they mean, and what contradicts."""

import pytest

from lmcore.experiments.overrides import grid
from lmcore.studies.named.experiments import BASELINE


def test_a_grid_has_every_combination_once():
    runs = grid([BASELINE], ["train.lr=1e-3,3e-3", "model.n_layers=2,4"])
    pairs = {(run.train.optimizer.lr, run.model.n_layers) for run in runs}
    assert pairs == {(1e-3, 2), (1e-3, 4), (3e-3, 2), (3e-3, 4)}
    assert len({run.path for run in runs}) == len(runs) == 4


def test_names_of_a_grid_say_the_values():
    assert [run.name for run in grid([BASELINE], ["lr=1e-3,3e-3"])] == [
        "baseline-lr0.001",
        "baseline-lr0.003",
    ]


def test_a_vocabulary_changes_in_the_task_and_in_the_model():
    for name in ("vocab_size", "task.vocab_size", "model.vocab_size"):
        [run] = grid([BASELINE], [f"{name}=8000"])
        assert run.task.vocab_size == run.model.vocab_size == 8_000


def test_one_length_of_training_replaces_the_other():
    [run] = grid([BASELINE], ["n_tokens=5000000"])
    assert (run.train.n_tokens, run.train.steps) == (5_000_000, None)


def test_texts_lists_and_nothing_are_values_too():
    [run] = grid([BASELINE], ["positions=rope", "eval_at=[1, 2]", "max_grad_norm=none"])
    assert run.model.positions == "rope"
    assert run.train.evaluation.eval_at == (1, 2)
    assert run.train.optimizer.max_grad_norm is None


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (
            ["lr=1e-3", "train.lr=2e-3"],
            r"lr=0\.001 and train\.lr=0\.002 contradict .*: both set train\.optimizer\.lr",
        ),
        (["steps=10", "epochs=2"], r"steps=10 and epochs=2 .* the length of training"),
        (["vocab_size=300", "task.vocab_size=400"], r"vocab_size=300 and .*=400 .* vocabulary"),
        (["model.n_layer=2"], r"no field model.n_layer: did you mean model.n_layers"),
        (["n_layers=two"], r"n_layers must be a whole number, not 'two'"),
        (["n_layers"], r"'n_layers' changes nothing: write FIELD=VALUE"),
        (["seed=3"], r"seed names a run .* --seeds"),
        (["d_model=130"], r"baseline: d_model 130 does not split into 4 heads"),
    ],
)
def test_mistakes_are_errors_that_name_what_is_wrong(texts, message):
    with pytest.raises(ValueError, match=message):
        grid([BASELINE], texts)
