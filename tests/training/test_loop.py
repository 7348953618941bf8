"""Training: what it learns, that it repeats itself, that it can be stopped anywhere."""

import math
import random
import shutil
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from operator import attrgetter

import numpy as np
import pytest
import torch
from made import PLAIN, TINY, random_tokens, stopped, text_source

from lmcore.config import with_fields
from lmcore.data import grammar
from lmcore.data.batches import Batches
from lmcore.experiments.experiment import smoke, task_of
from lmcore.experiments.runner import run_or_load
from lmcore.model.config import ModelConfig
from lmcore.model.gpt import GPT
from lmcore.studies.baseline import experiments as baseline
from lmcore.studies.baseline.probes import probe
from lmcore.tasks.protocols import Batch
from lmcore.tasks.text import TextTask
from lmcore.tasks.titles import TitlesConfig, prepare, split_titles, titles_of
from lmcore.training.checkpoint import latest_checkpoint
from lmcore.training.config import EvaluationConfig, OptimizerConfig, ScheduleConfig, TrainConfig
from lmcore.training.loop import train
from lmcore.training.records import DivergedError
from lmcore.training.step import update_ratios

END = 1
EVERY_STEP = replace(PLAIN, checkpoint_every_s=0.0)
CONFIG = TrainConfig(
    batch_size=2,
    epochs=2,
    order="sequential",
    optimizer=OptimizerConfig(kind="sgd", lr=0.5, weight_decay=0.0),
    evaluation=EvaluationConfig(eval_at=(1, 4)),
)
LIVELY = replace(TINY, dropout=0.2)


TRAINING, VALIDATION = random_tokens(2 * 8 * 4 + 1), random_tokens(60, seed=1)


def seeded(seed, config=LIVELY):
    """Return a model from a seed, which also fixes the dropout to come."""
    torch.manual_seed(seed)
    return GPT(config)


def records(config=CONFIG, model=None, runtime=PLAIN, folder=None, tokens=TRAINING):
    """Return the generator of a small run."""
    return train(
        model or seeded(0),
        config,
        text_source(config.batch_size, tokens, VALIDATION),
        runtime,
        folder,
    )


def numbers(some_records):
    """Return records without their time, which no seed fixes."""
    return [replace(record, elapsed_s=0.0) for record in some_records]


def test_one_batch_is_learned_by_heart():
    one_batch = random_tokens(2 * 8 + 1)
    config = TrainConfig(
        batch_size=2,
        epochs=250,
        order="sequential",
        optimizer=OptimizerConfig(kind="sgd", lr=0.5, weight_decay=0.0),
        evaluation=EvaluationConfig(eval_at=()),
    )
    *_, last = records(config, GPT(TINY), tokens=one_batch)
    assert last.loss < 0.1


def test_a_seed_fixes_every_number():
    assert numbers(records(model=seeded(3))) == numbers(records(model=seeded(3)))


def test_another_seed_gives_other_numbers():
    assert numbers(records(model=seeded(3))) != numbers(records(model=seeded(4)))


def test_the_first_record_comes_before_the_first_step():
    model = seeded(0)
    before = [p.clone() for p in model.parameters()]
    first = next(records(model=model))
    assert (first.step, first.tokens, first.loss) == (0, 0, None)
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), before, strict=True))


def test_the_first_score_is_near_the_log_of_the_vocabulary():
    assert next(records()).scores["validation"].loss == pytest.approx(math.log(31), abs=0.05)


def test_there_is_a_record_for_each_step_and_a_score_where_one_is_due():
    found = list(records())
    assert [record.step for record in found] == list(range(9))
    assert [record.step for record in found if "validation" in record.scores] == [0, 1, 4, 8]
    assert [record.step for record in found if "challenge" in record.scores] == [0, 1, 4, 8]


def test_records_count_the_tokens_trained_on():
    assert [record.tokens for record in records()] == [16 * step for step in range(9)]


def test_steps_are_whole_batches_times_epochs():
    tokens = random_tokens(1_102_455)
    source = replace(text_source(2), batches=Batches(tokens, 64, 128))
    assert TrainConfig(epochs=7).planned_steps(source, tokens_per_step=8192) == 938


