"""Generation against transformers' processors, against itself without a cache, and its laws."""

import math
from dataclasses import replace
from itertools import accumulate, islice, pairwise

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from made import LLAMA, TINY, randomised

from lmcore.generation.decoding_batch import TRANSPOSE_MIN_TOKENS, DecodingBatch
from lmcore.generation.generate import generate, stream_ids, stream_text
from lmcore.generation.probabilities import log_probabilities, next_probabilities, top_next_tokens
from lmcore.generation.sampling import Sampling, nucleus
from lmcore.generation.stop import text_before_stop
from lmcore.model.gpt import GPT
from lmcore.tokenizer.byte_bpe import Tokenizer

GREEDY = Sampling(temperature=0.0)
ALL_AT_ONCE = Sampling(temperature=1.3, top_k=20, top_p=0.9, min_p=0.02, repetition_penalty=1.2)
KINDS = {
    "learned": TINY,
    "rope, grouped heads": LLAMA,
    "no positions, odd context": replace(TINY, positions="none", context_length=7),
    "a context of one": replace(TINY, context_length=1),
}
CONTEXT, VOCAB = TINY.context_length, TINY.vocab_size
UNEQUAL = [[3], [4, 1, 5, 9], [2, 6] * 2 * CONTEXT, [7] * CONTEXT, [8] * (CONTEXT - 1)]


def wild(config, seed=0):
    """Return a model whose predictions are far from uniform and depend on what came before."""
    return randomised(config, seed, std=0.4)


@pytest.fixture(scope="module")
def model():
    return wild(TINY)


def logits_of(seed, rows=3, vocab=VOCAB, spread=3.0):
    return spread * torch.randn(rows, vocab, generator=torch.Generator().manual_seed(seed))


def seen_of(seed, rows=3, vocab=VOCAB):
    return torch.rand(rows, vocab, generator=torch.Generator().manual_seed(seed)) < 0.3


prompts = st.lists(st.integers(0, VOCAB - 1), min_size=1, max_size=20)
seeds = st.integers(0, 10_000)
samplings = st.builds(
    Sampling,
    temperature=st.sampled_from([0.0, 0.3, 1.0, 2.5]),
    top_k=st.sampled_from([None, 1, 2, 7, VOCAB, 10 * VOCAB]),
    top_p=st.sampled_from([1e-6, 0.3, 0.9, 1.0]),
    min_p=st.sampled_from([0.0, 0.1, 1.0]),
    repetition_penalty=st.sampled_from([1.0, 1.5, 0.7]),
)


# What is drawn from


@given(sampling=samplings, seed=seeds)
def test_probabilities_equal_transformers(sampling, seed):
    processors = pytest.importorskip("transformers.generation")
    logits, seen = logits_of(seed, rows=1), seen_of(seed, rows=1)
    chain = [processors.RepetitionPenaltyLogitsProcessor(sampling.repetition_penalty)]
    if sampling.temperature:
        chain += [
            processors.TemperatureLogitsWarper(sampling.temperature),
            processors.TopKLogitsWarper(sampling.top_k or VOCAB),
            processors.TopPLogitsWarper(sampling.top_p),
            processors.MinPLogitsWarper(sampling.min_p),
        ]
    scores = logits
    for processor in chain:
        scores = processor(seen.nonzero()[:, 1][None], scores)
    expected = scores.softmax(-1) if sampling.temperature else F.one_hot(scores.argmax(-1), VOCAB)
    found = sampling.probabilities(logits, seen)
    torch.testing.assert_close(found, expected.float(), rtol=0, atol=1e-6)


@given(sampling=samplings, seed=seeds)
def test_probabilities_sum_to_one(sampling, seed):
    total = sampling.probabilities(logits_of(seed), seen_of(seed)).sum(-1)
    torch.testing.assert_close(total, torch.ones(3), rtol=0, atol=1e-6)


