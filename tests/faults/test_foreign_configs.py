"""Configurations of other programs: what transformers reads is read alike here, or refused."""

import json
import random
import tracemalloc

import pytest
import torch
from safetensors.torch import save_file
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from lmcore.generation.saved_model import load, save
from lmcore.model.config import ModelConfig
from lmcore.model.gpt import GPT
from lmcore.model.interop import load_pretrained
from lmcore.tokenizer.byte_bpe import Tokenizer

pytestmark = pytest.mark.usefixtures("no_type_checks")

N_CONFIGS = 70

ROPE = {
    "rope_type": ["default", "llama3", "llama3", "llama3", "linear", "dynamic", "yarn"],
    "factor": [1.0, 2.0, 8],
    "low_freq_factor": [1.0, 1, 2.0],
    "high_freq_factor": [4.0, 3],
    "original_max_position_embeddings": [8, 16, 64],
    "rope_theta": [100.0, 10_000, 500_000.0],
    "partial_rotary_factor": [1.0, 0.5],
    "full_attention": [{"rope_type": "linear", "factor": 2.0}],
}
LLAMA = {
    "num_hidden_layers": [1, 2],
    "num_attention_heads": [1, 2, 4],
    "max_position_embeddings": [32, 64, 2048],
    "num_key_value_heads": [1, 2, None],
    "head_dim": [4, 8, 16, None],
    "hidden_act": ["silu", "swish", "gelu"],
    "rms_norm_eps": [1e-5, 0.1],
    "tie_word_embeddings": [True, False],
    "attention_bias": [True, False],
    "mlp_bias": [True, False],
    "rope_theta": [100.0, 10_000],
    "rope_scaling": [ROPE, ROPE, None, {}],
    "rope_parameters": [ROPE, None, {}],
    "original_max_position_embeddings": [8, 16, 64],
    "partial_rotary_factor": [1.0, 0.5],
    "is_causal": [True, False],
    "sliding_window": [4],
    "layer_types": [["full_attention"] * 2, ["sliding_attention"] * 2],
    "logits_scaling": [2.0],
    "qk_norm": [True],
}
GPT2 = {
    "n_layer": [1, 2],
    "n_head": [1, 2, 4],
    "n_inner": [24, None],
    "activation_function": ["gelu_new", "gelu", "relu", "quick_gelu"],
    "layer_norm_epsilon": [1e-5, 0.1],
    "tie_word_embeddings": [True, False],
    "scale_attn_weights": [True, False],
    "scale_attn_by_inverse_layer_idx": [True, False],
    "num_attention_heads": [1, 2, 4],
    "num_hidden_layers": [1, 2],
    "max_position_embeddings": [32],
    "hidden_size": [16],
    "is_causal": [True, False],
    "n_ctx": [16],
}
KINDS = {
    "llama": (LLAMA, LlamaConfig, LlamaForCausalLM, {"hidden_size": 16, "intermediate_size": 24}),
    "gpt2": (GPT2, GPT2Config, GPT2LMHeadModel, {"n_embd": 16, "n_positions": 32}),
}
SIZES = {
    "llama": {"num_hidden_layers": 1, "num_attention_heads": 2, "max_position_embeddings": 64},
    "gpt2": {"n_layer": 1, "n_head": 2},
}


def drawn(rng, choices, share):
    """Return a few of the choices, a random value for each; a dict of choices is drawn too."""
    out = {}
    for name, values in choices.items():
        if rng.random() < share:
            value = rng.choice(values)
            out[name] = drawn(rng, ROPE, 0.8) if value is ROPE else value
    return out


def peer(model_type, fields):
    """Return transformers' model of these fields, every number random; None if it refuses them."""
    _, config, model, _ = KINDS[model_type]
    try:
        theirs = model(config.from_dict(json.loads(json.dumps(fields)))).eval()
        generator = torch.Generator().manual_seed(0)
        for p in theirs.parameters():
            torch.nn.init.normal_(p, std=0.3, generator=generator)
        with torch.no_grad():
            return theirs.state_dict(), theirs(IDS).logits, theirs.config.tie_word_embeddings
    except Exception:  # it has no class of errors for what is wrong with a config
        return None


IDS = torch.randint(31, (2, 24), generator=torch.Generator().manual_seed(1))


def written(folder, fields, weights, is_tied):
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(fields))
    weights = {name: weight.contiguous() for name, weight in weights.items()}
    if is_tied:
        weights.pop("lm_head.weight", None)
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    return folder