def test_the_learning_rate_starts_at_its_height_and_falls_along_a_cosine():
    expected = [0.5 * (1 + math.cos(math.pi * step / 8)) / 2 for step in range(8)]
    assert [record.lr for record in records()][1:] == pytest.approx(expected)


def test_the_same_validation_tokens_are_scored_each_time():
    scores = [record.scores["validation"] for record in records() if record.scores]
    assert {(score.n_tokens, score.n_end, score.coverage) for score in scores} == {
        (60, int((VALIDATION.ids == END).sum()), 1.0)
    }


def test_one_step_of_the_baseline_kind_gives_the_numbers_it_gave_before():
    torch.manual_seed(0)
    config = ModelConfig(
        vocab_size=31, context_length=8, d_model=16, n_layers=2, n_heads=2, d_ff=32
    )
    _, first, *_ = records(model=GPT(config))
    assert first.loss == pytest.approx(GOLDEN_LOSS, rel=1e-5)
    assert first.grad_norm == pytest.approx(GOLDEN_NORM, rel=1e-4)


GOLDEN_LOSS, GOLDEN_NORM = 3.4422083, 2.1235533


def test_a_step_follows_the_clipped_gradient_as_torch_computes_it():
    ours, theirs = seeded(0, TINY), seeded(0, TINY)
    x, y = (torch.from_numpy(TRAINING.ids[i : i + 16].astype(np.int64)).view(2, 8) for i in (0, 1))
    torch.nn.functional.cross_entropy(theirs(x).flatten(0, 1), y.flatten()).backward()
    torch.nn.utils.clip_grad_norm_(theirs.parameters(), CONFIG.optimizer.max_grad_norm)
    torch.optim.SGD(theirs.parameters(), lr=CONFIG.optimizer.lr).step()
    run = records(model=ours)
    next(run), next(run)
    for (name, p), q in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=0, atol=1e-6, msg=name)


def weights(model):
    return [p.tolist() for p in model.parameters()]


@pytest.fixture(scope="module")
def uninterrupted():
    """The numbers of a run that nothing stops, and its weights in the end."""
    model = seeded(0)
    return numbers(records(model=model)), weights(model)


@pytest.mark.parametrize("stopped_after", range(2, 9))
def test_a_run_stopped_after_any_step_goes_on_to_the_same_numbers(
    tmp_path, uninterrupted, stopped_after
):
    first = records(model=seeded(0), runtime=EVERY_STEP, folder=tmp_path)
    begun = numbers(next(first) for _ in range(stopped_after + 1))
    first.close()
    model = seeded(99)
    rest = numbers(records(model=model, runtime=EVERY_STEP, folder=tmp_path))
    assert (begun[: rest[0].step] + rest, weights(model)) == uninterrupted


def test_an_error_of_whoever_iterates_loses_no_more_than_the_step_under_way(tmp_path):
    def fail_at_step_five():
        for record in records(runtime=EVERY_STEP, folder=tmp_path):
            if record.step == 5:
                raise OSError("the disk is full")

    with pytest.raises(OSError, match="full"):
        fail_at_step_five()
    assert next(records(runtime=EVERY_STEP, folder=tmp_path)).step == 5


def test_a_finished_run_has_nothing_left_to_do(tmp_path):
    list(records(folder=tmp_path))
    with pytest.warns(UserWarning, match="nothing left to train: it has taken 8 steps"):
        assert list(records(folder=tmp_path)) == []


SIGNALS = (signal.SIGINT, signal.SIGTERM)


def signalled_in_step(n, number):
    """Return a model that a signal reaches while it computes its n-th training batch."""
    model, calls = seeded(0), []

    def raise_once(module, _inputs, _out):
        calls.append(module.training)
        if module.training and sum(calls) == n:
            signal.raise_signal(number)

    model.norm.register_forward_hook(raise_once)
    return model


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_during_a_step_stops_the_run_after_it_with_its_record_and_a_checkpoint(
    tmp_path, number
):
    steps = []
    run = records(model=signalled_in_step(3, number), folder=tmp_path)
    with pytest.raises(KeyboardInterrupt):
        steps.extend(map(attrgetter("step"), run))
    assert steps == [0, 1, 2, 3]
    assert latest_checkpoint(tmp_path).name == "step0000003.safetensors"


def test_ctrl_c_between_two_records_interrupts_whoever_iterates_at_once():
    run = records()
    next(run), next(run)
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    assert next(run).step == 2