@given(seed=seeds, top_k=st.sampled_from([VOCAB, VOCAB + 1]))
def test_what_asks_for_everything_changes_nothing(seed, top_k):
    sampling = Sampling(top_k=top_k, top_p=1.0, min_p=0.0, repetition_penalty=1.0)
    found = sampling.probabilities(logits_of(seed), seen_of(seed))
    torch.testing.assert_close(found, logits_of(seed).softmax(-1))


@given(seed=seeds)
def test_greedy_is_the_limit_of_low_temperature(seed):
    expected = GREEDY.probabilities(logits_of(seed))
    for temperature in (1e-6, 1e-30):
        found = Sampling(temperature=temperature).probabilities(logits_of(seed))
        torch.testing.assert_close(found, expected)


@given(seed=seeds)
def test_the_top_one_is_greedy(seed):
    found = Sampling(top_k=1, temperature=1.7).probabilities(logits_of(seed))
    torch.testing.assert_close(found, GREEDY.probabilities(logits_of(seed)))


@given(seed=seeds, k=st.integers(1, VOCAB))
def test_top_k_leaves_k_tokens(seed, k):
    assert Sampling(top_k=k).probabilities(logits_of(seed)).gt(0).sum(-1).tolist() == [k] * 3


def test_tokens_as_likely_as_the_last_of_the_top_stay():
    logits = torch.tensor([[3.0, 1.0, 1.0, 0.0, 1.0]])
    assert Sampling(top_k=2).probabilities(logits).gt(0).tolist() == [[True] * 3 + [False, True]]


@settings(max_examples=20)
@given(seed=seeds, top_p=st.floats(0.01, 0.999), vocab=st.sampled_from([5, 200, 2_000]))
def test_top_p_leaves_the_fewest_tokens_that_reach_it(seed, top_p, vocab):
    weights = logits_of(seed, vocab=vocab, spread=1.0).double().softmax(-1)
    for whole, kept in zip(weights, nucleus(weights, top_p), strict=True):
        chosen = whole[kept > 0]
        assert torch.equal(chosen.sort().values, whole.sort().values[-len(chosen) :])
        assert chosen.sum() >= top_p
        assert chosen.sum() - chosen.min() < top_p


@given(seed=seeds, min_p=st.floats(0, 1))
def test_min_p_leaves_what_is_near_enough_to_the_most_probable(seed, min_p):
    plain = logits_of(seed).softmax(-1)
    found = Sampling(min_p=min_p).probabilities(logits_of(seed))
    assert torch.equal(found > 0, plain >= min_p * plain.amax(-1, keepdim=True))


def test_a_penalty_divides_logits_above_zero_and_multiplies_those_below():
    logits, seen = torch.tensor([[2.0, -2.0, 2.0]]), torch.tensor([[True, True, False]])
    expected = torch.tensor([[1.0, -4.0, 2.0]]).softmax(-1)
    found = Sampling(repetition_penalty=2.0).probabilities(logits, seen)
    torch.testing.assert_close(found, expected)


def test_enormous_logits_give_finite_probabilities():
    logits = torch.tensor([[1e4, -1e4, 9_999.0]])
    assert Sampling(temperature=1e-3, top_p=0.9).probabilities(logits).isfinite().all()


# Drawing


