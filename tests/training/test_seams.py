"""A model, optimizer, schedule, loss, metric or loop of one's own, without editing the library.

The code between "docs: start" and "docs: end" is shown in the documentation.
"""

import functools
import math

import pytest
import torch
import torch.nn.functional as F
from made import PLAIN, TINY, random_tokens, text_source
from torch import nn

from lmcore import GPT, EvaluationConfig, OptimizerConfig, TrainConfig, train
from lmcore.evaluation.scores import score
from lmcore.experiments.runner import record_to_dict
from lmcore.training.loss import cross_entropy
from lmcore.training.records import Record
from lmcore.training.schedule import linear

CONFIG = TrainConfig(
    batch_size=2,
    steps=8,
    optimizer=OptimizerConfig(lr=0.01),
    evaluation=EvaluationConfig(eval_every=2),
)


class Bigram(nn.Module):
    """Logits of the next id from the present one alone."""

    def __init__(self, vocab_size=TINY.vocab_size):
        super().__init__()
        self.table = nn.Embedding(vocab_size, vocab_size)

    def forward(self, ids):
        return self.table(ids)


def model_of(kind):
    torch.manual_seed(0)
    return GPT(TINY) if kind == "gpt" else Bigram()


def runs(kind="gpt", config=CONFIG, **options):
    return list(train(model_of(kind), config, text_source(2), PLAIN, **options))


# Examples


def test_any_module_from_ids_to_logits_is_trained_and_scored():
    task = text_source(2)
    # docs: start model
    import torch

    from lmcore import OptimizerConfig, TrainConfig, train

    class Recurrent(torch.nn.Module):
        def __init__(self, vocab_size, width):
            super().__init__()
            self.embedding = torch.nn.Embedding(vocab_size, width)
            self.rnn = torch.nn.GRU(width, width, batch_first=True)
            self.head = torch.nn.Linear(width, vocab_size)

        def forward(self, ids):  # (batch, seq) -> (batch, seq, vocab)
            return self.head(self.rnn(self.embedding(ids))[0])

    config = TrainConfig(batch_size=2, steps=60, optimizer=OptimizerConfig(lr=0.03))
    *_, last = train(Recurrent(31, 32), config, task)
    # docs: end model
    assert last.loss < 0.7 * math.log(31)
    assert last.scores["validation"].coverage == 1.0


def test_an_optimizer_a_schedule_and_a_loss_of_one_s_own():
    task = text_source(2)
    model, config = model_of("gpt"), CONFIG
    # docs: start optimizer
    import torch

    from lmcore import train

    records = train(
        model,
        config,
        task,
        optimizer=lambda model: torch.optim.NAdam(model.parameters(), lr=3e-3),
        schedule=lambda step, steps: min(1, (step + 1) / 4),
        loss=torch.nn.CrossEntropyLoss(label_smoothing=0.1),
    )
    learning_rates = [record.lr for record in records]
    # docs: end optimizer
    assert learning_rates[1:] == pytest.approx([3e-3 * min(1, n / 4) for n in range(1, 9)])


def test_a_metric_of_one_s_own_is_recorded_and_selects():
    task, model, config = text_source(2), model_of("gpt"), CONFIG
    # docs: start metric
    from lmcore import train
    from lmcore.config import with_fields

    def largest_weight(model):
        return max(p.abs().max() for p in model.parameters())

    records = list(
        train(
            model,
            with_fields(config, patience=2),
            task,
            metrics={"largest weight": largest_weight},
            select="largest weight",
        )
    )
    by_step = {r.step: r.metrics["largest weight"] for r in records if r.metrics}
    # docs: end metric
    assert records[-1].stop_reason == "no better largest weight since step 0"
    assert list(by_step) == [0, 2, 4]
    assert by_step[0] == max(p.abs().max().item() for p in model.parameters())


def test_a_loop_of_one_s_own_saves_and_resumes(tmp_path):
    path, losses = tmp_path / "checkpoint.safetensors", []
    # docs: start loop
    import torch

    from lmcore import load_checkpoint, save_checkpoint

    model = torch.nn.Linear(3, 1)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    step = load_checkpoint(path, model, optimizer) if path.exists() else 0
    while step < 10:
        loss = (model(torch.ones(4, 3)) - 1).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        step += 1
        save_checkpoint(path, model, optimizer, step)
        losses.append(loss.item())
    # docs: end loop
    again = torch.nn.Linear(3, 1)
    assert load_checkpoint(path, again, torch.optim.Adam(again.parameters())) == 10
    assert torch.equal(again.weight, model.weight)
    assert losses[-1] < losses[0]


# Models