def test_a_generator_that_is_held_leaves_the_signals_as_they_were():
    before = [signal.getsignal(number) for number in SIGNALS]
    run = records()
    for _ in range(3):
        next(run)
        assert [signal.getsignal(number) for number in SIGNALS] == before
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


def test_a_finished_run_leaves_the_signals_as_they_were():
    before = [signal.getsignal(number) for number in SIGNALS]
    list(records())
    assert [signal.getsignal(number) for number in SIGNALS] == before


def test_a_signal_in_the_last_step_is_not_swallowed(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        list(records(model=signalled_in_step(8, signal.SIGINT), folder=tmp_path))
    assert latest_checkpoint(tmp_path).name == "step0000008.safetensors"


def test_training_in_a_thread_touches_no_signal():
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(lambda: numbers(records())).result() == numbers(records())


def test_another_precision_cannot_take_a_run_up(tmp_path):
    list(zip(range(3), records(runtime=EVERY_STEP, folder=tmp_path), strict=False))
    with pytest.raises(ValueError, match=r"float32, not bfloat16: .*--\S*precision float32"):
        next(records(runtime=replace(PLAIN, precision="bfloat16"), folder=tmp_path))


def test_a_loss_that_is_no_number_stops_the_run_and_names_step_and_rate():
    model = GPT(TINY)
    torch.nn.init.constant_(model.token_embedding.weight, math.nan)
    run = records(with_fields(CONFIG, eval_at=()), model)
    with pytest.raises(DivergedError, match=r"at step 1 \(lr 0\.5\)"):
        list(run)


def test_divergence_leaves_the_earlier_checkpoint_as_it_was(tmp_path):
    model, calls = seeded(0), []
    config = with_fields(CONFIG, eval_at=())

    def fail_at_step_four(_module, _inputs, out):
        calls.append(model.training)
        return out * math.nan if sum(calls) == 4 else out

    model.norm.register_forward_hook(fail_at_step_four)
    with pytest.raises(DivergedError, match="at step 4"):
        list(records(config, model, EVERY_STEP, tmp_path))
    rest = numbers(records(config, seeded(99), PLAIN, tmp_path))
    assert rest == numbers(records(config))[4:]


@pytest.mark.parametrize("lr", [1e10, 1e20, 1e30, 1e38])
@pytest.mark.parametrize("steps", [1, 2, 8])
def test_a_learning_rate_beyond_reason_is_told_by_step_and_rate(lr, steps):
    config = with_fields(CONFIG, epochs=1, lr=lr, max_grad_norm=1e10, eval_at=())
    with pytest.raises(DivergedError, match=r"at step \d \(lr \d"):
        list(records(config, tokens=random_tokens(2 * 8 * steps + 1)))


def test_bfloat16_and_float32_learn_the_same_to_a_hundredth_of_a_nat(smoke_run, tmp_path):
    workspace, run = smoke_run
    experiment = smoke(baseline.BASELINE)
    corpus = prepare(experiment.task, workspace / ".smoke/.cache/corpus")
    torch.manual_seed(experiment.seed)
    model = GPT(experiment.model)
    config = with_fields(experiment.train, eval_at=())
    runtime = replace(PLAIN, precision="bfloat16")
    source = task_of(replace(experiment, train=config), corpus)
    *_, last = train(model, config, source, runtime)
    in_float32 = run.records[-1]["validation"]
    assert last.scores["validation"].loss == pytest.approx(in_float32.loss, abs=0.01)


def test_a_model_of_generated_titles_comes_near_their_entropy_and_never_below_it(tmp_path):
    config = TitlesConfig(source="generated", n_titles=16_000, n_test_titles=1, vocab_size=512)
    corpus = prepare(config, tmp_path)
    titles = split_titles(titles_of(config, None)[0], config)["validation"]
    shape = ModelConfig(
        vocab_size=512, context_length=64, d_model=64, n_layers=2, n_heads=2, d_ff=256, dropout=0.0
    )
    model = seeded(0, shape)
    plan = TrainConfig(
        batch_size=8,
        epochs=2,
        order="sequential",
        optimizer=OptimizerConfig(kind="adamw", lr=3e-3, weight_decay=0.0),
        evaluation=EvaluationConfig(eval_at=()),
    )
    source = TextTask(
        batches=Batches(corpus.train, plan.batch_size, shape.context_length),
        validation=corpus.validation,
        eos_id=corpus.eos_id,
    )
    *_, last = train(model, plan, source, PLAIN)
    floor = grammar.surprise(titles)
    assert floor < last.scores["validation"].nats < 1.02 * floor


START = [
    sys.executable, "-m", "lmcore", "run", "baseline", "--small",
    "--only", "sgd", "--seeds", "1337",
    "--runtime.device", "cpu", "--runtime.precision", "float32", "--runtime.compile", "no",
    "--runtime.checkpoint-every-s", "0.05",
]  # fmt: skip


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_a_run_killed_at_a_random_moment_goes_on_to_the_same_numbers(
    smoke_run, tmp_path, monkeypatch, number, status
):
    source, whole = smoke_run
    (tmp_path / "myst.yml").touch()
    shutil.copytree(source / ".smoke/.cache/corpus", tmp_path / ".smoke/.cache/corpus")
    monkeypatch.chdir(tmp_path)
    metrics = tmp_path / ".smoke/runs/baseline/sgd/seed1337/metrics.jsonl"
    results = tmp_path / ".smoke/results"
    assert stopped(START, metrics, random.randint(1, 60), number, results)[0] == status
    resumed = run_or_load(smoke(baseline.BASELINE), probe, runtime=PLAIN, progress=False)
    timeless = [[r | {"elapsed_s": 0} for r in run.records] for run in (resumed, whole)]
    assert timeless[0] == timeless[1]
    assert resumed.outcome == whole.outcome


# Length, ends and stops


def lengths(**options):
    """Return the planned steps on a source of four batches, of 100 tokens as far as they tell."""
    return TrainConfig(**{"epochs": None} | options).planned_steps(text_source(2), 100)


def test_a_run_s_length_is_given_in_epochs_steps_or_tokens():
    assert (lengths(epochs=3), lengths(steps=7), lengths(n_tokens=899)) == (12, 7, 8)


def test_fewer_tokens_than_a_batch_are_an_error_with_both():
    with pytest.raises(ValueError, match="n_tokens 99 do not fill a batch of 100"):
        lengths(n_tokens=99)


def test_a_run_ends_when_its_time_is_up_and_says_so(tmp_path):
    config = with_fields(CONFIG, epochs=None, steps=10_000, max_s=0.05, eval_at=())
    *_, last = records(config, folder=tmp_path)
    assert last.step < 10_000
    assert (last.stop_reason, list(last.scores)) == (
        "reached the time limit of 0.05 seconds",
        ["validation", "challenge"],
    )


PATIENT = with_fields(
    CONFIG,
    {"schedule.kind": "constant", "epochs": None, "steps": 40, "max_grad_norm": None},
    lr=3.0, eval_at=(), eval_every=1, patience=3,
)  # fmt: skip


def score_of(model, config=PATIENT):
    return text_source(config.batch_size).scores(model)["validation"].nats


@pytest.mark.parametrize("kept", [True, False], ids=["on disk", "in memory"])
def test_early_stopping_goes_back_to_the_best_weights(tmp_path, kept):
    model = seeded(0, TINY)
    found = list(records(PATIENT, model, folder=tmp_path if kept else None))
    best = min(found, key=lambda record: record.scores["validation"].nats)
    assert found[-1].step == best.step + 3 < 40
    assert found[-1].stop_reason == f"no better validation loss since step {best.step}"
    assert score_of(model) == best.scores["validation"].nats


def test_a_run_that_stopped_early_stays_stopped_and_gives_its_best_weights(tmp_path):
    *_, last = records(PATIENT, seeded(0, TINY), folder=tmp_path)
    model = seeded(1, TINY)
    with pytest.warns(UserWarning, match="nothing left to train: no better validation loss"):
        assert list(records(PATIENT, model, folder=tmp_path)) == []
    assert score_of(model) < last.scores["validation"].nats


def test_an_interrupted_run_loses_no_patience(tmp_path):
    whole = numbers(records(PATIENT, seeded(0, TINY)))
    first = records(PATIENT, seeded(0, TINY), EVERY_STEP, tmp_path)
    begun = numbers(next(first) for _ in range(len(whole) - 1))
    first.close()
    rest = numbers(records(PATIENT, seeded(9, TINY), EVERY_STEP, tmp_path))
    assert begun[: rest[0].step] + rest == whole


EASY = with_fields(PATIENT, patience=None, stop_accuracy=1e-9)


def test_a_run_ends_once_its_accuracy_has_held_for_five_evaluations():
    found = list(records(EASY, seeded(0, TINY)))
    right = [record.scores["validation"].accuracy >= 1e-9 for record in found]
    first = next(i for i in range(len(right)) if all(right[i : i + 5]))
    assert (found[-1].step, found[-1].stop_reason) == (
        found[first + 4].step,
        "validation accuracy held at 1e-09 or above",
    )
    assert len(found) == first + 5 < 40


def test_an_interrupted_run_forgets_no_evaluation_that_held(tmp_path):
    whole = numbers(records(EASY, seeded(0, TINY)))
    first = records(EASY, seeded(0, TINY), EVERY_STEP, tmp_path)
    begun = numbers(next(first) for _ in range(len(whole) - 2))
    first.close()
    rest = numbers(records(EASY, seeded(9, TINY), EVERY_STEP, tmp_path))
    assert begun[: rest[0].step] + rest == whole


def test_steps_that_are_not_due_are_taken_and_left_out_of_the_records():
    every = numbers(records(LONG := replace(CONFIG, epochs=None, steps=8)))
    some = numbers(records(with_fields(LONG, log_every=3)))
    assert [record.step for record in some] == [0, 1, 3, 4, 6, 8]
    assert some == [every[record.step] for record in some]


def test_the_norm_of_all_weights_stands_beside_each_score():
    model = seeded(0)
    first = next(records(model=model))
    expected = math.sqrt(sum(p.square().sum().item() for p in model.parameters()))
    assert first.weight_norm == pytest.approx(expected, rel=1e-5)


def test_what_a_run_learns_may_ask_for_float32_and_a_user_may_overrule_it():
    for asked, given in (("auto", "float32"), ("bfloat16", "bfloat16")):
        assert replace(PLAIN, precision=asked).resolve(0, "float32").precision == given


def test_divergence_is_the_last_thing_recorded():
    model = GPT(TINY)
    torch.nn.init.constant_(model.token_embedding.weight, math.nan)
    run = records(with_fields(CONFIG, eval_at=()), model)
    next(run)
    last = next(run)
    assert (last.step, last.loss) == (1, None)
    assert last.stop_reason == "diverged: the loss is nan at step 1 (lr 0.5)"
    with pytest.raises(DivergedError):
        next(run)


# Optimizers and parts of batches


@pytest.mark.parametrize(
    "options",
    [
        {"kind": "sgd", "momentum": 0.9, "lr": 0.1},
        {"kind": "adamw", "lr": 0.01, "weight_decay": 0.1},
        {"kind": "muon", "lr": 0.01, "momentum": 0.95},
        {"kind": "adamw", "lr": 0.01, "grokfast_lambda": 2.0, "orthogonal_gradients": True},
    ],
    ids=["sgd", "adamw", "muon", "filters"],
)
def test_every_optimizer_resumes_to_the_same_numbers(tmp_path, options):
    config = replace(CONFIG, optimizer=OptimizerConfig(**options))
    whole = numbers(records(config))
    first = records(config, runtime=EVERY_STEP, folder=tmp_path)
    for _ in range(5):
        next(first)
    first.close()
    rest = numbers(records(config, seeded(9), EVERY_STEP, tmp_path))
    assert rest == whole[rest[0].step :]


def test_a_batch_in_parts_gives_the_step_of_the_whole():
    config = with_fields(CONFIG, batch_size=4, lr=0.1)
    whole, parts = seeded(0, TINY), seeded(0, TINY)
    one = list(records(config, whole))
    two = list(records(config, parts, replace(PLAIN, grad_accum_steps=2)))
    assert [r.loss for r in two][1:] == pytest.approx([r.loss for r in one][1:], rel=1e-6)
    for p, q in zip(whole.parameters(), parts.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=0, atol=1e-6)


def test_a_batch_that_does_not_split_into_parts_is_an_error_with_both():
    with pytest.raises(ValueError, match="a batch of 2 does not split evenly into 3 parts"):
        next(records(runtime=replace(PLAIN, grad_accum_steps=3)))


def test_a_batch_that_does_not_fit_in_memory_says_how_to_make_it_fit():
    model = seeded(0, TINY)

    def take_too_much(module, _inputs, _out):
        if module.training:
            torch.empty(2**50)

    model.norm.register_forward_hook(take_too_much)
    run = records(model=model)
    next(run)
    with pytest.raises(
        MemoryError,
        match=r"2 x 8 tokens at once.*about \d+ rows would fit.*--runtime.grad_accum_steps 2",
    ):
        next(run)


@pytest.mark.parametrize(
    ("kind", "wrong", "says"),
    [
        (TrainConfig, {"batch_size": 0, "steps": 1}, "batch_size must be above 0, not 0"),
        (TrainConfig, {"epochs": -1}, "epochs must be above 0, not -1"),
        (TrainConfig, {"steps": 5, "epochs": 7}, "exactly one.*not epochs 7, steps 5, n_tokens No"),
        (TrainConfig, {}, "exactly one"),
        (OptimizerConfig, {"lr": 0.0}, r"lr must be above 0, not 0\.0"),
        (OptimizerConfig, {"max_grad_norm": 0.0}, r"max_grad_norm must be above 0, not 0\.0"),
        (OptimizerConfig, {"momentum": 0.9}, "momentum 0.9 has no effect with kind 'adamw'"),
        (
            OptimizerConfig,
            {"kind": "sgd", "betas": (0.5, 0.5)},
            r"betas \(0\.5, 0\.5\) has no effect",
        ),
        (OptimizerConfig, {"kind": "muon", "momentum": 0.0}, "muon without momentum"),
        (
            OptimizerConfig,
            {"grokfast_alpha": 0.9},
            "grokfast_alpha 0.9 has no effect with grokfast_",
        ),
        (
            ScheduleConfig,
            {"kind": "constant", "min_lr_ratio": 0.1},
            "min_lr_ratio 0.1 has no effect",
        ),
        (
            ScheduleConfig,
            {"decay_fraction": 0.5},
            "decay_fraction 0.5 has no effect with kind 'cos",
        ),
        (EvaluationConfig, {"patience": 0}, "patience must be above 0, not 0"),
    ],
)
def test_a_config_that_cannot_be_is_an_error_with_its_values(kind, wrong, says):
    with pytest.raises(ValueError, match=says):
        kind(**wrong)


def test_a_warmup_longer_than_the_run_is_an_error_before_the_first_step():
    with pytest.raises(ValueError, match="warmup_steps must be between 0 and the 8 steps, not 9"):
        next(records(with_fields(CONFIG, warmup_steps=9)))


# Batches


def test_uniform_batches_have_no_epochs():
    source = replace(text_source(2), batches=Batches(TRAINING, 2, 8, "uniform"))
    config = replace(CONFIG, order="uniform")
    with pytest.raises(ValueError, match="these batches have no epochs: give the length in steps"):
        next(train(seeded(0), config, source, PLAIN))


@pytest.mark.parametrize("order", ["uniform", "shuffled", "documents"])
def test_every_order_of_batches_resumes_to_the_same_numbers(tmp_path, order):
    config = replace(CONFIG, epochs=None, steps=6, order=order)
    source = replace(
        text_source(2), batches=Batches(TRAINING, 2, 8, order, seed=5), within_documents=True
    )
    whole = numbers(train(seeded(0), config, source, PLAIN))
    first = train(seeded(0), config, source, EVERY_STEP, tmp_path)
    for _ in range(4):
        next(first)
    first.close()
    rest = numbers(train(seeded(9), config, source, EVERY_STEP, tmp_path))
    assert rest == whole[rest[0].step :]


def test_attention_within_documents_gives_another_loss():
    crossing = text_source(2)
    within = replace(crossing, within_documents=True)
    losses = [
        [r.loss for r in train(seeded(0, TINY), CONFIG, source, PLAIN)][1]
        for source in (crossing, within)
    ]
    assert abs(losses[0] - losses[1]) > 1e-5


def test_a_part_of_a_batch_is_every_so_manieth_row():
    x = torch.arange(8).view(4, 2)
    part = Batch(x, x + 1, x * 0).part(1, 2)
    assert [each.tolist() for each in part] == [[[2, 3], [6, 7]], [[3, 4], [7, 8]], [[0, 0]] * 2]


# How far a step goes


def test_an_evaluated_step_tells_how_far_each_group_went_and_others_do_not():
    told = {record.step: record.update_ratios for record in records()}
    assert {step for step, ratios in told.items() if ratios} == {1, 4, 8}
    assert set(told[1]) == {"hidden", "embedding", "vector"}


def test_the_ratio_is_how_far_the_weights_went_over_how_large_they_were():
    model = seeded(0)
    first = records(with_fields(CONFIG, max_grad_norm=None), model)
    next(first)
    before = model.token_embedding.weight.detach().clone()
    positions = model.position_embedding.weight.detach().clone()
    ratio = next(first).update_ratios["embedding"]
    moved = torch.cat(
        [model.token_embedding.weight - before, model.position_embedding.weight - positions]
    )
    was = torch.cat([before, positions])
    assert ratio == pytest.approx((moved.norm() / was.norm()).item(), rel=1e-5)


def test_a_group_of_zeros_has_no_ratio():
    group = {"name": "vector", "params": [torch.ones(3)]}
    assert update_ratios([group], [[torch.zeros(3)]]) == {}
    assert update_ratios([group], [[torch.full((3,), 2.0)]]) == {"vector": 0.5}


# Parts with ignored targets


class Masked:
    """Random rows, in which some targets are ignored, unevenly over the rows."""

    batches_per_epoch = None

    def batch(self, number):
        generator = torch.Generator().manual_seed(number)
        x, y = torch.randint(TINY.vocab_size, (2, 4, 8), generator=generator)
        y[0, 1:], y[1, :3] = -100, -100
        return Batch(x, y)

    def scores(self, model):
        return {}


MASKED = TrainConfig(
    batch_size=4, steps=3, optimizer=OptimizerConfig(kind="sgd", lr=0.1, weight_decay=0.0)
)


def test_a_step_ignores_targets_of_minus_100_as_torch_does():
    ours, theirs, batch = seeded(0, TINY), seeded(0, TINY), Masked().batch(0)
    _, first, *_ = train(ours, replace(MASKED, steps=1), Masked(), PLAIN)
    loss = torch.nn.functional.cross_entropy(theirs(batch.x).flatten(0, 1), batch.y.flatten())
    loss.backward()
    torch.nn.utils.clip_grad_norm_(theirs.parameters(), 1.0)
    torch.optim.SGD(theirs.parameters(), lr=0.1).step()
    assert first.loss == pytest.approx(loss.item(), rel=1e-6)
    for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=0, atol=1e-6)