@given(sampling=samplings, seed=seeds)
def test_a_draw_is_the_first_token_whose_sum_of_probabilities_exceeds_the_number(sampling, seed):
    uniforms = torch.rand(3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    drawn = sampling.draw(logits_of(seed), uniforms, seen_of(seed))
    probabilities = sampling.probabilities(logits_of(seed), seen_of(seed)).double()
    sums = F.pad(probabilities.cumsum(-1), (1, 0))
    for row, id in enumerate(drawn.tolist()):
        if sampling.temperature:
            assert sums[row, id] - 1e-6 <= uniforms[row] < sums[row, id + 1] + 1e-6
        assert probabilities[row, id] > 0


@pytest.mark.parametrize("uniform", [0.0, 1 - 2**-53])
@pytest.mark.parametrize("seed", range(5))
def test_the_ends_of_the_unit_interval_draw_possible_tokens(uniform, seed):
    logits = logits_of(seed, rows=64, vocab=2_000)
    logits[:, [0, 1, -2, -1]] = -torch.inf
    drawn = Sampling(top_k=50).draw(logits, torch.full((64,), uniform, dtype=torch.float64))
    assert logits.softmax(-1).gather(1, drawn[:, None]).all()


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_draws_follow_the_probabilities_raised_to_one_over_the_temperature(temperature):
    n, probabilities = 4_000, torch.tensor([0.6, 0.25, 0.1, 0.05, 0.0])
    expected = probabilities ** (1 / temperature)
    expected /= expected.sum()
    uniforms = torch.rand(n, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    logits = probabilities.log().expand(n, -1)
    share = Sampling(temperature=temperature).draw(logits, uniforms).bincount(minlength=5) / n
    assert (share - expected).abs().max() < 4 * math.sqrt(0.25 / n)
    assert share[4] == 0


# Generation without a cache, in the plainest form


@torch.no_grad()
def plainly(model, prompt, max_new_tokens, sampling, seed):
    """Return what `generate` should, every window read from its start and every draw by a loop."""
    context, text = model.config.context_length, list(prompt)
    window = text[-context:]
    numbers = torch.rand(
        max_new_tokens, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )
    for number in numbers.tolist():
        if len(window) > context:
            window = window[-((context + 1) // 2) :]
        seen = torch.zeros(1, VOCAB, dtype=torch.bool)
        seen[0, text] = True
        logits = model(torch.tensor([window]))[:, -1]
        sums = accumulate(sampling.probabilities(logits, seen)[0].tolist())
        id = next(id for id, total in enumerate(sums) if total > number)
        text.append(id)
        window.append(id)
    return text[len(prompt) :]


@pytest.mark.parametrize("config", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("sampling", [GREEDY, ALL_AT_ONCE], ids=["greedy", "sampled"])
def test_a_cache_changes_no_token_even_beyond_the_context(config, sampling):
    model = wild(config)
    expected = [plainly(model, prompt, 15, sampling, 5 + i) for i, prompt in enumerate(UNEQUAL)]
    assert generate(model, UNEQUAL, 15, sampling, seed=5) == expected


@pytest.mark.parametrize("config", [TINY, LLAMA], ids=["learned", "rope"])
def test_a_prompt_goes_on_alone_as_it_does_in_a_batch(config):
    model = wild(config)
    alone = [generate(model, prompt, 15, ALL_AT_ONCE, seed=i) for i, prompt in enumerate(UNEQUAL)]
    assert generate(model, UNEQUAL, 15, ALL_AT_ONCE) == alone


@settings(max_examples=12)
@given(ids=prompts)
def test_temperature_zero_takes_the_likeliest_within_the_context(model, ids):
    expected = ids[-2:]
    for _ in range(CONTEXT - 1):
        expected.append(int(next_probabilities(model, expected).argmax()))
    assert generate(model, ids[-2:], CONTEXT - 1, GREEDY) == expected[len(ids[-2:]) :]


def test_of_a_prompt_beyond_the_context_the_newest_part_counts(model):
    long = [i % VOCAB for i in range(3 * CONTEXT)]
    assert generate(model, long, 20) == generate(model, long[-CONTEXT:], 20)


# Seeds, stops and streams


@settings(max_examples=5)
@given(ids=prompts, seed=st.integers(0, 99))
def test_a_seed_fixes_a_sample(model, ids, seed):
    assert generate(model, ids, 12, seed=seed) == generate(model, ids, 12, seed=seed)


def test_seeds_differ(model):
    assert len({tuple(generate(model, [1], 12, seed=seed)) for seed in range(5)}) == 5


def test_one_seed_for_a_batch_counts_up(model):
    assert generate(model, [[1], [1]], 9, seed=3) == generate(model, [[1], [1]], 9, seed=[3, 4])


def test_equal_seeds_give_equal_prompts_equal_samples(model):
    first, second = generate(model, [[1], [1]], 9, seed=[3, 3])
    assert first == second


@pytest.mark.parametrize("max_new_tokens", [0, 1, 7])
def test_asking_for_fewer_tokens_gives_the_beginning_of_more(model, max_new_tokens):
    assert generate(model, [1], max_new_tokens) == generate(model, [1], 20)[:max_new_tokens]


def test_sampling_leaves_torchs_random_numbers_alone(model):
    before = torch.get_rng_state()
    generate(model, [1], 5)
    assert torch.equal(torch.get_rng_state(), before)


@settings(max_examples=8)
@given(
    texts=st.lists(prompts, min_size=1, max_size=4),
    stops=st.sets(st.integers(0, VOCAB - 1), max_size=4),
)
def test_a_stop_id_ends_its_own_text_and_is_not_part_of_it(model, texts, stops):
    expected = []
    for free in generate(model, texts, 15, ALL_AT_ONCE):
        ends = [place for place, id in enumerate(free) if id in stops]
        expected.append(free[: min(ends, default=len(free))])
    assert generate(model, texts, 15, ALL_AT_ONCE, stop_ids=stops) == expected


def test_a_stream_yields_each_texts_ids_as_they_come_and_none_after_its_end(model):
    free = generate(model, UNEQUAL, 15)
    stop = free[1][3]
    columns = list(zip(*stream_ids(model, UNEQUAL, 15, stop_ids=[stop]), strict=True))
    for text, column in zip(free, columns, strict=True):
        end = text.index(stop) if stop in text else 15
        assert list(column) == (text[:end] + [None] * 15)[: len(column)]


@pytest.mark.parametrize("register", ["register_forward_hook", "register_forward_pre_hook"])
def test_a_stream_computes_no_further_than_it_is_read_and_calls_the_model_s_hooks(model, register):
    calls = []
    hook = getattr(model.norm, register)(lambda *_: calls.append(1))
    list(islice(stream_ids(model, [[1]], 1_000), 3))
    hook.remove()
    assert len(calls) == 3


class Negated(torch.nn.Linear):
    """Another module in the place of a model's own, as an adapter is."""

    def forward(self, x):
        return -super().forward(x)


def test_a_module_put_in_the_place_of_one_of_the_model_s_has_its_say():
    plain, other = wild(TINY), wild(TINY)
    up = other.blocks[0].mlp.up
    other.blocks[0].mlp.up = Negated(up.in_features, up.out_features)
    other.blocks[0].mlp.up.load_state_dict(up.state_dict())
    with torch.no_grad():
        for p in plain.blocks[0].mlp.up.parameters():
            p.neg_()
    assert generate(other, [1], 20) == generate(plain, [1], 20) != generate(wild(TINY), [1], 20)


@pytest.mark.parametrize("training", [True, False])
def test_sampling_leaves_the_model_in_the_mode_it_was_in(training):
    model = GPT(TINY).train(training)
    generate(model, [1], 2)
    assert model.training is training


def test_a_stream_closed_early_leaves_the_model_in_the_mode_it_was_in():
    model = GPT(TINY).train()
    ids = stream_ids(model, [[1]], 20)
    next(ids)
    assert not model.training
    ids.close()
    assert model.training


def test_gradients_are_on_between_the_tokens_of_a_stream(model):
    for _ in stream_ids(model, [[1]], 2):
        assert torch.is_grad_enabled()
        assert not torch.is_inference_mode_enabled()


def test_dropout_is_off():
    model = wild(replace(TINY, dropout=0.5))
    expected = generate(model, [1], 9)
    assert generate(model.train(), [1], 9) == expected


def test_a_model_in_bfloat16_generates(model):
    ids = generate(wild(LLAMA).bfloat16(), UNEQUAL, 20, ALL_AT_ONCE)
    assert [len(text) for text in ids] == [20] * len(UNEQUAL)


def test_many_tokens_of_few_texts_are_those_of_a_short_run_and_of_many_texts(model):
    few = generate(model, [[3], [4, 1]], TRANSPOSE_MIN_TOKENS)
    assert few * 3 == generate(model, [[3], [4, 1]] * 3, TRANSPOSE_MIN_TOKENS, seed=[0, 1] * 3)
    assert few[0][:-1] == generate(model, [3], TRANSPOSE_MIN_TOKENS - 1)


def test_gradients_are_off_for_the_model_and_stay_on_for_whoever_reads_the_stream(model):
    for _ in stream_ids(model, [[1]], 3):
        assert (torch.is_grad_enabled(), torch.is_inference_mode_enabled()) == (True, False)
    assert DecodingBatch(model, [[1]], 3, GREEDY, [0]).head.is_inference()


# Text


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer.train(["été, déjà vu, là-bas"] * 9, 270, ["<eos>"])


@pytest.fixture(scope="module")
def writer(tokenizer):
    return wild(replace(TINY, vocab_size=tokenizer.vocab_size))


@pytest.mark.parametrize("seed", range(4))
def test_the_pieces_of_a_text_are_the_text_of_its_ids(writer, tokenizer, seed):
    ids = generate(writer, tokenizer.encode("été"), 40, seed=seed)
    pieces = list(stream_text(writer, tokenizer, "été", 40, seed=seed))
    assert "".join(pieces) == tokenizer.decode(ids)
    assert all(pieces)


def test_a_text_ends_before_the_stop(writer, tokenizer):
    whole = "".join(stream_text(writer, tokenizer, "été", 40))
    stop = whole[10:13]
    found = "".join(stream_text(writer, tokenizer, "été", 40, stop=["no such thing", stop]))
    assert found == whole[: whole.index(stop)]


def test_a_special_token_is_a_stop_like_any_other(writer, tokenizer):
    pieces = tokenizer.decode_stream(tokenizer.encode("là<eos>déjà"))
    assert "".join(text_before_stop(pieces, ["<eos>"])) == "là"


def test_a_text_closed_early_leaves_the_model_in_the_mode_it_was_in(writer, tokenizer):
    writer.train()
    pieces = stream_text(writer, tokenizer, "été", 40)
    next(pieces)
    assert not writer.training
    pieces.close()
    assert writer.training
    writer.eval()


@settings(max_examples=300)
@given(
    text=st.text("ab", max_size=12),
    cuts=st.sets(st.integers(1, 11)),
    stop=st.lists(st.text("ab", min_size=1, max_size=5), max_size=3),
)
def test_a_stop_is_found_wherever_the_text_is_cut(text, cuts, stop):
    complete = [n for n in range(len(text) + 1) if any(text[:n].endswith(end) for end in stop)]
    expected = text
    if complete:
        first = text[: complete[0]]
        expected = first[: -max(len(end) for end in stop if first.endswith(end))]
    ends = sorted(cut for cut in cuts if cut < len(text))
    pieces = [text[a:b] for a, b in pairwise([0, *ends, len(text)])]
    assert "".join(text_before_stop(pieces, stop)) == expected


def test_only_what_could_begin_a_stop_is_held_back():
    pieces = text_before_stop(iter(["one s", "t", "ep, ", "stop"]), ["stop"])
    assert list(pieces) == ["one ", "step, "]


# What a text was worth


@given(ids=prompts)
def test_next_probabilities_are_those_of_the_last_logits(model, ids):
    expected = model(torch.tensor([ids[-CONTEXT:]]))[0, -1].detach().softmax(-1)
    torch.testing.assert_close(next_probabilities(model, ids), expected)


@settings(max_examples=15)
@given(ids=prompts)
def test_log_probabilities_are_those_of_each_token_after_those_before(model, ids):
    ids = ids[: CONTEXT + 1]
    expected = [next_probabilities(model, ids[:i])[ids[i]].log() for i in range(1, len(ids))]
    torch.testing.assert_close(log_probabilities(model, ids).float(), torch.tensor(expected))


def test_a_start_gives_the_first_token_a_probability_too(model):
    torch.testing.assert_close(
        log_probabilities(model, [4, 5], start_id=3), log_probabilities(model, [3, 4, 5])
    )


def test_a_text_beyond_the_context_is_scored_in_windows(model):
    text = [(7 * i) % VOCAB for i in range(2 * CONTEXT + 3)]
    parts = [text[at : at + CONTEXT + 1] for at in (0, CONTEXT, 2 * CONTEXT)]
    expected = torch.cat([log_probabilities(model, part) for part in parts])
    torch.testing.assert_close(log_probabilities(model, text), expected)


@settings(max_examples=15)
@given(ids=prompts, k=st.integers(1, VOCAB))
def test_the_likeliest_tokens_are_the_top_of_the_next_probabilities(model, ids, k):
    ids = ids[:CONTEXT]
    tokens, probabilities = top_next_tokens(model, ids, k, rows=3)
    for i in range(len(ids)):
        expected = next_probabilities(model, ids[: i + 1]).topk(k)
        torch.testing.assert_close(probabilities[i], expected.values)
        assert tokens[i].tolist() == expected.indices.tolist()


def test_beyond_the_context_the_likeliest_are_those_of_windows(model):
    text = list(range(CONTEXT + 3))
    tokens, _ = top_next_tokens(model, text, 2)
    assert torch.equal(tokens[CONTEXT:], top_next_tokens(model, text[CONTEXT:], 2)[0])


# Bad input


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"temperature": -0.5}, r"-0\.5"),
        ({"temperature": math.inf}, "inf"),
        ({"temperature": math.nan}, "nan"),
        ({"top_k": 0}, "top_k 0 leaves no token"),
        ({"top_p": 0.0}, r"not 0\.0"),
        ({"top_p": 1.1}, r"not 1\.1"),
        ({"min_p": -0.1}, r"not -0\.1"),
        ({"min_p": 2.0}, r"not 2\.0"),
        ({"repetition_penalty": 0.0}, r"not 0\.0"),
    ],
)
def test_a_sampling_that_cannot_be_is_an_error_with_its_value(wrong, says):
    with pytest.raises(ValueError, match=says):
        Sampling(**wrong)


@pytest.mark.parametrize("prompt", [[], [[]], [[1], []]], ids=str)
def test_nothing_to_go_on_from_is_an_error(model, prompt):
    with pytest.raises(ValueError, match="at least one id"):
        generate(model, prompt, 5)


@pytest.mark.parametrize("wrong", [-1, VOCAB])
@pytest.mark.parametrize("place", [0, -1])
def test_an_id_out_of_range_is_an_error_even_beyond_the_context(model, wrong, place):
    prompt = [1] * (2 * CONTEXT)
    prompt[place] = wrong
    with pytest.raises(ValueError, match=f"id {wrong} is outside the vocabulary of {VOCAB}"):
        generate(model, prompt, 5)


def test_fewer_than_no_new_tokens_are_an_error(model):
    with pytest.raises(ValueError, match="max_new_tokens -1 is negative"):
        generate(model, [1], -1)


def test_another_number_of_seeds_than_prompts_is_an_error_with_both(model):
    with pytest.raises(ValueError, match="3 seeds do not fit 2 prompts"):
        generate(model, [[1], [2]], 5, seed=[1, 2, 3])


def test_a_stream_complains_before_it_is_read(model):
    with pytest.raises(ValueError, match="at least one id"):
        stream_ids(model, [[]], 5)


def test_a_diverged_model_is_an_error_that_says_so():
    model = wild(TINY).train()
    with torch.no_grad():
        model.norm.weight.fill_(math.nan)
    with pytest.raises(ValueError, match="not finite"):
        generate(model, [1], 5, GREEDY)
    assert model.training


@pytest.mark.parametrize("stop", ["", [""]], ids=repr)
def test_stops_that_cannot_be_are_an_error_with_them(writer, tokenizer, stop):
    with pytest.raises(ValueError, match="list of strings that are not empty"):
        stream_text(writer, tokenizer, "été", 5, stop=stop)


@pytest.mark.parametrize("k", [0, VOCAB + 1])
def test_more_top_tokens_than_there_are_is_an_error(model, k):
    with pytest.raises(ValueError, match=f"k {k} is not from 1 to the vocabulary of {VOCAB}"):
        top_next_tokens(model, [1], k)
