"""One fact in two places: where both can differ, they are compared and refused with both values."""

import warnings
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from made import LLAMA, PLAIN, TINY, random_tokens
from torch import nn

from lmcore.config import with_fields
from lmcore.data.batches import Batches
from lmcore.experiments.experiment import Experiment
from lmcore.experiments.run_folder import load_run
from lmcore.experiments.runner import require_same_text
from lmcore.model.gpt import GPT
from lmcore.tasks.rows import RowsTask
from lmcore.tasks.text import TextTask
from lmcore.training.checkpoint import (
    Progress,
    checkpoints_in,
    latest_checkpoint,
    save_progress,
    step_of,
)
from lmcore.training.config import TrainConfig
from lmcore.training.loop import train
from lmcore.training.state_file import read_state, write_state

EVERY_STEP = replace(PLAIN, checkpoint_every_s=0.0)
PLAN = TrainConfig(steps=6)
ROOT = Path(__file__).parents[2]
TOKENS, VALIDATION = random_tokens(200), random_tokens(60, seed=1)


@pytest.fixture(scope="module")
def committed_run():
    """The baseline on the headlines."""
    return load_run(ROOT / "results/baseline/sgd/seed1337", Experiment)


def task(order="shuffled", seed=0, tokens=TOKENS, validation=VALIDATION, **options):
    """Return batches of 2 x 8 tokens."""
    batches = Batches(tokens, 2, TINY.context_length, order, seed)
    return TextTask(batches=batches, validation=validation, eos_id=1, **options)


def run(folder=None, config=PLAN, source=None, shape=TINY, model=None, **options):
    """Return the records of a small run."""
    torch.manual_seed(0)
    model = model or GPT(shape)
    return list(train(model, config, source or task(), EVERY_STEP, folder, **options))


def interrupted(folder, **options):
    """Stop a run after its fourth step, with a checkpoint of the third."""
    torch.manual_seed(0)
    model = options.pop("model", None) or GPT(options.pop("shape", LLAMA))
    source = options.pop("source", None) or task()
    records = train(model, options.pop("config", PLAN), source, EVERY_STEP, folder, **options)
    for _ in range(5):
        next(records)
    records.close()


# A plan and its batches


@pytest.mark.parametrize(
    ("changes", "source", "message"),
    [
        ({"batch_size": 5}, task(), "batch_size is 5 in the config, but 2 in the task's batches"),
        ({"order": "uniform"}, task(), "order is uniform in the config, but shuffled in"),
        ({"order": "documents"}, task("uniform"), "order is documents in the config, but uniform"),
        ({"within_documents": True}, task(), "within_documents is True in the config, but False"),
    ],
)
def test_a_plan_that_contradicts_its_batches_is_refused_with_both_values(changes, source, message):
    with pytest.raises(ValueError, match=message):
        run(config=replace(PLAN, **changes), source=source)


@pytest.mark.parametrize(
    "source", [task("uniform"), task(within_documents=True), task("documents", seed=3)]
)
def test_a_plan_that_leaves_them_out_takes_what_the_batches_have(source):
    assert run(source=source)[-1].tokens == 6 * 16


def test_batches_longer_than_the_model_s_context_are_refused_before_the_first_step():
    with pytest.raises(ValueError, match="8 tokens do not fit the model's context of 4"):
        run(shape=replace(TINY, context_length=4))


def test_shorter_batches_than_the_model_s_context_are_counted_as_they_are():
    assert run(shape=replace(TINY, context_length=64))[-1].tokens == 6 * 16


def test_validation_tokens_of_another_tokenizer_are_refused_with_both():
    other = replace(VALIDATION, info=replace(VALIDATION.info, tokenizer="another"))
    with pytest.raises(ValueError, match=r"of tokenizer made by hand, .* of another: encode both"):
        task(validation=other)


def test_validation_tokens_of_another_tokenizer_that_is_named_are_accepted():
    other = replace(VALIDATION, info=replace(VALIDATION.info, tokenizer="another"))
    assert task(validation=other, validation_tokenizer="another").scores(GPT(TINY))


