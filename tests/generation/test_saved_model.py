"""A folder written and opened again: by us, by transformers, moved, damaged, of another kind."""

import json
import shutil
from dataclasses import replace

import pytest
import torch
from made import KINDS, TINY, randomised, small_disk
from safetensors.torch import load_file, save_file

import lmcore
from lmcore.generation.saved_model import why_not_transformers
from lmcore.model.gpt import GPT
from lmcore.model.interop import save_pretrained
from lmcore.tokenizer.byte_bpe import Tokenizer

TOKENIZER = Tokenizer.train(["été, déjà vu, là-bas"] * 9, 270, ["<eos>", "<stop>"])
SPARE = 3
"""Embedding rows without a token."""


def model_of(config, seed=0):
    return randomised(replace(config, vocab_size=TOKENIZER.vocab_size + SPARE), seed)


def require_equal(found, expected):
    weights = found.state_dict()
    assert weights.keys() == expected.state_dict().keys()
    for name, weight in expected.state_dict().items():
        assert weights[name].dtype == weight.dtype
        assert torch.equal(weights[name], weight)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("config", KINDS.values(), ids=KINDS)
def test_what_is_saved_comes_back_bit_for_bit_with_its_config(tmp_path, config, dtype):
    model = model_of(config).to(dtype)
    lmcore.save(tmp_path / "model", model, TOKENIZER)
    lm = lmcore.load(tmp_path / "model")
    assert lm.model.config == model.config
    assert not lm.model.training
    require_equal(lm.model, model)
    assert lm.tokenizer.fingerprint == TOKENIZER.fingerprint
    assert lm.eos_id == TOKENIZER.special_id("<eos>")


@pytest.mark.parametrize("name", ["baseline", "gpt2", "llama", "layer norm without biases"])
def test_the_folder_opens_in_transformers_where_the_shape_allows(tmp_path, name):
    transformers = pytest.importorskip("transformers")
    model, folder = model_of(KINDS[name]), tmp_path / "model"
    lmcore.save(folder, model, TOKENIZER)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(folder)
    ids = torch.tensor([TOKENIZER.encode("déjà vu")[: TINY.context_length]])
    with torch.no_grad():
        torch.testing.assert_close(theirs(ids).logits, model(ids), rtol=0, atol=1e-4)
    assert theirs.config.eos_token_id == TOKENIZER.special_id("<eos>")
    assert (
        transformers.AutoTokenizer.from_pretrained(folder)("déjà vu").input_ids == ids[0].tolist()
    )


def test_a_folder_that_transformers_cannot_open_says_why(tmp_path):
    lmcore.save(tmp_path, model_of(KINDS["no positions"]), TOKENIZER)
    stored = json.loads((tmp_path / "config.json").read_text())
    assert "GPT2LMHeadModel has no positions 'none'" in stored["lmcore"]["why_not_transformers"]


def test_weights_of_several_dtypes_keep_them(tmp_path):
    model = model_of(TINY)
    model.blocks[0].mlp.bfloat16()
    assert "several dtypes" in why_not_transformers(model)
    lmcore.save(tmp_path, model, TOKENIZER)
    require_equal(lmcore.load(tmp_path).model, model)


