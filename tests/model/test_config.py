"""What a model's config accepts and derives."""

import pytest

from lmcore.model.config import ModelConfig

SIZES = ("vocab_size", "context_length", "d_model", "n_layers", "n_heads", "d_ff")


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"d_model": 130, "n_heads": 4}, "d_model 130 does not split into 4 heads"),
        ({"n_kv_heads": 3}, "8 heads of 64 features cannot share 3 key/value heads"),
        ({"n_kv_heads": 0}, "cannot share 0 key/value heads"),
        ({"head_size": 0}, "8 heads of 0 features"),
        ({"positions": "rope", "head_size": 5}, "d_head 5 is odd"),
        ({"positions": "sinusoidal", "d_model": 9, "n_heads": 3}, "even d_model, not 9"),
        ({"rope_base": 0.0}, r"rope_base must be above 0, not 0\.0"),
        ({"parallel_residual": True, "norm_at": "post"}, "norm_at 'pre'"),
        ({"initialisation": "truncated"}, "set tie_embeddings=False"),
        ({"dropout": 1.0}, r"dropout must be in \[0, 1\), not 1\.0"),
        ({"dropout": -0.1}, r"not -0\.1"),
        *(({name: 0}, f"{name} must be at least 1, not 0") for name in SIZES),
    ],
)
def test_an_impossible_config_is_an_error_with_its_values(wrong, says):
    with pytest.raises(ValueError, match=says):
        ModelConfig(**{"vocab_size": 10} | wrong)


@pytest.mark.parametrize(
    ("options", "d_hidden"),
    [({}, 2048), ({"d_ff": 100}, 100), ({"activation": "swiglu"}, 1344), ({"d_model": 64}, 256)],
)
def test_the_hidden_size_is_d_ff_or_follows_from_d_model_and_the_activation(options, d_hidden):
    assert ModelConfig(vocab_size=10, **options).d_hidden == d_hidden