# A checkpoint and the run that resumes from it


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shape": replace(LLAMA, n_heads=2)}, "model.n_heads 4 -> 2"),
        ({"shape": replace(LLAMA, rope_base=500.0)}, r"model.rope_base 10000.0 -> 500.0"),
        ({"shape": replace(LLAMA, dropout=0.1)}, "model.dropout 0.0 -> 0.1"),
        ({"config": with_fields(PLAN, lr=0.1)}, "train.optimizer.lr 0.001 -> 0.1"),
        ({"config": with_fields(PLAN, weight_decay=0.0)}, "train.optimizer.weight_decay 0.1 -> 0"),
        ({"config": with_fields(PLAN, {"optimizer.kind": "sgd"})}, "kind adamw -> sgd"),
        ({"config": with_fields(PLAN, decay_embeddings=True)}, "decay_embeddings False -> True"),
        ({"config": with_fields(PLAN, warmup_steps=3)}, "schedule.warmup_steps 0 -> 3"),
        ({"config": replace(PLAN, loss="stablemax")}, "train.loss softmax -> stablemax"),
        ({"source": task(seed=1)}, "task.seed 0 -> 1"),
        ({"source": task("uniform")}, "task.order shuffled -> uniform"),
        ({"source": task(tokens=random_tokens(200, seed=9))}, r"task.ids \w+ -> \w+"),
        ({"source": task(tokens=random_tokens(230))}, "task.n_tokens 200 -> 230"),
        ({"source": task(validation=random_tokens(60, seed=9))}, r"task.validation \w+ -> \w+"),
        ({"source": task(within_documents=True)}, "task.within_documents False -> True"),
        ({"schedule": lambda step, steps: 1.0}, "schedule given None -> True"),
        ({"optimizer": lambda m: torch.optim.AdamW(m.parameters())}, "optimizer given None -> Tr"),
    ],
)
def test_a_checkpoint_of_another_run_is_refused_with_both_values(tmp_path, options, message):
    interrupted(tmp_path)
    with pytest.raises(ValueError, match=rf"step0000003\S+ is a checkpoint of another.*{message}"):
        run(tmp_path, **{"shape": LLAMA} | options)


def test_an_optimizer_of_one_s_own_with_another_learning_rate_is_refused(tmp_path):
    interrupted(tmp_path, optimizer=lambda m: torch.optim.Adam(m.parameters(), lr=1e-3))
    with pytest.raises(ValueError, match=r"optimizer.0.lr 0.001 -> 0.1"):
        run(tmp_path, shape=LLAMA, optimizer=lambda m: torch.optim.Adam(m.parameters(), lr=0.1))


def test_early_stopping_by_another_number_is_refused(tmp_path):
    rising = with_fields(PLAN, patience=9, eval_every=1)
    metrics = {"size": lambda model: 1.0, "depth": lambda model: 2.0}
    interrupted(tmp_path, config=rising, metrics=metrics, select="size")
    with pytest.raises(ValueError, match=r"select size -> depth"):
        run(tmp_path, rising, shape=LLAMA, metrics=metrics, select="depth")


def test_the_rows_of_another_dataset_order_are_refused(tmp_path):
    def rows(seed):
        ids = torch.arange(320).view(20, 16) % TINY.vocab_size
        batches = Batches(ids.flatten(), 2, TINY.context_length, "shuffled", seed)
        return RowsTask(batches=batches, validation=(ids[:2, :8], ids[:2, 1:9]))

    interrupted(tmp_path, source=rows(0))
    with pytest.raises(ValueError, match=r"task.seed 0 -> 1"):
        run(tmp_path, shape=LLAMA, source=rows(1))


class PlainTask:
    """A task that says nothing of itself."""

    batches_per_epoch = None

    def batch(self, number):
        return task().batch(number)

    def scores(self, model):
        return task().scores(model)


def test_a_task_that_says_nothing_of_itself_trains_and_resumes(tmp_path):
    interrupted(tmp_path, source=PlainTask())
    assert [record.step for record in run(tmp_path, shape=LLAMA, source=PlainTask())] == [4, 5, 6]


def test_a_refused_checkpoint_leaves_the_model_as_it_was(tmp_path):
    interrupted(tmp_path)
    model = GPT(LLAMA)
    before = [p.clone() for p in model.parameters()]
    with pytest.raises(ValueError, match="of another run"):
        run(tmp_path, with_fields(PLAN, lr=0.1), model=model)
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), before, strict=True))


def test_a_checkpoint_carries_its_run_s_facts_and_their_hash(tmp_path):
    interrupted(tmp_path)
    stored = read_state(latest_checkpoint(tmp_path))["run"]
    assert stored["facts"]["model.n_kv_heads"] == LLAMA.n_kv_heads
    assert stored["facts"]["train.batch_size"] == 2
    assert len(stored["hash"]) == 12


def test_a_checkpoint_of_an_earlier_version_without_facts_is_resumed(tmp_path):
    interrupted(tmp_path)
    path = latest_checkpoint(tmp_path)
    state = read_state(path)
    del state["run"]
    write_state(path, state)
    assert [record.step for record in run(tmp_path, shape=LLAMA)] == [4, 5, 6]


# A finished run and the text that is given


def test_a_finished_run_of_other_titles_than_data_s_is_refused_with_both(tmp_path, committed_run):
    titles = tmp_path / "headlines.txt"
    titles.write_text("\n".join(f"title {number}" for number in range(110_000)))
    with pytest.raises(ValueError, match=r"is finished on the text c530fca36186, but \S+headlines"):
        require_same_text(committed_run, titles)


def test_a_finished_run_of_generated_titles_needs_no_data(smoke_run, tmp_path):
    require_same_text(smoke_run[1], tmp_path / "anything")


# A run that has ended