def test_a_folder_can_be_moved_and_named_by_a_string(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = model_of(TINY)
    lmcore.save("made/here", model, TOKENIZER)
    shutil.move("made/here", "there")
    lm = lmcore.load("there")
    shutil.rmtree("there")
    require_equal(lm.model, model)
    assert lm.generate("été", 9) == lmcore.LanguageModel(model, TOKENIZER).generate("été", 9)


def test_a_folder_of_transformers_opens_as_a_language_model(tmp_path):
    model = model_of(KINDS["llama"])
    save_pretrained(model, tmp_path, TOKENIZER)
    lm = lmcore.load(tmp_path)
    require_equal(lm.model, model)
    assert lm.eos_id == TOKENIZER.special_id("<eos>")


def test_a_unigram_tokenizer_comes_back_as_one(tmp_path):
    unigram = pytest.importorskip("lmcore.tokenizer.unigram")
    tokenizer = unigram.UnigramTokenizer.train(["une fois, une autre fois"] * 9, 270, ["<eos>"])
    lmcore.save(tmp_path, randomised(replace(TINY, vocab_size=tokenizer.vocab_size)), tokenizer)
    lm = lmcore.load(tmp_path)
    assert isinstance(lm.tokenizer, unigram.UnigramTokenizer)
    assert lm.tokenizer.fingerprint == tokenizer.fingerprint


@pytest.mark.parametrize("name", ["baseline", "no positions"])
def test_a_named_end_token_is_kept_for_us_and_for_transformers(tmp_path, name):
    lmcore.save(tmp_path, model_of(KINDS[name]), TOKENIZER, eos_token="<stop>")
    assert lmcore.load(tmp_path).eos_id == TOKENIZER.special_id("<stop>")
    assert json.loads((tmp_path / "tokenizer_config.json").read_text())["eos_token"] == "<stop>"
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["eos_token_id"] == TOKENIZER.special_id("<stop>")


# Whole or not at all


@pytest.mark.parametrize("name", ["baseline", "no positions"])
def test_a_full_disk_leaves_the_model_that_was_there(tmp_path, name):
    before, folder = model_of(KINDS[name]), tmp_path / "model"
    lmcore.save(folder, before, TOKENIZER)
    names = sorted(path.name for path in folder.iterdir())
    with small_disk(20_000), pytest.raises(OSError, match=r"cannot be written|too large"):
        lmcore.save(folder, model_of(KINDS[name], seed=1), TOKENIZER)
    assert sorted(path.name for path in folder.iterdir()) == names
    require_equal(lmcore.load(folder).model, before)


def test_a_model_replaces_the_one_that_was_there_whatever_its_kind(tmp_path):
    for name in ("baseline", "no positions", "llama"):
        lmcore.save(tmp_path, model_of(KINDS[name]), TOKENIZER)
        require_equal(lmcore.load(tmp_path).model, model_of(KINDS[name]))


def test_other_files_in_the_folder_are_left_alone(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    lmcore.save(tmp_path, model_of(TINY), TOKENIZER)
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_a_model_in_use_is_not_changed_when_its_folder_is_overwritten(tmp_path):
    for name in ("baseline", "no positions"):
        lmcore.save(tmp_path, model_of(KINDS[name]), TOKENIZER)
        lm = lmcore.load(tmp_path)
        (tmp_path / "model.safetensors").write_bytes(bytes(10_000))
        require_equal(lm.model, model_of(KINDS[name]))


# What cannot be saved


def test_a_changed_model_is_not_saved_as_if_its_config_described_it(tmp_path):
    model = model_of(TINY)
    model.blocks[0].mlp.up = torch.nn.Linear(16, 40)
    with pytest.raises(ValueError, match=r"blocks.0.mlp.up.weight has shape \(40, 16\), not"):
        lmcore.save(tmp_path / "model", model, TOKENIZER)
    assert not (tmp_path / "model").exists()


def test_a_tokenizer_of_another_model_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="the model 31"):
        lmcore.save(tmp_path, randomised(TINY), TOKENIZER)


def test_an_unknown_end_token_is_an_error_that_names_those_there_are(tmp_path):
    with pytest.raises(ValueError, match="'<nope>' is not a special token here"):
        lmcore.save(tmp_path, model_of(TINY), TOKENIZER, eos_token="<nope>")


def test_a_file_in_the_place_of_the_folder_is_an_error(tmp_path):
    (tmp_path / "model").write_text("")
    with pytest.raises(ValueError, match="model is a file"):
        lmcore.save(tmp_path / "model", model_of(TINY), TOKENIZER)


# What cannot be loaded


@pytest.fixture(params=["baseline", "no positions"])
def folder(tmp_path, request):
    lmcore.save(tmp_path / "model", model_of(KINDS[request.param]), TOKENIZER)
    return tmp_path / "model"


def fails(folder, says):
    with pytest.raises(ValueError, match=says) as caught:
        lmcore.load(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
def test_a_missing_file_is_an_error_that_names_it(folder, name):
    (folder / name).unlink()
    fails(folder, name)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
@pytest.mark.parametrize("content", ["half", "empty", "list", "zeros"])
def test_a_damaged_file_is_an_error_that_names_its_folder(folder, name, content):
    path = folder / name
    whole = path.read_bytes()
    damaged = {"half": whole[: len(whole) // 2], "empty": b"", "list": b"[]", "zeros": bytes(64)}
    path.write_bytes(damaged[content])
    fails(folder, "model")


@pytest.mark.parametrize(
    "wrong",
    [
        {"format": 99}, {"model": None}, {"model": {"vocab_size": 9, "wings": 2}},
        {"eos_ids": ["x"]}, {"eos_ids": None}, {"model": {"vocab_size": 300, "n_heads": 7}},
    ],
    ids=str,
)  # fmt: skip
def test_a_damaged_record_in_config_json_is_an_error_that_names_the_file(folder, wrong):
    stored = json.loads((folder / "config.json").read_text())
    stored["lmcore"] |= wrong
    (folder / "config.json").write_text(json.dumps(stored))
    fails(folder, "config.json")


@pytest.mark.parametrize("dtype", ["wide", "load", None])
def test_an_unknown_dtype_is_an_error_that_names_the_file(folder, dtype):
    stored = json.loads((folder / "config.json").read_text()) | {"dtype": dtype}
    (folder / "config.json").write_text(json.dumps(stored))
    fails(folder, "config.json")


def test_another_tokenizer_in_the_folder_is_an_error(folder):
    Tokenizer.train(["quite another text"] * 9, 270, ["<eos>"]).save(folder)
    fails(folder, "not the tokenizer that the model was saved with")


def test_weights_of_another_shape_are_an_error_that_names_them(folder):
    weights = load_file(folder / "model.safetensors")
    name = next(name for name in weights if name.endswith((".ln_f.weight", "norm.weight")))
    weights[name] = torch.zeros(17)
    save_file(weights, folder / "model.safetensors")
    fails(folder, r"has shape \(17,\), not \(16,\)")


def test_a_folder_that_is_not_there_or_a_file_is_an_error(folder):
    fails(folder / "nothing", "nothing is not there")
    fails(folder / "config.json", "is a file, not a folder")


def test_a_run_folder_is_an_error_that_says_so(tmp_path):
    (tmp_path / "config.json").write_text('{"schema": 2, "hash": "0", "config": {}}')
    fails(tmp_path, "not a saved model")


def test_weights_that_could_hide_code_are_refused(folder):
    (folder / "model.safetensors").unlink()
    torch.save(GPT(TINY).state_dict(), folder / "pytorch_model.bin")
    fails(folder, "run code")
