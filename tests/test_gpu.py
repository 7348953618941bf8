"""What a GPU computes beside what the CPU does, and the kernels that only a GPU has."""

import signal
import threading
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from made import PLAIN, TINY, randomised, text_source

from lmcore.checkpoint import latest_checkpoint
from lmcore.flex import blocks_within
from lmcore.loss import linear_cross_entropy
from lmcore.model import GPT
from lmcore.runtime import Runtime
from lmcore.sample import Sampling, generate
from lmcore.source import Batch
from lmcore.train import BatchLoss, TrainConfig, train

pytestmark = [
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU"),
    pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning"),  # torch's own
]
GPU = Runtime(device="cuda", precision="float32", compile="no")
WIDE = replace(
    TINY, vocab_size=331, context_length=256, d_model=64, n_heads=4, d_ff=128, positions="rope",
    norm="rms",
)  # fmt: skip
SHAPES = {
    "heads of their own": WIDE,
    "grouped heads": replace(WIDE, n_kv_heads=2, activation="swiglu", bias=False),
}
PLAN = TrainConfig(epochs=None, steps=8, batch_size=2, lr=1e-3, optimizer="adamw", evaluate_at=())


def long_documents(rows=2, seq=256):
    """Return document numbers whose borders lie anywhere."""
    generator = torch.Generator().manual_seed(0)
    return (torch.rand(rows, seq, generator=generator) < 0.02).cumsum(1)


def loss_and_gradients(model, runtime, batch):
    """Return what training sees of a batch on the GPU, all in float32."""
    loss = BatchLoss(model, runtime, "softmax")(*batch.to("cuda"))
    return [each.float() for each in (loss, *torch.autograd.grad(loss, [*model.parameters()]))]


def relative_error(found, expected):
    return ((found - expected).norm() / expected.norm()).item()


@pytest.mark.parametrize("config", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize(("precision", "most"), [("float32", 1e-4), ("bfloat16", 3e-2)])
def test_compiled_blocks_and_a_mask_give_one_loss_and_one_gradient(config, precision, most):
    model = randomised(config, std=0.1).cuda().train()
    ids = torch.randint(331, (2, 257), generator=torch.Generator().manual_seed(1))
    batch = Batch(ids[:, :-1], ids[:, 1:].contiguous(), long_documents())
    with_blocks = replace(GPU, precision=precision, compile="yes")
    assert with_blocks.document_attention(0.0) == "flex"
    found = loss_and_gradients(model, with_blocks, batch)
    for one, other in zip(found, loss_and_gradients(model, GPU, batch), strict=True):
        assert relative_error(one, other) < most


def test_blocks_on_a_gpu_know_where_documents_end():
    documents = torch.arange(4).repeat_interleave(128)[None].cuda()
    assert blocks_within(documents).sparsity() == 75.0


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
@pytest.mark.parametrize("vocab", [64, 331])
def test_the_head_loss_on_a_gpu_equals_torchs_whatever_the_vocabulary(vocab, compiled):
    generator = torch.Generator("cuda").manual_seed(0)
    x, weight = (
        torch.randn(n, 16, device="cuda", generator=generator, requires_grad=True)
        for n in (20, vocab)
    )
    targets = torch.randint(vocab, (20,), device="cuda", generator=generator)
    ours = linear_cross_entropy(x, weight, targets, rows=8, compiled=compiled)
    theirs = F.cross_entropy(F.linear(x, weight), targets)
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-6)
    gradients = [torch.autograd.grad(loss, (x, weight)) for loss in (ours, theirs)]
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


def losses(runtime, folder=None, **changes):
    torch.manual_seed(0)
    plan = replace(PLAN, **changes)
    return [r.loss for r in train(GPT(TINY), plan, text_source(2), runtime, folder) if r.step]


@pytest.mark.parametrize("optimizer", [{}, {"optimizer": "muon", "momentum": 0.95}])
def test_a_gpu_learns_what_a_cpu_learns(optimizer):
    expected = losses(PLAIN, **optimizer)
    assert losses(GPU, **optimizer) == pytest.approx(expected, rel=1e-2 if optimizer else 1e-4)
    compiled = losses(replace(GPU, precision="bfloat16", compile="yes"), **optimizer)
    assert compiled == pytest.approx(expected, rel=1e-2)


def test_a_run_with_dropout_stopped_on_a_gpu_goes_on_to_the_same_numbers(tmp_path):
    plan, runtime = replace(PLAN, evaluate_every=2), replace(GPU, checkpoint_every_s=0.0)

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
    assert [loss for _, loss in rest] == pytest.approx([loss for _, loss in whole[4:]], rel=1e-6)


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
    prompts, greedy = [[1], [5, 6, 7, 8], [9, 10]], Sampling(temperature=0)
    expected = generate(model, prompts, 40, greedy)
    assert generate(model.cuda(), prompts, 40, greedy) == expected


def test_a_batch_that_is_on_the_gpu_stays_where_it_is():
    x = torch.zeros(2, 3, dtype=torch.int64, device="cuda")
    assert Batch(x, x).to("cuda").x is x