def test_the_same_call_after_completion_says_that_nothing_is_left(tmp_path):
    run(tmp_path)
    with pytest.warns(UserWarning, match="nothing left to train: it has taken 6 steps, and 6 are"):
        assert run(tmp_path) == []


def test_the_line_goes_where_the_caller_wants_it(tmp_path):
    lines = []
    run(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run(tmp_path, show=lines.append)
    assert len(lines) == 1


def test_a_run_whose_steps_are_raised_goes_on_and_says_what_its_schedule_does(tmp_path):
    run(tmp_path)
    with pytest.warns(UserWarning, match=r"train.steps 6 -> 9\): .* follows the new one"):
        assert [record.step for record in run(tmp_path, replace(PLAN, steps=9))] == [7, 8, 9]


def test_a_constant_schedule_goes_on_as_if_it_had_never_stopped(tmp_path):
    constant = with_fields(PLAN, {"schedule.kind": "constant"})
    run(tmp_path / "parts", constant)
    rest = run(tmp_path / "parts", replace(constant, steps=9))
    whole = run(tmp_path / "whole", replace(constant, steps=9))
    assert [r.loss for r in rest] == [r.loss for r in whole[7:]]


def test_a_run_whose_time_limit_is_raised_goes_on(tmp_path):
    run(tmp_path, replace(PLAN, max_s=1e-9))
    with pytest.warns(UserWarning, match="nothing left to train: reached the time limit of 1e-08"):
        assert run(tmp_path, replace(PLAN, max_s=1e-8)) == []
    assert [record.step for record in run(tmp_path, PLAN)] == [2, 3, 4, 5, 6]


def patient(patience):
    """Return a plan whose loss rises from the start."""
    rising = with_fields(PLAN, lr=3.0, max_grad_norm=None, steps=12, eval_every=1)
    return with_fields(rising, {"schedule.kind": "constant"}, patience=patience)


def test_a_run_whose_patience_is_raised_goes_on_as_if_it_had_been_so_from_the_start(tmp_path):
    short = run(tmp_path / "parts", patient(2))
    with pytest.warns(UserWarning, match="nothing left to train: no better validation loss"):
        assert run(tmp_path / "parts", patient(2)) == []
    rest = run(tmp_path / "parts", patient(4))
    whole = run(tmp_path / "whole", patient(4))
    assert [(r.step, r.loss) for r in short[:-1] + rest] == [
        (r.step, r.loss) for r in whole if r.step != short[-1].step
    ]


# Checkpoints in one folder


def saved(folder, *steps):
    """Write a checkpoint of each step to folder."""
    model = nn.Linear(2, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for step in steps:
        progress = Progress(step=step, elapsed_s=0.0, precision="float32")
        save_progress(folder, model, optimizer, progress)


def steps_in(folder):
    return [step_of(path) for path in checkpoints_in(folder)]


def test_checkpoints_are_ordered_by_step_beyond_seven_digits(tmp_path):
    saved(tmp_path, 9_999_998, 9_999_999, 10_000_000, 10_000_001)
    assert step_of(latest_checkpoint(tmp_path)) == 10_000_001
    assert steps_in(tmp_path) == [10_000_000, 10_000_001]


def test_a_folder_that_holds_later_steps_of_another_run_is_refused_and_kept(tmp_path):
    saved(tmp_path, 900, 1000)
    with pytest.raises(ValueError, match=r"step0001000.* later step than 10.* another folder"):
        saved(tmp_path, 10)
    assert steps_in(tmp_path) == [900, 1000]


def test_other_files_are_not_taken_for_checkpoints(tmp_path):
    (tmp_path / "step-old.safetensors").touch()
    assert latest_checkpoint(tmp_path) is None


# The optimizer's state


@pytest.mark.parametrize("kind", ["adamw", "sgd", "muon"])
@pytest.mark.parametrize("damage", [lambda v: v[:1], lambda v: v.flatten()[:-1], torch.Tensor.long])
def test_an_optimizer_state_of_another_shape_or_type_is_refused(tmp_path, kind, damage):
    momentum = {"sgd": {"momentum": 0.9}}.get(kind, {})
    config = with_fields(PLAN, {"optimizer.kind": kind, **momentum})
    interrupted(tmp_path, config=config)
    path = latest_checkpoint(tmp_path)
    state = read_state(path)
    values = state["optimizer"]["state"][0]
    name = next(name for name in values if name != "step")
    values[name] = damage(values[name])
    write_state(path, state)
    with pytest.raises(ValueError, match=rf"has the optimizer's {name} of parameter 0 with shape"):
        run(tmp_path, config=config, shape=LLAMA)


def test_groups_of_other_parameters_are_refused(tmp_path):
    interrupted(tmp_path, shape=TINY)
    path = latest_checkpoint(tmp_path)
    state = read_state(path)
    groups = state["optimizer"]["param_groups"]
    groups[0]["params"].append(groups[1]["params"].pop())
    write_state(path, state)
    with pytest.raises(ValueError, match="with other groups of parameters"):
        run(tmp_path)
