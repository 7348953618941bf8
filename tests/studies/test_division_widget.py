"""The page that groks: its gradient, written out by hand in JavaScript, is torch's."""

import copy

import pytest
import torch
from made import randomised

from lmcore.model.config import ModelConfig
from lmcore.tasks.modular import ModularConfig

P, D, HEADS, FF, SCALE = 7, 8, 2, 12, 10.0
CONFIG = ModelConfig(
    vocab_size=P + 1, context_length=3, d_model=D, n_layers=1, n_heads=HEADS, d_ff=FF,
    activation="relu", norm="none", bias=False, tie_embeddings=False, dropout=0.0,
    head_scale=SCALE,
)  # fmt: skip
TABLE = torch.tensor(ModularConfig(operations=("/",), p=P).table)
LR, DECAY, STEPS = 0.01, 0.5, 5

GRADIENT = """
import { AdamW, Model } from "./division.mjs";
const { p, sizes, weights, rows, steps, lr, decay } = given;
const lists = (all) => Object.fromEntries(Object.entries(all).map(([name, x]) => [name, [...x]]));
const floats = Object.fromEntries(
  Object.entries(weights).map(([name, x]) => [name, Float32Array.from(x)]));
const model = new Model(p, floats, sizes);
const { loss, gradient } = model.gradient(rows);
const first = lists(gradient);
const shares = model.probabilities(rows).map((row) => [...row]);
const optimizer = new AdamW(floats, { lr, decay, warmup: 1 });
for (let i = 0; i < steps; i++) optimizer.update(model.gradient(rows).gradient);
answer({ loss, gradient: first, shares, trained: lists(floats) });
"""


@pytest.fixture(scope="module")
def both(node):
    """A model of torch with its gradient, and what the page made of the same weights and rows."""
    model = randomised(CONFIG, std=0.4)
    names = [name for name, _ in model.named_parameters()]
    rows = [
        dict(zip(("a", "b", "answer"), row, strict=True)) for row in TABLE[:, [0, 1, 3]].tolist()
    ]
    given = {
        "p": P,
        "sizes": {"d": D, "heads": HEADS, "ff": FF, "scale": SCALE},
        "weights": {name: w.flatten().tolist() for name, w in model.named_parameters()},
        "rows": rows, "steps": STEPS, "lr": LR, "decay": DECAY,
    }  # fmt: skip
    return model, names, node(GRADIENT, given)


def loss_of(model):
    return torch.nn.functional.cross_entropy(model(TABLE[:, :3])[:, -1], TABLE[:, 3])


def test_the_page_s_loss_and_gradient_are_torch_s(both):
    model, names, found = both
    loss = loss_of(model)
    gradients = torch.autograd.grad(loss, list(model.parameters()))
    assert found["loss"] == pytest.approx(loss.item(), rel=1e-5)
    assert set(found["gradient"]) == set(names)
    for name, gradient in zip(names, gradients, strict=True):
        assert gradient.abs().max() > 1e-3
        theirs = torch.tensor(found["gradient"][name]).reshape(gradient.shape)
        torch.testing.assert_close(theirs, gradient, rtol=1e-4, atol=1e-6)


def test_the_page_s_probabilities_are_torch_s(both):
    model, _, found = both
    with torch.no_grad():
        expected = model(TABLE[:, :3])[:, -1].softmax(-1)
    torch.testing.assert_close(torch.tensor(found["shares"]), expected, rtol=0, atol=1e-6)


def test_the_page_s_adamw_is_torch_s(both):
    model, names, found = copy.deepcopy(both)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=LR, betas=(0.9, 0.98), eps=1e-8, weight_decay=DECAY
    )
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss_of(model).backward()
        optimizer.step()
    for name, weight in zip(names, model.parameters(), strict=True):
        theirs = torch.tensor(found["trained"][name]).reshape(weight.shape)
        torch.testing.assert_close(theirs, weight.detach(), rtol=0, atol=1e-4)


DONE = """
import { isDone, solvedAt } from "./grok.mjs";
const records = given.map((unseen, i) => ({ step: 10 * i, unseen }));
const upTo = given.map((_, i) => records.slice(0, i + 1));
answer({ done: upTo.map(isDone), solved: upTo.map((some) => solvedAt(some) ?? null) });
"""


def test_training_stops_once_five_evaluations_in_a_row_are_right(node):
    found = node(DONE, [0, 0.5, 1, 0.98, 0.99, 1, 1, 1, 0.99, 1, 0.5])
    assert found["done"] == [False] * 8 + [True, False, False]
    assert found["solved"] == [None] * 8 + [40, 40, 40]


SPLIT = """
import { table } from "./division.mjs";
answer([0.3, 0.6].map((share) => table(given, share, 4)));
"""


def test_the_page_s_table_is_right_and_its_sets_share_nothing(node):
    right = {(a, b): answer for a, b, _, answer in TABLE.tolist()}
    for share, found in zip((0.3, 0.6), node(SPLIT, P), strict=True):
        sets = {name: {(row["a"], row["b"]) for row in found[name]} for name in ("train", "unseen")}
        assert sets["train"] | sets["unseen"] == set(right)
        assert not sets["train"] & sets["unseen"]
        assert len(sets["train"]) == round(share * len(right))
        assert all(right[row["a"], row["b"]] == row["answer"] for row in found["rows"])
