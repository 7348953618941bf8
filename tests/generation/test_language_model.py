"""Text in, text out: against ids, against streams, and at the edges of vocabularies."""

from dataclasses import replace

import pytest
import torch
from made import TINY, randomised

from lmcore.evaluation.sliding_window import score_text
from lmcore.generation.generate import generate
from lmcore.generation.language_model import LanguageModel
from lmcore.generation.sampling import Sampling
from lmcore.tokenizer.byte_bpe import Tokenizer

PROMPTS = ["été", "là-bas", "vu, vu", ""]


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer.train(["été, déjà vu, là-bas"] * 9, 270, ["<eos>", "<pad>"])


@pytest.fixture(scope="module")
def lm(tokenizer):
    model = randomised(replace(TINY, vocab_size=tokenizer.vocab_size), std=0.4)
    return LanguageModel(model, tokenizer)


@pytest.mark.parametrize("seed", range(3))
def test_a_prompt_is_continued_with_the_text_of_its_ids(lm, seed):
    sampling = Sampling(temperature=1.3, top_k=40, top_p=0.9, min_p=0.01, repetition_penalty=1.2)
    ids = generate(
        lm.model, lm.tokenizer.encode("été"), 40, sampling, seed=seed, stop_ids=[lm.eos_id]
    )
    text = lm.generate(
        "été", 40, temperature=1.3, top_k=40, top_p=0.9, min_p=0.01, repetition_penalty=1.2,
        seed=seed,
    )  # fmt: skip
    assert text == lm.tokenizer.decode(ids)


@pytest.mark.parametrize("stop", [[], ["\x01", "é"], ["a"]], ids=repr)
def test_several_prompts_are_continued_as_each_is_alone(lm, stop):
    alone = [lm.generate(text, 30, seed=7 + i, stop=stop) for i, text in enumerate(PROMPTS)]
    assert lm.generate(PROMPTS, 30, seed=7, stop=stop) == alone


@pytest.mark.parametrize("stop", [[], ["é"], ["a"]], ids=repr)
@pytest.mark.parametrize("seed", range(3))
def test_a_stream_joined_is_the_generated_text(lm, stop, seed):
    pieces = list(lm.stream("été", 40, seed=seed, stop=stop))
    assert all(pieces)
    assert "".join(pieces) == lm.generate("été", 40, seed=seed, stop=stop)


def test_a_text_ends_before_its_stop_string(lm):
    free = lm.generate("été", 40)
    stop = free[9:12]
    assert lm.generate("été", 40, stop=[stop]) == free[: free.index(stop)]


def test_a_row_that_reached_its_stop_string_is_computed_no_further(lm):
    calls, free = [], lm.generate("été", 40)
    hook = lm.model.norm.register_forward_hook(lambda *_: calls.append(1))
    lm.generate(["été"], 40, stop=[free[3:6]])
    hook.remove()
    assert len(calls) < 20


def test_an_end_token_ends_a_text_and_is_not_part_of_it(lm):
    model = randomised(lm.model.config)
    with torch.no_grad():
        model.norm.weight.zero_()
        model.norm.bias.copy_(model.token_embedding.weight[lm.eos_id] * 50)
    assert LanguageModel(model, lm.tokenizer).generate("été", 5, temperature=0) == ""


def test_an_empty_prompt_begins_after_the_end_token(lm):
    ids = generate(lm.model, [lm.eos_id], 20, stop_ids=[lm.eos_id])
    assert lm.generate("", 20) == lm.tokenizer.decode(ids)


def test_an_empty_prompt_without_an_end_token_is_an_error(lm):
    plain = Tokenizer(lm.tokenizer.vocab, lm.tokenizer.merges)
    with pytest.raises(ValueError, match="the prompt is empty"):
        LanguageModel(lm.model, plain).generate("", 5)


