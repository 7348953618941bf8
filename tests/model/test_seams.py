"""Examples for the documentation: the blocks alone, made from plain numbers."""


def test_blocks_are_used_alone_from_plain_numbers():
    # docs: start blocks
    import torch

    from lmcore.model import MLP, Attention, Block, RMSNorm, RoPE, cross_entropy

    x = torch.randn(2, 10, 64)  # any leading dimensions, then seq and d_model
    normed = RMSNorm(64)(x)
    mixed = Attention(64, n_heads=4, n_kv_heads=2, rope=RoPE(base=10_000.0))(normed)
    y = MLP(64, d_ff=192, activation="swiglu")(mixed)
    block = Block(64, n_heads=4, norm="rms", rope=RoPE())
    loss = cross_entropy(block(y), torch.randint(64, (2, 10)))
    # docs: end blocks
    assert y.shape == x.shape
    assert loss.isfinite()