@pytest.mark.parametrize("model_type", KINDS)
def test_a_random_config_gives_the_logits_of_transformers_or_is_refused(model_type, tmp_path):
    rng, outcomes = random.Random(0), {"equal": 0, "refused": 0}
    choices, *_, fixed = KINDS[model_type]
    for number in range(N_CONFIGS):
        fields = {"model_type": model_type, "vocab_size": 31, **fixed, **SIZES[model_type]}
        fields |= drawn(rng, choices, 0.2)
        theirs = peer(model_type, fields)
        if theirs is None:
            continue
        weights, logits, is_tied = theirs
        try:
            ours = load_pretrained(written(tmp_path / str(number), fields, weights, is_tied))
        except ValueError:
            outcomes["refused"] += 1
            continue
        with torch.no_grad():
            assert (ours(IDS) - logits).abs().max() < 2e-3, fields
        outcomes["equal"] += 1
    assert outcomes["equal"] > 20 < N_CONFIGS - outcomes["refused"]


STRETCH = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}


@pytest.mark.parametrize("place", ["rope_scaling", "rope_parameters"])
@pytest.mark.parametrize("inside", [{}, {"original_max_position_embeddings": 8}])
def test_the_original_context_is_read_at_the_top_level_too(place, inside, tmp_path):
    fields = {"model_type": "llama", "vocab_size": 31, **KINDS["llama"][3], **SIZES["llama"]}
    fields |= {place: STRETCH | inside, "original_max_position_embeddings": 16}
    weights, logits, is_tied = peer("llama", fields)
    ours = load_pretrained(written(tmp_path / "m", fields, weights, is_tied))
    assert ours.config.rope_scaling.original_context_length == 16
    with torch.no_grad():
        torch.testing.assert_close(ours(IDS), logits, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"is_causal": False}, "is_causal False has no counterpart"),
        ({"num_attention_heads": 4}, "n_head 2 and num_attention_heads 4 are the same size"),
        ({"hidden_size": 8}, "n_embd 16 and hidden_size 8 are the same size"),
        ({"n_layer": 1.0}, "n_layer: missing, or not a whole number"),
        ({"n_layer": True}, "n_layer: missing, or not a whole number"),
        ({"layer_norm_epsilon": "1e-5"}, "norm_eps must be a number, not '1e-5'"),
        ({"n_layer": 10**6}, "describes a model of .* parameters, and the folder has weights of"),
        ({"vocab_size": 10**12}, "describes a model of .* parameters"),
        ({"n_positions": 2**62}, "describes a model of .* parameters"),
        ({"n_inner": 10**400}, "d_ff must be a whole number"),
    ],
    ids=str,
)
def test_a_field_that_would_be_read_otherwise_is_refused_by_name(changes, message, tmp_path):
    fields = {"model_type": "gpt2", "vocab_size": 31, **KINDS["gpt2"][3], **SIZES["gpt2"]}
    weights, _, is_tied = peer("gpt2", fields)
    folder = written(tmp_path / "m", fields | changes, weights, is_tied)
    tracemalloc.start()
    with pytest.raises(ValueError, match=rf"config\.json.*{message}"):
        load_pretrained(folder)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 20e6


def test_rope_of_its_own_for_some_layers_is_refused(tmp_path):
    fields = {"model_type": "llama", "vocab_size": 31, **KINDS["llama"][3], **SIZES["llama"]}
    weights, _, is_tied = peer("llama", fields)
    fields["rope_parameters"] = {"full_attention": STRETCH}
    with pytest.raises(ValueError, match="RoPE of its own for full_attention"):
        load_pretrained(written(tmp_path / "m", fields, weights, is_tied))


@pytest.mark.parametrize("norm", ["layer", "none"])  # transformers' layout, and our own
@pytest.mark.parametrize("name", ["n_layers", "vocab_size", "d_model", "d_ff", "context_length"])
def test_absurd_sizes_in_a_saved_model_are_refused_before_anything_is_made(norm, name, tmp_path):
    config = ModelConfig(vocab_size=270, d_model=8, n_layers=1, n_heads=2, norm=norm)
    save(tmp_path, GPT(config), Tokenizer.train(["the cat sat on the mat"], 262))
    path = tmp_path / "config.json"
    fields = json.loads(path.read_text())
    fields["lmcore"]["model"][name] = 2**40
    del fields["lmcore"]["checksum"]  # a file that was written so is not a damaged one
    path.write_text(json.dumps(fields))
    with pytest.raises(ValueError, match=r"config\.json describes a model of .* parameters"):
        load(tmp_path)


@pytest.mark.parametrize("name", ["../other.safetensors", "/dev/zero", "a/b.safetensors", "..", ""])
def test_an_index_names_files_of_its_own_folder_only(name, tmp_path):
    fields = {"model_type": "gpt2", "vocab_size": 31, **KINDS["gpt2"][3], **SIZES["gpt2"]}
    (tmp_path / "config.json").write_text(json.dumps(fields))
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"transformer.wte.weight": name}}))
    with pytest.raises(ValueError, match=r"which is no file of its folder|is missing or damaged"):
        load_pretrained(tmp_path)