def test_what_the_tokenizer_puts_around_a_text_is_put_around_a_prompt(lm):
    pad = lm.tokenizer.special_id("<pad>")
    framed = Tokenizer(
        lm.tokenizer.vocab, lm.tokenizer.merges, ["<eos>", "<pad>"], frame=((pad,), ())
    )
    assert LanguageModel(lm.model, framed).prompt_ids("vu") == [pad, *lm.tokenizer.encode("vu")]


@pytest.mark.parametrize(
    ("specials", "expected"), [(["<eos>"], "<eos>"), (["<eos>", "<|endoftext|>"], "<|endoftext|>")]
)
def test_the_end_token_is_found_by_its_usual_names(specials, expected):
    tokenizer = Tokenizer.train(["abc"], 260, specials)
    model = randomised(replace(TINY, vocab_size=tokenizer.vocab_size))
    assert LanguageModel(model, tokenizer).eos_id == tokenizer.special_id(expected)
    assert LanguageModel(model, tokenizer, ()).eos_id is None


# Embedding rows without a token


@pytest.fixture(scope="module")
def roomy(tokenizer):
    """A model with 30 embedding rows that the tokenizer has no token for, and one it has not."""
    vocab = {id: token for id, token in tokenizer.vocab.items() if id != tokenizer.vocab_size - 1}
    vocab[tokenizer.vocab_size] = tokenizer.vocab[tokenizer.vocab_size - 1]
    holey = Tokenizer(vocab, tokenizer.merges, ["<eos>", "<pad>"])
    model = randomised(replace(TINY, vocab_size=tokenizer.vocab_size + 31))
    with torch.no_grad():  # the rows without a token are by far the most probable
        spare = [id for id in range(model.config.vocab_size) if id not in vocab]
        model.token_embedding.weight[spare] *= 5
    return LanguageModel(model, holey), spare


@pytest.mark.parametrize("sampling", [Sampling(), Sampling(temperature=0.0), Sampling(top_k=9)])
def test_ids_without_a_token_are_never_drawn(roomy, sampling):
    lm, spare = roomy
    prompts = [[i] for i in range(12)]
    free = generate(lm.model, prompts, 20, sampling)
    assert {id for ids in free for id in ids} & set(spare)
    drawn = generate(lm.model, prompts, 20, sampling, tokenizer=lm.tokenizer)
    assert not {id for ids in drawn for id in ids} & set(spare)


def test_a_text_from_a_model_with_spare_rows_can_be_decoded(roomy):
    lm, _ = roomy
    assert lm.generate(["vu", "là"], 40) == [
        "".join(lm.stream("vu", 40)), "".join(lm.stream("là", 40, seed=1)),
    ]  # fmt: skip


def test_where_every_id_has_a_token_naming_the_tokenizer_changes_nothing(lm):
    free = generate(lm.model, [1, 2], 30)
    assert generate(lm.model, [1, 2], 30, tokenizer=lm.tokenizer) == free


# Scores


@pytest.mark.parametrize("stride", [None, 2])
def test_a_score_is_that_of_the_text_after_an_end_token(lm, stride):
    expected, *_ = score_text(lm.model, lm.tokenizer, "déjà vu", stride, lm.eos_id)
    assert lm.score("déjà vu", stride) == expected


# Bad input


def test_a_tokenizer_with_more_ids_than_the_model_is_an_error_with_both_sizes(tokenizer):
    with pytest.raises(ValueError, match=f"{tokenizer.vocab_size} ids and the model 31"):
        LanguageModel(randomised(TINY), tokenizer)


def test_an_end_token_beyond_the_model_is_an_error(lm):
    with pytest.raises(ValueError, match="id 999 is outside the vocabulary"):
        LanguageModel(lm.model, lm.tokenizer, (999,))


@pytest.mark.parametrize("stop", ["", [""]], ids=repr)
def test_a_stream_complains_of_its_stop_strings_before_it_is_read(lm, stop):
    with pytest.raises(ValueError, match="list of strings that are not empty"):
        lm.stream("été", 5, stop=stop)