def test_another_module_with_the_same_logits_learns_what_our_gpt_does():
    class Wrapped(nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner = inner

        def forward(self, ids):
            return self.inner(ids)

    torch.manual_seed(0)
    wrapped = list(train(Wrapped(GPT(TINY)), CONFIG, text_source(2), PLAIN))
    for ours, theirs in zip(runs()[1:], wrapped[1:], strict=True):
        assert ours.loss == pytest.approx(theirs.loss, rel=1e-5)
        assert ours.grad_norm == pytest.approx(theirs.grad_norm, rel=1e-4)
        for name, value in ours.scores.items():
            assert value.nats == pytest.approx(theirs.scores[name].nats, rel=1e-5)


def test_a_forward_that_a_subclass_of_gpt_changes_is_the_one_that_is_trained():
    class Capped(GPT):
        def forward(self, ids):
            return 0 * super().forward(ids)

    torch.manual_seed(0)
    records = list(train(Capped(TINY), CONFIG, text_source(2), PLAIN))
    assert [record.loss for record in records[1:]] == pytest.approx([math.log(31)] * 8)
    assert records[-1].scores["validation"].loss == pytest.approx(math.log(31))


def test_a_model_without_a_config_is_scored_with_a_context_length_and_asks_for_one():
    tokens, model = random_tokens(50), Bigram()
    short, long = (score(model, tokens, 1, context_length=n) for n in (3, 50))
    assert short.nats == pytest.approx(long.nats)  # a bigram sees no further
    with pytest.raises(ValueError, match="Bigram has no config with a context_length"):
        score(model, tokens, 1)


@pytest.mark.parametrize(
    ("output", "says"),
    [
        (lambda ids: ids.float(), r"returns shape \(\d, 8\) for ids of shape \(\d, 8\)"),
        (lambda ids: {"logits": ids}, "returns a dict, not logits: wrap it"),
    ],
)
def test_something_else_than_logits_is_an_error_that_says_what_it_is(output, says):
    model = Bigram()
    model.forward = output
    with pytest.raises(ValueError, match=says):
        list(train(model, CONFIG, text_source(2), PLAIN))


@pytest.mark.parametrize("kind", ["softmax", "softmax-float64", "stablemax"])
def test_the_config_s_loss_is_the_same_for_any_model(kind):
    class Plain(GPT):
        def forward(self, ids):
            return super().forward(ids)

    config = TrainConfig(batch_size=2, steps=1, loss=kind)
    torch.manual_seed(0)
    first = list(train(Plain(TINY), config, text_source(2), PLAIN))[1]
    expected = runs(config=config)[1]
    assert first.loss == pytest.approx(expected.loss, rel=1e-6)
    assert first.grad_norm == pytest.approx(expected.grad_norm, rel=1e-5)


# Optimizers, schedules and losses


@pytest.mark.parametrize("kind", ["gpt", "bigram"])
def test_what_the_config_describes_may_be_given_instead_with_the_same_numbers(kind):
    config = TrainConfig(batch_size=2, steps=8, optimizer=OptimizerConfig(weight_decay=0.0))
    given = runs(
        kind,
        config,
        optimizer=lambda m: torch.optim.AdamW(
            m.parameters(), 1e-3, betas=(0.9, 0.95), weight_decay=0.0
        ),
        schedule=config.schedule.multiplier,
        loss=F.cross_entropy,
    )
    for ours, theirs in zip(runs(kind, config), given, strict=True):
        assert theirs.lr == ours.lr
        assert theirs.loss == pytest.approx(ours.loss, rel=1e-5) if ours.step else True


def test_an_optimizer_may_be_an_instance_and_keeps_its_peak_learning_rate():
    model = Bigram()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    for _ in range(2):
        records = list(
            train(model, CONFIG, text_source(2), PLAIN, optimizer=optimizer, schedule=linear)
        )
        assert [r.lr for r in records[1:]] == pytest.approx([0.5 * (1 - n / 8) for n in range(8)])


def test_our_schedules_are_schedules_that_can_be_given():
    warm = functools.partial(linear, warmup_steps=4)
    rates = [r.lr for r in runs("bigram", schedule=warm)[1:]]
    assert rates == pytest.approx([0.01 * x for x in (0, 0.25, 0.5, 0.75, 1, 0.75, 0.5, 0.25)])


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"optimizer": torch.optim.LBFGS}, "LBFGS needs several gradients"),
        ({"roles": lambda name, p: "head"}, "roles have no effect on an optimizer of your own"),
        ({"config": {"grokfast_lambda": 2.0}}, "grokfast_lambda .* have no effect"),
        ({"optimizer": lambda m: torch.optim.SGD(Bigram().parameters())}, "not in the model"),
    ],
)
def test_an_optimizer_that_cannot_work_is_an_error_before_the_first_step(options, says):
    from lmcore.config import with_fields

    config = with_fields(CONFIG, options.get("config", {}))
    build = options.get("optimizer", torch.optim.SGD)
    optimizer = (lambda m: build(m.parameters())) if isinstance(build, type) else build
    with pytest.raises(ValueError, match=says):
        runs(config=config, optimizer=optimizer, roles=options.get("roles"))


def test_roles_reach_the_optimizer_of_the_config():
    config = TrainConfig(batch_size=2, steps=1, optimizer=OptimizerConfig(kind="muon"))
    *_, last = runs(config=config, roles=lambda name, p: "head" if "mlp" in name else None)
    assert list(last.update_ratios) == ["hidden", "embedding", "head", "vector"]


