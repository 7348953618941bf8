"""lmcore export and import: models to transformers and back, with the same logits and tokens."""

import sys
from dataclasses import replace

import pytest
import torch
from made import KINDS, TINY, randomised

import lmcore
from lmcore.cli import main
from lmcore.model.gpt import GPT
from lmcore.tokenizer.byte_bpe import Tokenizer

TOKENIZER = Tokenizer.train(["été, déjà vu, là-bas"] * 9, 270, ["<|endoftext|>", "<stop>"])
TEXT = "déjà vu"


@pytest.fixture
def command(tmp_path, monkeypatch, capsys):
    """Call the command line in an empty folder; return its status, output and errors."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["lmcore", *arguments])
        status = main()
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return call


def model_of(kind):
    return randomised(replace(KINDS[kind], vocab_size=TOKENIZER.vocab_size))


def ids_of(text):
    return torch.tensor([TOKENIZER.encode(text)[: TINY.context_length]])


@torch.no_grad()
def logits(model):
    out = model(ids_of(TEXT))
    return out if isinstance(model, GPT) else out.logits


@pytest.mark.parametrize("kind", ["baseline", "gpt2", "llama"])
def test_transformers_opens_what_is_exported_with_equal_logits_and_tokens(command, kind):
    transformers = pytest.importorskip("transformers")
    model = model_of(kind)
    lmcore.save("ours", model, TOKENIZER)
    status, out, _ = command("export", "ours", "theirs", "--to", "transformers")
    assert (status, "wrote theirs" in out) == (0, True)
    theirs = transformers.AutoModelForCausalLM.from_pretrained("theirs")
    torch.testing.assert_close(logits(theirs), logits(model), rtol=0, atol=1e-4)
    tokenizer = transformers.AutoTokenizer.from_pretrained("theirs")
    assert tokenizer(TEXT).input_ids == TOKENIZER.encode(TEXT)
    assert tokenizer.eos_token == "<|endoftext|>"


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_what_transformers_wrote_is_imported_with_equal_logits(command, kind):
    transformers = pytest.importorskip("transformers")
    lmcore.save("ours", model_of(kind), TOKENIZER)
    theirs = transformers.AutoModelForCausalLM.from_pretrained("ours")
    theirs.save_pretrained("peer")
    transformers.AutoTokenizer.from_pretrained("ours").save_pretrained("peer")
    status, out, _ = command("import", "peer")
    assert (status, "wrote models/peer" in out) == (0, True)
    lm = lmcore.load("models/peer")
    torch.testing.assert_close(logits(lm.model), logits(theirs), rtol=0, atol=1e-4)
    assert lm.tokenizer.encode(TEXT) == TOKENIZER.encode(TEXT)
    assert lm.eos_tokens == ["<|endoftext|>"]
    assert command("generate", "models/peer", "là", "--max-new-tokens", "2")[0] == 0


def test_a_folder_with_gpt2_s_vocabulary_files_is_imported(command, tmp_path):
    tokenizer = Tokenizer.train(["a bc abc"] * 9, 258)
    lmcore.save("ours", randomised(replace(TINY, vocab_size=tokenizer.vocab_size + 1)), tokenizer)
    (tmp_path / "ours/tokenizer.json").unlink()
    fields = lmcore.files.read_json("ours/config.json")
    lmcore.files.write_json("ours/config.json", {k: v for k, v in fields.items() if k != "lmcore"})
    tokenizer.save_gpt2("ours")
    assert command("import", "ours", "--out", "again")[0] == 0
    assert lmcore.load("again").tokenizer.encode("abc abc") == tokenizer.encode("abc abc")


def test_several_end_tokens_survive(command):
    lmcore.save("a", model_of("llama"), TOKENIZER, eos_token=["<stop>", "<|endoftext|>"])
    assert command("export", "a", "b")[0] == 0
    assert lmcore.load("b").eos_tokens == ["<stop>", "<|endoftext|>"]


def test_a_model_that_transformers_cannot_hold_is_one_line_that_says_why(command):
    lmcore.save("ours", model_of("qk norm"), TOKENIZER)
    status, _, errors = command("export", "ours", "theirs")
    assert (status, errors.count("\n")) == (2, 1)
    assert "ours cannot be exported to transformers" in errors
    assert "qk_norm" in errors


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("export", "nowhere", "out"), "nowhere is not there"),
        (("import", "nowhere"), "nowhere is not there"),
        (("import", "ours", "--out", "ours"), "name another one with --out"),
        (("export", "ours", "out", "--to", "onnx"), "--to"),
        (("export", "ours"), "missing from lmcore export: DIR"),
    ],
)
def test_a_mistake_is_one_line(command, arguments, message):
    lmcore.save("ours", model_of("gpt2"), TOKENIZER)
    status, _, errors = command(*arguments)
    assert (status, errors.count("\n")) == (2, 1)
    assert errors.startswith("lmcore: ")
    assert message in errors