@pytest.mark.parametrize("parts", [2, 4])
def test_parts_with_different_numbers_of_targets_give_the_step_of_the_whole(parts):
    whole, split = seeded(0, TINY), seeded(0, TINY)
    one = list(train(whole, MASKED, Masked(), PLAIN))
    two = list(train(split, MASKED, Masked(), replace(PLAIN, grad_accum_steps=parts)))
    assert [r.loss for r in two][1:] == pytest.approx([r.loss for r in one][1:], rel=1e-6)
    for p, q in zip(whole.parameters(), split.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=0, atol=1e-6)


def test_a_batch_size_other_than_the_task_s_is_an_error_with_both():
    with pytest.raises(ValueError, match="batch_size is 3 in the config, but 4 in"):
        next(train(seeded(0, TINY), replace(MASKED, batch_size=3), Masked(), PLAIN))


def test_a_batch_size_that_is_left_out_is_the_task_s():
    plan = TrainConfig(steps=3, optimizer=MASKED.optimizer)
    left_out = numbers(train(seeded(0, TINY), plan, Masked(), PLAIN))
    assert left_out == numbers(train(seeded(0, TINY), MASKED, Masked(), PLAIN))


def test_all_records_are_yielded_and_stored_before_their_checkpoint_is_written(tmp_path):
    seen, calls = [], []

    def stored():
        newest = latest_checkpoint(tmp_path)
        calls.append((seen[-1], newest and newest.name))

    task = text_source(CONFIG.batch_size, TRAINING, VALIDATION)
    run = train(seeded(0), CONFIG, task, EVERY_STEP, tmp_path, before_checkpoint=stored)
    for record in run:
        seen.append(record.step)
    names = [f"step{step:07d}.safetensors" for step in seen[1:]]
    assert calls == list(zip(seen[1:], [None, *names[:-1]], strict=True))
