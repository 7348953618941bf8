"""Folders of transformers read and written, beside transformers itself, every number random."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from made import TINY
from safetensors.torch import load_file, safe_open, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer, GPT2Config, LlamaConfig
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

import lmcore
from lmcore import GPT, Tokenizer
from lmcore.model.interop import load_pretrained, save_pretrained
from lmcore.model.interop.gpt2 import ACTIVATIONS
from lmcore.model.rope import RopeScaling, rope_table

STRETCH = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
GPT2S = {
    "gpt2": {},
    "width and eps": {"n_inner": 24, "layer_norm_epsilon": 1e-2},
    "untied": {"tie_word_embeddings": False},
} | {name: {"activation_function": name} for name in ACTIVATIONS}
LLAMAS = {
    "llama": {},
    "grouped heads": {"num_key_value_heads": 2, "rms_norm_eps": 1e-2},
    "wide heads": {"head_dim": 6, "num_key_value_heads": 1},
    "attention biases": {"attention_bias": True},
    "mlp biases": {"mlp_bias": True},
    "all biases": {"attention_bias": True, "mlp_bias": True},
    "tie_embeddings": {"tie_word_embeddings": True},
    "base": {"rope_parameters": {"rope_type": "default", "rope_theta": 100.0}},
    "llama3": {"rope_parameters": {"rope_theta": 10_000.0} | STRETCH},
    "linear": {"rope_parameters": {"rope_type": "linear", "rope_theta": 1e4, "factor": 3.0}},
}
OURS_LLAMA = replace(
    TINY,
    positions="rope",
    norm="rms",
    activation="swiglu",
    bias=False,
    tie_embeddings=False,
    n_heads=4,
)
OURS = {
    "baseline": TINY,
    "gpt2": replace(TINY, activation="gelu_tanh", norm_eps=1e-2, dropout=0.2),
    "relu": replace(TINY, activation="relu"),
    "relu2": replace(TINY, activation="relu2", tie_embeddings=False),
    "silu": replace(TINY, activation="silu"),
    "llama": OURS_LLAMA,
    "grouped heads": replace(OURS_LLAMA, n_kv_heads=2, rope_base=500.0, norm_eps=1e-2),
    "wide heads": replace(OURS_LLAMA, head_size=6, n_kv_heads=1, tie_embeddings=True),
    "biases": replace(OURS_LLAMA, bias=True),
    "stretched": replace(
        OURS_LLAMA,
        rope_scaling=RopeScaling(
            factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_context_length=4
        ),
    ),
}


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


def randomised(model, seed=0):
    """Return a model in evaluation mode whose every number, biases and norms too, is random."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in model.parameters():
            p.normal_(std=0.3, generator=generator)
    return model.eval()


