"""Token files that cannot be misread, and walks that meet each token as often as they say."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lmcore.tokenizer import Tokenizer
from lmcore.tokens import (
    batches_per_epoch,
    load_tokens,
    scoring_windows,
    sequential_batch,
    smallest_dtype,
    write_tokens,
)

TEXT = "the cat sat on the mät"
sizes = st.integers(1, 6)


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer.train([TEXT], 270, ["<eos>"])


@pytest.fixture
def written(tokenizer, tmp_path):
    """The path of a token file."""
    write_tokens(tmp_path / "t.npy", np.array(tokenizer.encode(TEXT)), TEXT, tokenizer)
    return tmp_path / "t.npy"


def test_reading_gives_what_was_written(tokenizer, written):
    assert load_tokens(written, tokenizer).ids.tolist() == tokenizer.encode(TEXT)


def test_the_record_counts_tokens_and_characters_and_bytes(tokenizer, written):
    info = load_tokens(written, tokenizer).info
    assert (info.n_tokens, info.characters, info.bytes) == (len(tokenizer.encode(TEXT)), 22, 23)


@pytest.mark.parametrize(
    ("vocab_size", "dtype"), [(65_536, np.uint16), (65_537, np.uint32), (2**31, np.uint32)]
)
def test_the_smallest_type_that_holds_every_id_is_taken(vocab_size, dtype):
    assert smallest_dtype(vocab_size) is dtype


def test_a_file_of_another_tokenizer_is_an_error_that_names_both(tokenizer, written):
    other = Tokenizer.train([TEXT], 260, ["<eos>"])
    with pytest.raises(ValueError, match=f"{tokenizer.fingerprint}.*{other.fingerprint}"):
        load_tokens(written, other)


def test_each_flipped_bit_is_an_error_that_names_the_file(tokenizer, written):
    whole = written.read_bytes()
    for place in range(8 * len(whole)):
        raw = bytearray(whole)
        raw[place // 8] ^= 1 << place % 8
        written.write_bytes(raw)
        with pytest.raises(ValueError, match=r"t\.npy is damaged"):
            load_tokens(written, tokenizer)


def test_each_truncation_is_an_error_that_names_the_file(tokenizer, written):
    whole = written.read_bytes()
    for length in range(len(whole)):
        written.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"t\.npy is damaged"):
            load_tokens(written, tokenizer)


@pytest.mark.parametrize("name", ["t.npy", "t.json"])
def test_a_missing_file_is_an_error_that_names_it(tokenizer, written, name):
    (written.parent / name).unlink()
    with pytest.raises(ValueError, match=name):
        load_tokens(written, tokenizer)


@pytest.mark.parametrize("record", ["{}", "[]", '{"colour": 1}', "{"])
def test_a_record_that_says_something_else_is_an_error_that_names_it(tokenizer, written, record):
    written.with_suffix(".json").write_text(record, encoding="utf-8")
    with pytest.raises(ValueError, match=r"t\.json"):
        load_tokens(written, tokenizer)


def epoch(n, batch_size, context):
    """Return (x, y) of all steps of one epoch over the tokens 0 … n - 1."""
    ids = np.arange(n, dtype=np.uint16)
    steps = range(batches_per_epoch(n, batch_size, context))
    return [sequential_batch(ids, step, batch_size, context) for step in steps]


@given(batch=sizes, context=sizes, extra=st.integers(1, 100))
def test_y_is_x_one_token_later(batch, context, extra):
    for x, y in epoch(batch * context + extra, batch, context):
        assert torch.equal(y, x + 1)


@given(batch=sizes, context=sizes, extra=st.integers(1, 100))
def test_an_epoch_meets_each_target_once_in_order_but_for_a_last_part_of_a_batch(
    batch, context, extra
):
    n = batch * context + extra
    targets = torch.cat([y.flatten() for _, y in epoch(n, batch, context)])
    assert targets.tolist() == list(range(1, len(targets) + 1))
    assert 0 <= n - 1 - len(targets) < batch * context


@given(batch=sizes, context=sizes, extra=st.integers(1, 100), step=st.integers(0, 50))
def test_after_the_last_full_batch_the_walk_begins_again(batch, context, extra, step):
    n = batch * context + extra
    x, _ = sequential_batch(np.arange(n), step, batch, context)
    again, _ = sequential_batch(np.arange(n), step + len(epoch(n, batch, context)), batch, context)
    assert torch.equal(x, again)


def test_batches_are_rows_of_64_bit_integers():
    x, y = sequential_batch(np.arange(50, dtype=np.uint16), 0, 3, 4)
    assert (x.dtype, y.dtype, x.shape, y.shape) == (torch.int64, torch.int64, (3, 4), (3, 4))


def test_tokens_too_few_for_one_batch_are_an_error_with_the_sizes():
    with pytest.raises(ValueError, match="12 tokens do not fill one batch of 3 x 4"):
        sequential_batch(np.arange(12), 0, 3, 4)


@given(n=st.integers(1, 80), context=sizes, rows=sizes)
def test_scoring_meets_each_token_once_in_order(n, context, rows):
    windows = scoring_windows(np.arange(n), context, rows, start_id=99)
    assert torch.cat([y.flatten() for _, y in windows]).tolist() == list(range(n))


@given(n=st.integers(1, 80), context=sizes, rows=sizes)
def test_what_is_read_before_scoring_is_the_start_id_and_then_the_tokens(n, context, rows):
    windows = scoring_windows(np.arange(n), context, rows, start_id=99)
    assert torch.cat([x.flatten() for x, _ in windows]).tolist() == [99, *range(n - 1)]


@given(n=st.integers(1, 80), context=sizes, rows=sizes)
def test_no_scoring_window_is_longer_than_the_context_or_higher_than_rows(n, context, rows):
    for x, y in scoring_windows(np.arange(n), context, rows, start_id=99):
        assert x.shape == y.shape
        assert x.shape[0] <= rows
        assert x.shape[1] <= context
