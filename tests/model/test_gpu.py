"""What a GPU computes beside what the CPU does, and the kernels that only a GPU has."""

import json
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from made import PLAIN, TINY, randomised, text_source

from lmcore.config import with_fields
from lmcore.generation.generate import generate
from lmcore.generation.sampling import Sampling
from lmcore.model.flex import document_block_mask
from lmcore.model.gpt import GPT
from lmcore.tasks.protocols import Batch
from lmcore.training.checkpoint import latest_checkpoint
from lmcore.training.config import EvaluationConfig, OptimizerConfig, TrainConfig
from lmcore.training.loop import train
from lmcore.training.loss import linear_cross_entropy
from lmcore.training.runtime import Runtime

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
GPU = Runtime(device="cuda", precision="float32", compile="no")
PLAN = TrainConfig(
    steps=8,
    batch_size=2,
    order="sequential",
    optimizer=OptimizerConfig(lr=1e-3, kind="adamw", weight_decay=0.0),
    evaluation=EvaluationConfig(eval_at=()),
)


@pytest.fixture(scope="module")
def errors():
    """Relative errors of compiled code, measured in one process of its own."""
    program = Path(__file__).with_name("on_gpu.py")
    done = subprocess.run([sys.executable, program], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def test_compiled_training_has_the_plain_one_s_loss_and_gradient(errors):
    assert {name: error for name, error in errors["training"].items() if error > most(name)} == {}


def test_the_head_loss_equals_torchs_whatever_the_vocabulary(errors):
    assert {name: error for name, error in errors["head"].items() if error > most(name)} == {}


def most(name):
    """Return the relative error that the precision in name explains."""
    return 3e-2 if "bfloat16" in name else 1e-4


@pytest.mark.parametrize("kind", ["stablemax", "softmax-float64"])
def test_the_other_losses_leave_out_what_fills_the_vocabulary_up(kind):
    generator = torch.Generator().manual_seed(0)
    x, weight = (torch.randn(n, 16, generator=generator, requires_grad=True) for n in (20, 331))
    targets = torch.randint(331, (20,), generator=generator)
    losses = [
        linear_cross_entropy(*(each.to(device) for each in (x, weight, targets)), kind=kind)
        for device in ("cuda", "cpu")
    ]
    torch.testing.assert_close(losses[0].cpu(), losses[1], rtol=1e-5, atol=1e-5)
    gradients = [torch.autograd.grad(loss, (x, weight)) for loss in losses]
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_enormous_logits_on_a_gpu_have_a_finite_loss():
    x, weight = torch.tensor([[1e4], [-1e4]]).cuda(), torch.tensor([[1.0], [-1.0], [0.0]]).cuda()
    targets = torch.tensor([0, 0]).cuda()
    assert linear_cross_entropy(x, weight, targets).item() == pytest.approx(1e4)
    assert F.cross_entropy(F.linear(x, weight), targets).item() == pytest.approx(1e4)


def test_blocks_on_a_gpu_know_where_documents_end():
    documents = torch.arange(4).repeat_interleave(128)[None].cuda()
    assert document_block_mask(documents).sparsity() == 75.0


def losses(runtime, **changes):
    torch.manual_seed(0)
    plan = with_fields(PLAN, changes)
    return [r.loss for r in train(GPT(TINY), plan, text_source(2), runtime) if r.step]


@pytest.mark.parametrize(
    ("changes", "error"), [({}, 1e-4), ({"optimizer.kind": "muon", "momentum": 0.95}, 1e-2)]
)
def test_a_gpu_learns_what_a_cpu_learns(changes, error):
    expected = losses(PLAIN, **changes)
    assert losses(GPU, **changes) == pytest.approx(expected, rel=error)
    assert losses(replace(GPU, precision="bfloat16"), **changes) == pytest.approx(
        expected, rel=1e-2
    )


def test_a_run_with_dropout_stopped_on_a_gpu_goes_on_to_the_same_numbers(tmp_path):
    plan, runtime = with_fields(PLAN, eval_every=2), replace(GPU, checkpoint_every_s=0.0)

    def records(seed, folder):
        torch.manual_seed(seed)
        return train(GPT(replace(TINY, dropout=0.2)), plan, text_source(2), runtime, folder)

    whole = [(r.step, r.loss) for r in records(0, tmp_path / "whole") if r.step]
    first = records(0, tmp_path / "stopped")
    while next(first).step < 5:
        pass
    first.close()
    rest = [(r.step, r.loss) for r in records(99, tmp_path / "stopped")]
    assert [step for step, _ in rest] == [5, 6, 7, 8]
    assert [loss for _, loss in rest] == pytest.approx([loss for _, loss in whole[4:]], rel=1e-5)


def test_ctrl_c_on_a_gpu_is_heard_after_the_step_under_way(tmp_path):
    plan = replace(PLAN, steps=10_000)
    threading.Timer(2.0, signal.raise_signal, [signal.SIGINT]).start()
    records = train(GPT(TINY), plan, text_source(2), GPU, tmp_path)
    with pytest.raises(KeyboardInterrupt):
        list(records)
    assert latest_checkpoint(tmp_path) is not None


@pytest.mark.parametrize("positions", ["learned", "rope"])
def test_a_gpu_writes_the_text_that_a_cpu_writes(positions):
    model = randomised(replace(TINY, context_length=32, positions=positions))
    prompts, greedy = [[1], [5, 6, 7, 8], [9, 10]], Sampling(temperature=0.0)
    expected = generate(model, prompts, 40, greedy)
    assert generate(model.cuda(), prompts, 40, greedy) == expected


def test_a_batch_that_is_on_the_gpu_stays_where_it_is():
    x = torch.zeros(2, 3, dtype=torch.int64, device="cuda")
    assert Batch(x, x).to("cuda").x is x