def peer(kind):
    """Return a random model of transformers of one of the kinds above."""
    if kind in GPT2S:
        sizes = {"n_positions": 8, "n_embd": 16, "n_layer": 2, "n_head": 2}
        config = GPT2Config(vocab_size=31, **sizes, **GPT2S[kind])
    else:
        sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4}
        sizes |= {"intermediate_size": 24, "max_position_embeddings": 64}
        config = LlamaConfig(vocab_size=31, **sizes, **LLAMAS[kind])
    return randomised(AutoModelForCausalLM.from_config(config))


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Return a function that gives a folder with a peer of a kind, the same one each time."""
    root = tmp_path_factory.mktemp("saved")

    def folder(kind):
        if not (root / kind).exists():
            peer(kind).save_pretrained(root / kind)
        return root / kind

    return folder


@pytest.fixture
def gpt2(saved, tmp_path):
    return shutil.copytree(saved("gpt2"), tmp_path / "gpt2")


@pytest.fixture
def llama(saved, tmp_path):
    return shutil.copytree(saved("llama"), tmp_path / "llama")


def edit_config(folder, *dropped, **changes):
    path = folder / "config.json"
    fields = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({k: v for k, v in fields.items() if k not in dropped}))


def edit_weights(folder, change):
    path = folder / "model.safetensors"
    tensors = load_file(path)
    path.unlink()
    save_file(change(tensors), path, {"format": "pt"})


@torch.no_grad()
def logits(model):
    """Return the logits of the same random ids, as many as both GPTs and peers can take."""
    length = min(64, model.config.context_length if isinstance(model, GPT) else context(model))
    ids = torch.randint(31, (2, length), generator=torch.Generator().manual_seed(1))
    out = model(ids)
    return out if isinstance(model, GPT) else out.logits


def context(model):
    return model.config.max_position_embeddings


def assert_same_logits(model, other):
    torch.testing.assert_close(logits(model), logits(other), rtol=1e-5, atol=1e-5)


# Reading


@pytest.mark.parametrize("kind", [*GPT2S, *LLAMAS])
def test_a_checkpoint_of_transformers_has_the_same_logits_here(kind, saved):
    assert_same_logits(load_pretrained(saved(kind)), peer(kind))


@pytest.mark.parametrize(
    "rope",
    [{"rope_type": "default"}, STRETCH, {"rope_type": "linear", "factor": 3.0}],
    ids=lambda rope: rope["rope_type"],
)
def test_angles_at_far_positions_are_those_of_transformers(rope, llama):
    theirs = LlamaConfig(
        hidden_size=512, max_position_embeddings=2**17, num_attention_heads=4,
        rope_parameters={"rope_theta": 500_000.0} | rope,
    )  # fmt: skip
    edit_config(llama, rope_parameters=theirs.rope_parameters)
    ours = load_pretrained(llama).config
    positions = torch.tensor([0, 1, 8_191, 131_071])
    tables = LlamaRotaryEmbedding(theirs)(torch.zeros(1), positions[None])
    found = rope_table(positions, 128, ours.rope_base, ours.rope_scaling)
    for one, other in zip(found, tables, strict=True):
        torch.testing.assert_close(one, other[0, :, :64], rtol=0, atol=1e-6)


@pytest.mark.parametrize("type_field", ["type", "rope_type"])
@pytest.mark.parametrize("kind", ["base", "llama3", "linear"])
def test_rope_is_found_where_older_versions_put_it(kind, type_field, saved, tmp_path):
    folder = shutil.copytree(saved(kind), tmp_path / "old")
    rope = dict(LLAMAS[kind]["rope_parameters"])
    base, rope_type = rope.pop("rope_theta"), rope.pop("rope_type")
    scaling = None if rope_type == "default" else rope | {type_field: rope_type}
    edit_config(folder, "rope_parameters", rope_theta=base, rope_scaling=scaling)
    assert load_pretrained(folder).config == load_pretrained(saved(kind)).config


def test_a_stretch_without_its_first_context_takes_the_whole(llama):
    rope = {k: v for k, v in STRETCH.items() if k != "original_max_position_embeddings"}
    edit_config(llama, rope_parameters=rope | {"rope_theta": 1e4})
    assert load_pretrained(llama).config.rope_scaling.original_context_length == 64


def test_what_llamas_config_leaves_out_has_transformers_default(llama):
    dropped = ("num_key_value_heads", "head_dim", "rms_norm_eps", "rope_parameters",
               "attention_bias", "mlp_bias", "hidden_act", "tie_word_embeddings",
               "max_position_embeddings")  # fmt: skip
    edit_config(llama, *dropped)
    theirs = AutoModelForCausalLM.from_pretrained(llama)
    assert_same_logits(load_pretrained(llama), theirs)
    assert load_pretrained(llama).config.context_length == theirs.config.max_position_embeddings


def test_what_gpt2s_config_leaves_out_has_transformers_default(gpt2):
    edit_config(gpt2, "n_inner", "activation_function", "layer_norm_epsilon", "tie_word_embeddings")
    assert_same_logits(load_pretrained(gpt2), AutoModelForCausalLM.from_pretrained(gpt2))


def test_the_first_gpt2_files_had_no_prefix_and_stored_their_masks(gpt2):
    before = logits(load_pretrained(gpt2))
    mask = {f"h.{i}.attn.bias": torch.ones(1, 1, 8, 8) for i in range(2)}
    fill = {f"h.{i}.attn.masked_bias": torch.tensor(-1e4) for i in range(2)}
    edit_weights(
        gpt2, lambda w: {n.removeprefix("transformer."): t for n, t in w.items()} | mask | fill
    )
    assert torch.equal(logits(load_pretrained(gpt2)), before)


def test_a_llama_without_a_prefix_that_stores_its_frequencies_is_read(saved, tmp_path):
    folder = shutil.copytree(saved("tie_embeddings"), tmp_path / "bare")
    edit_weights(
        folder,
        lambda w: (
            {n.removeprefix("model."): t for n, t in w.items()}
            | {"layers.0.self_attn.rotary_emb.inv_freq": torch.ones(2)}
        ),
    )
    assert_same_logits(load_pretrained(folder), peer("tie_embeddings"))


def test_a_tied_head_may_be_stored_too(gpt2):
    edit_weights(gpt2, lambda w: w | {"lm_head.weight": w["transformer.wte.weight"].clone()})
    assert_same_logits(load_pretrained(gpt2), peer("gpt2"))


def test_a_tied_embedding_may_be_stored_as_the_head_alone(gpt2):
    edit_weights(gpt2, lambda w: w | {"lm_head.weight": w.pop("transformer.wte.weight")})
    assert_same_logits(load_pretrained(gpt2), peer("gpt2"))


def test_a_tied_head_that_differs_from_the_embedding_is_refused(gpt2):
    edit_weights(gpt2, lambda w: w | {"lm_head.weight": w["transformer.wte.weight"] + 1})
    with pytest.raises(ValueError, match="set tie_word_embeddings to false"):
        load_pretrained(gpt2)


def test_a_checkpoint_in_pieces_is_read_whole(tmp_path):
    peer("llama").save_pretrained(tmp_path, max_shard_size="8KB")
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 1
    assert_same_logits(load_pretrained(tmp_path), peer("llama"))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_halved_precision_is_read_into_float32_unchanged(dtype, tmp_path):
    peer("llama").to(dtype).save_pretrained(tmp_path)
    model = load_pretrained(tmp_path)
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32)
    assert_same_logits(model, theirs)


def test_reading_draws_no_random_numbers(gpt2):
    before = torch.get_rng_state()
    load_pretrained(gpt2)
    assert torch.equal(torch.get_rng_state(), before)


def test_what_was_read_can_be_trained(gpt2):
    model = load_pretrained(gpt2)
    model(torch.tensor([[1, 2, 3]])).sum().backward()
    assert all(p.grad is not None for p in model.parameters())


def test_dropout_is_kept_where_it_is_the_same_everywhere(gpt2):
    edit_config(gpt2, resid_pdrop=0.3, embd_pdrop=0.3, attn_pdrop=0.3)
    assert load_pretrained(gpt2).config.dropout == 0.3
    edit_config(gpt2, attn_pdrop=0.1)
    assert load_pretrained(gpt2).config.dropout == 0.0


def test_the_package_never_imports_transformers():
    sources = Path(lmcore.__file__).parent.rglob("*.py")
    found = re.compile(r"^\s*(import|from) transformers", re.MULTILINE)
    assert [path.name for path in sources if found.search(path.read_text())] == []


# What is refused


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("scale_attn_weights", False),
        ("scale_attn_by_inverse_layer_idx", True),
        ("add_cross_attention", True),
        ("activation_function", "tanh"),
    ],
)
def test_an_option_of_gpt2_that_we_lack_is_refused_with_its_value(field, value, gpt2):
    edit_config(gpt2, **{field: value})
    with pytest.raises(ValueError, match=rf"config\.json: {field} {value!r} has no counterpart"):
        load_pretrained(gpt2)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"hidden_act": "gelu"}, "hidden_act 'gelu'"),
        ({"partial_rotary_factor": 0.5}, r"partial_rotary_factor 0\.5"),
        ({"rope_parameters": {"rope_type": "yarn", "factor": 2.0}}, "rope_type 'yarn'"),
        ({"rope_scaling": {"type": "dynamic", "factor": 2.0}}, "rope_type 'dynamic'"),
        ({"quantization_config": {"bits": 4}}, "quantization_config {'bits': 4}"),
    ],
)
def test_an_option_of_llama_that_we_lack_is_refused_with_its_value(changes, told, llama):
    edit_config(llama, **changes)
    with pytest.raises(ValueError, match=rf"config\.json: {told} has no counterpart"):
        load_pretrained(llama)


def test_a_stretch_without_its_factor_is_refused_by_name(llama):
    edit_config(llama, rope_parameters={"rope_type": "linear", "rope_theta": 1e4})
    with pytest.raises(ValueError, match="'linear' lacks its factor"):
        load_pretrained(llama)


@pytest.mark.parametrize("model_type", ["mistral", None])
def test_another_family_is_refused_with_the_two_that_are_known(model_type, gpt2):
    edit_config(gpt2, model_type=model_type)
    with pytest.raises(ValueError, match=f"{model_type!r} is not known, only gpt2 and llama"):
        load_pretrained(gpt2)


def test_sizes_that_are_missing_are_named(llama):
    edit_config(llama, "hidden_size", vocab_size="31")
    with pytest.raises(ValueError, match="vocab_size, hidden_size: missing, or not a whole number"):
        load_pretrained(llama)


@pytest.mark.parametrize(("field", "value"), [("n_inner", 1.5), ("vocab_size", True)])
def test_a_size_that_is_not_a_whole_number_is_refused_by_name(field, value, gpt2):
    edit_config(gpt2, **{field: value})
    with pytest.raises(ValueError, match=rf"config\.json: {field}: missing, or not a whole number"):
        load_pretrained(gpt2)


def test_sizes_that_contradict_each_other_are_refused_with_the_file(gpt2):
    edit_config(gpt2, n_head=3)
    with pytest.raises(ValueError, match=r"config\.json: d_model 16 does not split into 3 heads"):
        load_pretrained(gpt2)


def test_tensors_that_do_not_fit_are_refused_with_the_first_few(llama):
    def change(w):
        w["model.norm.bias"] = w.pop("model.norm.weight")
        w["lm_head.weight"] = w["lm_head.weight"][:30].clone()
        return w

    edit_weights(llama, change)
    with pytest.raises(ValueError, match="does not hold what") as error:
        load_pretrained(llama)
    assert "norm.weight is missing; norm.bias is not part of the model" in str(error.value)
    assert "lm_head.weight has shape (30, 16), not (31, 16)" in str(error.value)


def test_many_tensors_that_do_not_fit_are_counted(gpt2):
    edit_config(gpt2, n_layer=3)
    with pytest.raises(ValueError, match=r"h\.2\.ln_1\.weight is missing; .*; and 8 more$"):
        load_pretrained(gpt2)


def test_biases_that_the_config_denies_are_refused(saved, tmp_path):
    folder = shutil.copytree(saved("all biases"), tmp_path / "denied")
    edit_config(folder, mlp_bias=False)
    with pytest.raises(ValueError, match=r"mlp\.\w+\.bias is not part of the model"):
        load_pretrained(folder)


def test_pickled_weights_are_refused_with_the_reason_and_what_to_do(gpt2):
    (gpt2 / "model.safetensors").rename(gpt2 / "pytorch_model.bin")
    with pytest.raises(ValueError, match="can run code hidden in it: convert it to safetensors"):
        load_pretrained(gpt2)


def test_a_folder_without_weights_is_refused(gpt2):
    (gpt2 / "model.safetensors").unlink()
    with pytest.raises(ValueError, match=r"has no model\.safetensors"):
        load_pretrained(gpt2)


def test_a_truncated_file_is_refused_by_name(gpt2):
    path = gpt2 / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(ValueError, match=r"model\.safetensors is missing or damaged"):
        load_pretrained(gpt2)


def test_a_missing_piece_is_refused_by_name(gpt2):
    (gpt2 / "model.safetensors").unlink()
    (gpt2 / "model.safetensors.index.json").write_text('{"weight_map": {"a": "b.safetensors"}}')
    with pytest.raises(ValueError, match=r"b\.safetensors is missing or damaged"):
        load_pretrained(gpt2)


def test_an_index_without_files_is_refused_by_name(gpt2):
    (gpt2 / "model.safetensors").unlink()
    (gpt2 / "model.safetensors.index.json").write_text("[]")
    with pytest.raises(ValueError, match=r"index\.json is damaged"):
        load_pretrained(gpt2)


# Writing


@pytest.mark.parametrize("config", OURS.values(), ids=OURS)
def test_transformers_reads_ours_with_the_same_logits(config, tmp_path):
    model = randomised(GPT(config))
    save_pretrained(model, tmp_path)
    assert_same_logits(model, AutoModelForCausalLM.from_pretrained(tmp_path))


@pytest.mark.parametrize("config", OURS.values(), ids=OURS)
def test_writing_and_reading_gives_back_every_bit_and_the_config(config, tmp_path):
    model = randomised(GPT(config))
    save_pretrained(model, tmp_path)
    back = load_pretrained(tmp_path)
    assert back.config == replace(config, initialisation=back.config.initialisation)
    weights = back.state_dict()
    assert all(torch.equal(weights.pop(name), own) for name, own in model.state_dict().items())
    assert not weights


@pytest.mark.parametrize("kind", ["gpt2", "untied", "grouped heads", "linear", "tie_embeddings"])
def test_reading_and_writing_gives_back_the_files_tensors(kind, saved, tmp_path):
    save_pretrained(load_pretrained(saved(kind)), tmp_path)
    theirs, ours = (load_file(f / "model.safetensors") for f in (saved(kind), tmp_path))
    assert sorted(theirs) == sorted(ours)
    assert all(torch.equal(theirs[name], ours[name]) for name in theirs)


def test_a_gpt2_without_biases_is_written_with_zeros(tmp_path):
    model = randomised(GPT(replace(TINY, bias=False)))
    save_pretrained(model, tmp_path)
    assert_same_logits(model, AutoModelForCausalLM.from_pretrained(tmp_path))
    back = load_pretrained(tmp_path)
    assert not any(p.any() for name, p in back.named_parameters() if name.endswith(".bias"))


def test_waves_slowed_alike_are_written_as_linear(saved, tmp_path):
    save_pretrained(load_pretrained(saved("linear")), tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["rope_scaling"] == {
        "rope_type": "linear",
        "factor": 3.0,
    }


def test_weights_are_written_in_the_models_precision(tmp_path):
    model = randomised(GPT(replace(TINY, bias=False))).bfloat16()
    save_pretrained(model, tmp_path)
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert {p.dtype for p in theirs.parameters()} == {torch.bfloat16}


def test_a_folder_may_be_written_where_it_was_read(gpt2):
    model = load_pretrained(gpt2)
    before = logits(model)
    save_pretrained(randomised(GPT(model.config), seed=1), gpt2)
    assert torch.equal(logits(model), before)


def test_the_file_says_that_its_tensors_are_torchs(tmp_path):
    save_pretrained(GPT(TINY), tmp_path)
    with safe_open(tmp_path / "model.safetensors", framework="pt") as file:
        assert file.metadata() == {"format": "pt"}


def test_a_shape_that_transformers_lacks_is_refused_with_what_stands_in_the_way(tmp_path):
    config = replace(OURS_LLAMA, norm_at="post", layer_scale=0.1)
    with pytest.raises(ValueError, match="no architecture of transformers fits") as error:
        save_pretrained(GPT(config), tmp_path / "none")
    assert "LlamaForCausalLM has no norm_at 'post', no layer_scale 0.1" in str(error.value)
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    "config",
    [
        replace(TINY, positions="sinusoidal"),
        replace(TINY, positions="none"),
        replace(TINY, norm="none"),
        replace(TINY, norm="rms"),
        replace(TINY, n_kv_heads=1),
        replace(TINY, head_size=4),
        replace(TINY, qk_norm=True),
        replace(TINY, parallel_residual=True),
        replace(OURS_LLAMA, qk_norm=True),
        replace(OURS_LLAMA, activation="silu"),
        replace(OURS_LLAMA, d_model=18, head_size=4),
    ],
    ids=str,
)
def test_no_shape_that_transformers_lacks_is_written(config, tmp_path):
    with pytest.raises(ValueError, match="no architecture of transformers fits"):
        save_pretrained(GPT(config), tmp_path)


# With a tokenizer


@pytest.mark.parametrize("end", ["<eos>", "<|endoftext|>"])
def test_the_token_that_ends_a_text_is_declared_to_transformers(end, tmp_path):
    tokenizer = Tokenizer.train(["a text"], 270, ["<pad>", end])
    save_pretrained(GPT(replace(TINY, vocab_size=300)), tmp_path, tokenizer)
    config = AutoModelForCausalLM.from_pretrained(tmp_path).config
    assert config.eos_token_id == config.bos_token_id == tokenizer.special_tokens[end]
    settings = json.loads((tmp_path / "tokenizer_config.json").read_text())
    assert (settings["bos_token"], settings["eos_token"]) == (end, end)


def test_without_a_tokenizer_no_token_ends_a_text(tmp_path):
    save_pretrained(GPT(TINY), tmp_path)
    config = AutoModelForCausalLM.from_pretrained(tmp_path).config
    assert (config.eos_token_id, config.bos_token_id) == (None, None)


def test_a_tokenizer_without_an_end_declares_none(tmp_path):
    save_pretrained(GPT(replace(TINY, vocab_size=300)), tmp_path, Tokenizer.train(["a text"], 270))
    assert "eos_token" not in json.loads((tmp_path / "tokenizer_config.json").read_text())


def test_the_tokenizer_comes_back_from_the_folder(tmp_path):
    tokenizer = Tokenizer.train(["a text"], 270, ["<eos>"])
    save_pretrained(GPT(replace(TINY, vocab_size=300)), tmp_path, tokenizer)
    assert Tokenizer.load(tmp_path).encode("a text<eos>") == tokenizer.encode("a text<eos>")


@pytest.mark.parametrize("text", ["a text<eos>", " <eos><pad>  é\n\n\tz", "", "no specials 12"])
def test_autotokenizer_gives_our_ids_specials_included(tmp_path, text):
    tokenizer = Tokenizer.train(["a text, no specials"], 275, ["<pad>", "<eos>"])
    save_pretrained(GPT(replace(TINY, vocab_size=300)), tmp_path, tokenizer)
    theirs = AutoTokenizer.from_pretrained(tmp_path)
    assert theirs(text)["input_ids"] == tokenizer.encode(text)


def test_a_tokenizer_with_ids_beyond_the_model_is_refused_with_both_sizes(tmp_path):
    tokenizer = Tokenizer.train(["a text"], 257, ["<eos>"])
    with pytest.raises(ValueError, match="ids up to 256, the model knows 31"):
        save_pretrained(GPT(TINY), tmp_path / "none", tokenizer)
    assert not (tmp_path / "none").exists()
