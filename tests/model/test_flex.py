"""FlexAttention within documents beside the mask that a CPU takes: one result, one gradient.

On a CPU torch refuses its backward pass, which the compiled kernel there lacks; the plain version
that torch checks its kernels by has one, and is what runs here. No GPU takes part.
"""

from dataclasses import replace

import pytest
import torch
from made import PLAIN, TINY, randomised

from lmcore.model.dot_product import attend
from lmcore.model.flex import attend_in_blocks, document_block_mask
from lmcore.model.masks import document_mask
from lmcore.training.runtime import Runtime

pytestmark = [
    pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile"),
    pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor"),  # torch asks for it
]
DOCUMENTS = torch.tensor([[4] * 3 + [9] * 14 + [2] * 3, [0, 1] + [2] * 9 + [0] * 9])
GROUPED = replace(
    TINY, context_length=20, positions="rope", norm="rms", activation="swiglu", bias=False,
    n_heads=4, n_kv_heads=2,
)  # fmt: skip
KINDS = {"learned": replace(TINY, context_length=20), "grouped heads, rope": GROUPED}


@pytest.fixture
def with_backward(monkeypatch):
    """Let torch take the gradient of its plain version on a CPU."""
    monkeypatch.setattr("torch.nn.attention.flex_attention._validate_device", lambda *_: None)


def assert_equal(found, expected):
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("kv_heads", [4, 2, 1])
def test_blocks_and_a_mask_give_one_result_and_one_gradient(with_backward, kv_heads):
    generator = torch.Generator().manual_seed(0)
    q, k, v = (
        torch.randn(2, n, 20, 8, generator=generator, requires_grad=True)
        for n in (4, kv_heads, kv_heads)
    )
    found = attend_in_blocks(q, k, v, document_block_mask(DOCUMENTS))
    all_k, all_v = (each.repeat_interleave(4 // kv_heads, 1) for each in (k, v))
    expected = attend(q, all_k, all_v, document_mask(DOCUMENTS))
    assert_equal(found, expected)
    gradients = [torch.autograd.grad(y.square().mean(), (q, k, v)) for y in (found, expected)]
    for one, other in zip(*gradients, strict=True):
        assert_equal(one, other)


@pytest.mark.parametrize("config", KINDS.values(), ids=KINDS)
def test_a_model_in_blocks_has_the_masked_one_s_features_and_gradients(with_backward, config):
    model = randomised(config, std=0.1)
    ids = torch.randint(31, (2, 20), generator=torch.Generator().manual_seed(0))
    gradients = []
    for blocks in (None, document_block_mask(DOCUMENTS)):
        features = model.hidden(ids, DOCUMENTS, block_mask=blocks)
        gradients.append(
            [features, *torch.autograd.grad(features.square().mean(), [*model.parameters()])]
        )
    for one, other in zip(*gradients, strict=True):
        assert_equal(one, other)


def test_whole_blocks_of_another_document_are_skipped():
    documents = torch.arange(4).repeat_interleave(128)[None]
    assert document_block_mask(documents).sparsity() == 75.0


ON_A_GPU = Runtime(device="cuda", precision="bfloat16", compile="yes")


@pytest.mark.parametrize(
    ("runtime", "dropout", "expected"),
    [
        (ON_A_GPU, 0.0, "flex"),
        (replace(ON_A_GPU, device="cuda:1"), 0.0, "flex"),
        (ON_A_GPU, 0.1, "masked"),
        (replace(ON_A_GPU, compile="no"), 0.0, "masked"),
        (replace(ON_A_GPU, flex="no"), 0.0, "masked"),
        (PLAIN, 0.0, "masked"),
        (replace(PLAIN, compile="yes"), 0.0, "masked"),
    ],
)
def test_blocks_are_for_compiled_training_on_a_gpu_without_dropout(runtime, dropout, expected):
    assert runtime.document_attention(dropout) == expected
