"""RMSNorm against torch's own."""

import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from lmcore.model.norm import rms_norm


@given(scale=st.floats(1e-3, 1e4))
def test_rms_norm_equals_torchs(scale):
    x = scale * torch.randn(3, 8, generator=torch.Generator().manual_seed(0))
    weight = torch.randn(8, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(rms_norm(x, weight, 1e-5), F.rms_norm(x, (8,), weight, 1e-5))


def test_rms_norm_of_bfloat16_is_computed_in_float32():
    x = torch.randn(4, 8, generator=torch.Generator().manual_seed(0)).bfloat16()
    expected = rms_norm(x.float(), torch.ones(8), 1e-5).bfloat16()
    assert torch.equal(rms_norm(x, torch.ones(8), 1e-5), expected)
