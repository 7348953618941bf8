"""A model exported for the page: the page's own JavaScript computes what Python does."""

import unicodedata
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from made import KINDS, TINY, randomised

from lmcore.generation.language_model import LanguageModel
from lmcore.generation.sampling import Sampling
from lmcore.generation.web_export import (
    read_web_export,
    require_plain,
    rounded_to_int8,
    to_int8,
    web_export,
)
from lmcore.tokenizer.byte_bpe import Tokenizer
from lmcore.tokenizer.pretokens import CL100K_PATTERN

MODELS = Path(__file__).resolve().parents[2] / "docs" / "widgets" / "models"
TEXT = "été, déjà vu: là-bas, it's 3 o'clock\n\n  in  Москва \u2028 and 東京 🚀 \ufeff!"
TOKENIZER = Tokenizer.train([TEXT] * 9, 290, ["<eos>"])
LOGITS = 2e-4
"""How far the page's logits may lie from Python's: both are float32, added in another order."""


def is_plain(config):
    try:
        require_plain(config)
    except ValueError:
        return False
    return True


RUNNABLE = {name: config for name, config in KINDS.items() if is_plain(config)}


def model_of(config):
    return randomised(replace(config, vocab_size=TOKENIZER.vocab_size, context_length=32), 0)


READ = """
import { readFileSync } from "node:fs";
import { Gpt } from "./gpt.mjs";
const seen = [];
const { files, ids, text } = given;
for (const file of files) {
  const { buffer, byteOffset, length } = readFileSync(file);
  const gpt = new Gpt(buffer.slice(byteOffset, byteOffset + length));
  const logits = gpt.read(ids, []);
  gpt.clear(3);
  const again = gpt.next(ids[3]);
  const rows = logits.map((row) => [...row]);
  seen.push({ logits: rows, again: [...again], eos: gpt.eosId, text: gpt.encode(text) });
}
answer(seen);
"""


def test_the_page_computes_python_s_logits_with_the_same_weights(node, tmp_path):
    ids = torch.randint(TOKENIZER.vocab_size, (12,), generator=torch.Generator().manual_seed(0))
    expected, files = [], []
    for name, config in RUNNABLE.items():
        model = model_of(config)
        files.append(tmp_path / name)
        lm = LanguageModel(model, TOKENIZER)
        files[-1].write_bytes(web_export(lm, {}))
        with torch.no_grad():
            expected.append(rounded_to_int8(model)(ids[None])[0])
    assert len(files) >= 8
    seen = node(READ, {"files": [str(file) for file in files], "ids": ids.tolist(), "text": TEXT})
    for found, logits in zip(seen, expected, strict=True):
        close = {"rtol": 0, "atol": LOGITS}
        torch.testing.assert_close(torch.tensor(found["logits"]), logits, **close)
        torch.testing.assert_close(torch.tensor(found["again"]), logits[3], **close)
        assert found["eos"] == TOKENIZER.special_id("<eos>")
        assert found["text"] == TOKENIZER.encode(TEXT)


def test_the_committed_models_compute_in_the_page_what_they_do_in_python(node):
    files = sorted(MODELS.glob("*.safetensors"))
    text = " Show HN: A small language model in the browser"
    ids = node(READ, {"files": [str(files[0])], "ids": [1, 2, 3, 4], "text": text})[0]["text"]
    seen = node(READ, {"files": [str(file) for file in files], "ids": ids, "text": text})
    assert len(seen) == 2
    for path, found in zip(files, seen, strict=True):
        assert path.stat().st_size <= 1_500_000
        lm, about = read_web_export(path)
        assert lm.tokenizer.encode(text) == ids
        with torch.no_grad():
            logits = lm.model(torch.tensor([ids]))[0]
        torch.testing.assert_close(torch.tensor(found["logits"]), logits, rtol=0, atol=LOGITS)
        assert (found["eos"],) == lm.eos_ids
        assert 1 < about["bits_per_byte"] < 4


