"""Measure how far what a GPU compiles lies from what plain code computes, without type checks.

Run as a program by test_gpu.py; it writes one JSON object of relative errors.
"""

import json
from dataclasses import replace

import torch
import torch.nn.functional as F
from made import TINY, randomised

from lmcore.tasks.protocols import Batch
from lmcore.training.loss import linear_cross_entropy
from lmcore.training.runtime import Runtime
from lmcore.training.step import batch_loss

PLAIN = Runtime(device="cuda", precision="float32", compile="no")
WIDE = replace(
    TINY, vocab_size=331, context_length=256, d_model=64, n_heads=4, d_ff=128, positions="rope",
    norm="rms",
)  # fmt: skip
SHAPES = {
    "heads of their own": WIDE,
    "grouped heads": replace(WIDE, n_kv_heads=2, activation="swiglu", bias=False),
}


def relative_error(found, expected):
    return ((found.float() - expected.float()).norm() / expected.float().norm()).item()


def worst(found, expected):
    return max(map(relative_error, found, expected))


def of_batch(model, runtime, batch):
    """Return the loss of a batch as training computes it, and all gradients."""
    loss = batch_loss(model, runtime)(*batch.to("cuda"))
    return [loss, *torch.autograd.grad(loss, [*model.parameters()])]


def of_training(config, precision, within_documents):
    """Return how far compiled training is from plain, both on the GPU."""
    torch._dynamo.reset()
    model = randomised(config, std=0.1).cuda().train()
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(config.vocab_size, (2, 257), generator=generator)
    documents = (torch.rand(2, 256, generator=generator) < 0.02).cumsum(1)
    batch = Batch(ids[:, :-1], ids[:, 1:].contiguous(), documents if within_documents else None)
    compiled = replace(PLAIN, precision=precision, compile="yes")
    assert compiled.document_attention(0.0) == "flex"
    return worst(of_batch(model, compiled, batch), of_batch(model, PLAIN, batch))


def of_head(vocab, dtype):
    """Return how far the head's loss and gradients are from torch's in float32."""
    generator = torch.Generator("cuda").manual_seed(0)
    x, weight = (
        torch.randn(n, 16, device="cuda", generator=generator).to(dtype).requires_grad_()
        for n in (20, vocab)
    )
    targets = torch.randint(vocab, (20,), device="cuda", generator=generator)
    ours = linear_cross_entropy(x, weight, targets, rows=8)
    theirs = F.cross_entropy(F.linear(x.float(), weight.float()), targets)
    gradients = [torch.autograd.grad(loss, (x, weight)) for loss in (ours, theirs)]
    return worst((ours, *gradients[0]), (theirs, *gradients[1]))


print(
    json.dumps(
        {
            "training": {
                f"{shape}, {precision}, {'within documents' if within else 'across'}": of_training(
                    config, precision, within
                )
                for shape, config in SHAPES.items()
                for precision in ("float32", "bfloat16")
                for within in (False, True)
            },
            "head": {
                f"{vocab} entries, {str(dtype).removeprefix('torch.')}": of_head(vocab, dtype)
                for vocab in (64, 331, 20_001)
                for dtype in (torch.float32, torch.bfloat16)
            },
        }
    )
)