def test_muon_for_a_model_without_hidden_matrices_is_an_error_that_says_what_to_do():
    config = TrainConfig(batch_size=2, steps=1, optimizer=OptimizerConfig(kind="muon"))
    with pytest.raises(ValueError, match=r"hidden matrices .* has only embedding: take"):
        runs("bigram", config)


def test_a_run_with_an_optimizer_of_one_s_own_resumes_to_the_same_numbers(tmp_path):
    def records(folder, seed):
        torch.manual_seed(seed)
        optimizer = functools.partial(build, torch.optim.NAdam)
        return train(Bigram(), CONFIG, text_source(2), EVERY, folder, optimizer=optimizer)

    from dataclasses import replace

    EVERY = replace(PLAIN, checkpoint_every_s=0.0)
    whole = [replace(r, elapsed_s=0.0) for r in records(None, 0)]
    first = records(tmp_path, 0)
    for _ in range(5):
        next(first)
    first.close()
    rest = [replace(r, elapsed_s=0.0) for r in records(str(tmp_path), 9)]
    assert rest == whole[rest[0].step :]


def build(kind, model):
    return kind(model.parameters(), lr=0.01)


# Metrics


@pytest.mark.parametrize("name", ["loss", "step", "tokens", "validation", "challenge", "metrics"])
def test_a_metric_with_the_name_of_a_record_s_number_is_refused_before_the_first_step(name):
    model = model_of("gpt")
    before = [p.clone() for p in model.parameters()]
    run = train(model, CONFIG, text_source(2), PLAIN, metrics={name: lambda model: 0.0})
    with pytest.raises(ValueError, match=f"already has a number called '{name}'"):
        next(run)
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), before, strict=True))


def test_a_task_s_score_called_loss_is_refused_too():
    task = text_source(2)

    class Task:
        batches_per_epoch, batch = task.batches_per_epoch, task.batch

        def scores(self, model):
            return {"loss": task.scores(model)["validation"]}

    with pytest.raises(ValueError, match="already has a number called 'loss'"):
        next(train(model_of("gpt"), CONFIG, Task(), PLAIN))


def test_metrics_are_kept_with_a_run_like_any_other_number_and_what_is_not_finite_as_none():
    record = Record(step=3, tokens=6, elapsed_s=0.5, metrics={"a": 0.25, "b": math.inf})
    assert record_to_dict(record) == {
        "step": 3,
        "tokens": 6,
        "elapsed_s": 0.5,
        "a": 0.25,
        "b": None,
    }


def test_a_metric_changes_nothing_of_the_run():
    from dataclasses import replace

    def random_metric(model):
        assert not model.training
        assert not torch.is_grad_enabled()
        return {"a": torch.rand(()), "b": 2}

    config = GPT(replace(TINY, dropout=0.5)).config
    plain, measured = (
        [
            replace(record, elapsed_s=0.0, metrics={})
            for record in train(seeded(config), CONFIG, text_source(2), PLAIN, metrics=metrics)
        ]
        for metrics in (None, {"mine": random_metric})
    )
    assert plain == measured
    assert set(runs(metrics={"mine": random_metric})[0].metrics) == {"mine/a", "mine/b"}


def seeded(config):
    torch.manual_seed(3)
    return GPT(config)


def test_something_else_than_a_number_is_an_error_that_names_the_metric():
    with pytest.raises(ValueError, match="the metric 'words' returned a str, not a number"):
        runs(metrics={"words": lambda model: "many"})


def test_a_metric_of_which_more_is_better_selects_the_largest():
    from lmcore.config import with_fields

    values = iter([1.0, 3.0, 2.0, 2.5, 0.0])
    config = with_fields(CONFIG, patience=2)
    *_, last = runs(
        config=config, metrics={"m": lambda _: next(values)}, select="m", select_mode="max"
    )
    assert (last.step, last.stop_reason) == (6, "no better m since step 2")


@pytest.mark.parametrize(
    ("patience", "options", "says"),
    [
        (None, {"select": "m"}, "select 'm' has no effect without a patience"),
        (2, {"select": "m"}, "select names 'm', but scores and metrics are: validation, challenge"),
        (2, {"select_mode": "max"}, "validation is a loss, of which less is better"),
    ],
)
def test_a_selection_that_cannot_be_is_an_error_before_the_first_step(patience, options, says):
    from lmcore.config import with_fields

    run = train(
        model_of("gpt"), with_fields(CONFIG, patience=patience), text_source(2), PLAIN, **options
    )
    with pytest.raises(ValueError, match=says):
        next(run)


# Ignored targets


@pytest.mark.parametrize("kind", ["softmax", "softmax-float64", "stablemax"])
def test_the_plain_cross_entropy_without_any_target_is_zero(kind):
    assert cross_entropy(torch.randn(3, 5), torch.full((3,), -100), kind) == 0