ENCODE = """
import { Bpe, preTokens } from "./bpe.mjs";
const { texts, cuts, merges, size } = given;
const bpe = new Bpe(merges.flat());
const ranks = texts.map((text) => bpe.encode(text));
answer({
  ranks,
  back: ranks.map((text) => bpe.decode(text)),
  smaller: texts.map((text) => bpe.encode(text, size)),
  pieces: preTokens(cuts),
});
"""


def test_the_page_s_tokenizer_makes_the_same_tokens(node):
    known = [chr(code) for code in range(0x3000) if unicodedata.category(chr(code)) != "Cn"]
    every_cut = "".join(f"a{c}1 .{c}" for c in known)  # newer Unicode has letters Python lacks
    texts = ["", TEXT, TEXT[::-1]]
    numbers = {token: i for i, token in enumerate(TOKENIZER._engine.tokens)}
    merges = [[numbers[left], numbers[right]] for left, right in TOKENIZER.merges]
    smaller = Tokenizer.train([TEXT] * 9, 270, ["<eos>"])
    size = 256 + len(smaller.merges)
    found = node(ENCODE, {"texts": texts, "cuts": every_cut, "merges": merges, "size": size})
    assert found["pieces"] == TOKENIZER._engine._find(every_cut)
    assert found["ranks"] == [TOKENIZER._engine.encode(text).tolist() for text in texts]
    assert found["smaller"] == [smaller._engine.encode(text).tolist() for text in texts]
    assert found["back"] == texts


DRAW = """
import { probabilities, draw, erf } from "./gpt.mjs";
const { logits, settings, randoms } = given;
const shares = settings.map(([temperature, topP]) => probabilities(logits, temperature, topP));
answer({
  shares: shares.map((row) => [...row]),
  drawn: shares.map((row) => randoms.map((random) => draw(row, random))),
  erf: logits.map(erf),
});
"""


def test_the_page_draws_tokens_as_python_does(node):
    random = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(40, generator=random)
    uniforms = torch.rand(50, generator=random)
    settings = [(1.0, 1.0), (0.0, 1.0), (0.7, 0.9), (1.5, 0.5), (1.0, 0.01)]
    given = {"logits": logits.tolist(), "settings": settings, "randoms": uniforms.tolist()}
    found = node(DRAW, given)
    for (temperature, top_p), shares, drawn in zip(
        settings, found["shares"], found["drawn"], strict=True
    ):
        sampling = Sampling(temperature=temperature, top_p=top_p)
        expected = sampling.probabilities(logits[None])[0]
        shares = torch.tensor(shares, dtype=torch.float32)
        torch.testing.assert_close(shares, expected, rtol=0, atol=1e-6)
        rows = logits.expand(len(uniforms), -1)
        assert drawn == sampling.draw(rows, uniforms).tolist()
    torch.testing.assert_close(torch.tensor(found["erf"]), torch.erf(logits), rtol=0, atol=1e-6)


def test_int8_is_off_by_at_most_half_a_step_and_zero_stays_zero():
    weight = torch.randn(20, 30, generator=torch.Generator().manual_seed(0))
    weight[3] = 0
    values, scale = to_int8(weight)
    error = (values * scale[:, None] - weight).abs()
    assert (error <= scale[:, None] / 2 * 1.0001).all()
    assert values[3].abs().max() == 0
    assert values.abs().amax(1)[0] == 127


@pytest.mark.parametrize("name", [name for name in KINDS if name not in RUNNABLE])
def test_a_model_the_page_cannot_run_is_refused_by_option(name):
    with pytest.raises(ValueError, match=r"the page runs models with \w+ .* only, not"):
        web_export(LanguageModel(model_of(KINDS[name]), TOKENIZER), {})


def test_a_tokenizer_the_page_does_not_know_is_refused():
    other = Tokenizer(TOKENIZER.vocab, TOKENIZER.merges, ["<eos>"], CL100K_PATTERN)
    with pytest.raises(ValueError, match="GPT-2's pre-tokens only"):
        web_export(LanguageModel(model_of(TINY), other), {})
