"""Token files that cannot be misread, and walks that meet each token as often as they say."""

import dataclasses
import hashlib
import itertools
import json
import re
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from made import as_tokens, small_disk

from lmcore.tokenizer import Tokenizer
from lmcore.tokens import (
    Batches,
    Tokens,
    header,
    load_tokens,
    locate,
    scoring_windows,
    text_chunks,
    to_device,
    tokens_of_file,
    write_documents,
    write_text,
)

DOCUMENTS = ["the cat sat", "on the mät", "", "a <eos> in it"]
TEXT = "the cat sat<eos>on the mät<eos>"
sizes = st.integers(1, 6)
some_text = st.text(alphabet="the cat\n\0é<eos>", max_size=30)


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer.train([TEXT], 270, ["<eos>"])


@pytest.fixture
def written(tokenizer, tmp_path):
    """The path of a token file."""
    write_documents(tmp_path / "t.npy", DOCUMENTS, tokenizer, "<eos>")
    return tmp_path / "t.npy"


def sha256(text):
    return hashlib.sha256(text.encode()).hexdigest()


def times(folder):
    """Return when each file in folder was last written."""
    return {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}


# Writing and reading


def test_reading_gives_what_was_written(tokenizer, written):
    ids = load_tokens(written, tokenizer, verify=True).ids
    assert ids.tolist() == tokenizer.encode_documents(DOCUMENTS, "<eos>").tolist()


def test_numpy_reads_the_file_alone_with_the_smallest_type(tokenizer, written):
    ids = np.load(written, mmap_mode="r", allow_pickle=False)
    assert ids.dtype.str == "<u2"
    assert np.array_equal(ids, load_tokens(written, tokenizer).ids)


def test_ids_are_mapped_and_cannot_be_written_to(tokenizer, written):
    ids = load_tokens(written, tokenizer).ids
    assert isinstance(ids.base, np.memmap)
    assert not ids.flags.writeable


def test_a_larger_vocabulary_takes_a_larger_type(tmp_path):
    vocab = {byte: bytes([byte]) for byte in range(256)} | {2**16: b"<eos>"}
    tokenizer = Tokenizer(vocab, [], ["<eos>"])
    write_documents(tmp_path / "t.npy", ["a"], tokenizer, "<eos>")
    assert load_tokens(tmp_path / "t.npy", tokenizer, verify=True).ids.tolist() == [97, 2**16]


@pytest.mark.parametrize("prefix", ["", " "])
def test_the_record_counts_each_text_and_its_end_but_no_prefix(tokenizer, tmp_path, prefix):
    info = write_documents(tmp_path / "t.npy", ["thé", "cat"], tokenizer, "<eos>", prefix)
    assert (info.characters, info.bytes, info.n_documents) == (16, 17, 2)
    assert info.text_sha256 == sha256("thé<eos>cat<eos>")


@given(documents=st.lists(some_text, max_size=5))
def test_documents_begin_where_the_record_says(tokenizer, tmp_path, documents):
    write_documents(tmp_path / "t.npy", documents, tokenizer, "<eos>")
    tokens = load_tokens(tmp_path / "t.npy", tokenizer, verify=True)
    parts = np.split(tokens.ids, tokens.documents[1:])
    assert [tokenizer.decode(part) for part in parts if len(part)] == [
        text + "<eos>" for text in documents
    ]


@given(text=some_text, n_bytes=st.integers(1, 9))
def test_a_file_in_any_pieces_is_its_text(tmp_path, text, n_bytes):
    (tmp_path / "text.txt").write_bytes(text.encode())
    assert "".join(text_chunks(tmp_path / "text.txt", n_bytes)) == text


@given(text=some_text)
def test_a_text_file_has_the_ids_of_its_text(tokenizer, tmp_path, text):
    (tmp_path / "text.txt").write_bytes(text.encode())
    write_text(tmp_path / "t.npy", tmp_path / "text.txt", tokenizer, "<eos>")
    tokens = load_tokens(tmp_path / "t.npy", tokenizer, verify=True)
    assert tokens.ids.tolist() == tokenizer.encode(text)
    assert (tokens.info.characters, tokens.info.text_sha256) == (len(text), sha256(text))


@given(text=some_text, end=st.sampled_from(["<eos>", None]))
def test_documents_of_a_text_file_begin_after_each_end(tokenizer, tmp_path, text, end):
    (tmp_path / "text.txt").write_bytes(text.encode())
    write_text(tmp_path / "t.npy", tmp_path / "text.txt", tokenizer, end)
    tokens = load_tokens(tmp_path / "t.npy", tokenizer)
    ids = tokens.ids.tolist()
    ends = [i for i, id in enumerate(ids, 1) if id == tokenizer.special_tokens.get(end)]
    assert tokens.documents.tolist() == [place for place in [0, *ends] if place < len(ids)]


def test_a_text_larger_than_a_piece_has_the_ids_of_the_whole(tokenizer, tmp_path):
    text = "the mät sat <eos>on\n the cat " * 45_000
    (tmp_path / "text.txt").write_text(text, encoding="utf-8")
    write_text(tmp_path / "t.npy", tmp_path / "text.txt", tokenizer, "<eos>")
    tokens = load_tokens(tmp_path / "t.npy", tokenizer, verify=True)
    assert np.array_equal(tokens.ids, tokenizer.encode_array(text))


@pytest.mark.parametrize("raw", [b"caf\xe9 au lait", b"abcd\xe2\x98", b"12345678\xff"])
@pytest.mark.parametrize("n_bytes", [1, 3, 100])
def test_a_file_that_is_not_utf_8_is_an_error_that_names_the_first_wrong_byte(
    tmp_path, raw, n_bytes
):
    path = tmp_path / "text.txt"
    path.write_bytes(raw)
    with pytest.raises(UnicodeDecodeError) as theirs:
        raw.decode()
    at = theirs.value.start
    with pytest.raises(ValueError, match=rf"text\.txt is not UTF-8 \(byte {at} is {raw[at]:#04x}"):
        list(text_chunks(path, n_bytes))


@pytest.mark.parametrize("write", [write_documents, write_text])
def test_an_end_that_is_no_special_is_an_error_that_names_it(tokenizer, tmp_path, write):
    (tmp_path / "text.txt").write_text(TEXT, encoding="utf-8")
    given_text = {write_documents: [TEXT], write_text: tmp_path / "text.txt"}[write]
    with pytest.raises(ValueError, match=r"'<end>' .*'<eos>'"):
        write(tmp_path / "t.npy", given_text, tokenizer, "<end>")


# Made once


def test_tokens_of_the_same_text_are_not_written_again(tokenizer, tmp_path):
    path, source = tmp_path / "t.npy", tmp_path / "text.txt"
    source.write_text(TEXT, encoding="utf-8")
    tokens_of_file(path, source, tokenizer, "<eos>")
    before = times(tmp_path)
    assert tokens_of_file(path, source, tokenizer, "<eos>").ids.tolist() == tokenizer.encode(TEXT)
    assert times(tmp_path) == before


def changed_text(path, source):
    source.write_text("another text", encoding="utf-8")


def cut_short(path, source):
    path.write_bytes(path.read_bytes()[:-1])


def without_a_record(path, source):
    path.with_suffix(".json").unlink()


def made_by_another(path, source):
    tokens_of_file(path, source, Tokenizer.train(["other"], 258))


@pytest.mark.parametrize("change", [changed_text, cut_short, without_a_record, made_by_another])
def test_tokens_that_do_not_match_are_written_again(tokenizer, tmp_path, change):
    path, source = tmp_path / "t.npy", tmp_path / "text.txt"
    source.write_text(TEXT, encoding="utf-8")
    tokens_of_file(path, source, tokenizer)
    change(path, source)
    found = tokens_of_file(path, source, tokenizer)
    assert found.ids.tolist() == tokenizer.encode(source.read_text(encoding="utf-8"))


KILLED = """
import os, pathlib, signal, sys
from lmcore.tokenizer import Tokenizer
from lmcore.tokens import write_documents

def documents():
    yield "the cat" * 10_000
    os.kill(os.getpid(), signal.SIGKILL)

path = pathlib.Path(sys.argv[1])
write_documents(path, documents(), Tokenizer.load(path.parent), "<eos>")
"""


def test_writing_that_was_killed_leaves_what_was_there(tokenizer, written):
    before = written.read_bytes()
    tokenizer.save(written.parent)
    done = subprocess.run([sys.executable, "-c", KILLED, str(written)])
    assert done.returncode == -signal.SIGKILL
    assert written.read_bytes() == before
    load_tokens(written, tokenizer, verify=True)


def test_writing_on_a_full_disk_leaves_what_was_there(tokenizer, written):
    with small_disk(4_096), pytest.raises(OSError, match=r"t.*\.npy cannot be written"):
        write_documents(written, ["the cat " * 5_000], tokenizer, "<eos>")
    load_tokens(written, tokenizer, verify=True)
    assert sorted(p.name for p in written.parent.iterdir()) == [
        "t.documents.npy",
        "t.json",
        "t.npy",
    ]


# Damage


def test_a_file_of_another_tokenizer_is_an_error_that_names_both(tokenizer, written):
    other = Tokenizer.train([TEXT], 260, ["<eos>"])
    with pytest.raises(ValueError, match=f"{tokenizer.fingerprint}.*{other.fingerprint}"):
        load_tokens(written, other)


def flipped(path, place):
    raw = bytearray(path.read_bytes())
    raw[place // 8] ^= 1 << place % 8
    path.write_bytes(raw)


@pytest.mark.parametrize("name", ["t.npy", "t.documents.npy", "t.json"])
@given(place=st.integers(0, 10**6))
def test_a_flipped_bit_anywhere_is_found_in_full_and_named(tokenizer, written, name, place):
    path = written.with_name(name)
    whole = path.read_bytes()
    flipped(path, place % (8 * len(whole)))
    with pytest.raises(ValueError, match=re.escape(name)):
        load_tokens(written, tokenizer, verify=True)
    path.write_bytes(whole)


@pytest.mark.parametrize("name", ["t.npy", "t.documents.npy"])
@given(place=st.integers(0, 8 * 128 - 1))
def test_a_flipped_bit_in_a_header_is_found_on_opening(tokenizer, written, name, place):
    path = written.with_name(name)
    whole = path.read_bytes()
    flipped(path, place)
    with pytest.raises(ValueError, match=f"{re.escape(name)} is damaged"):
        load_tokens(written, tokenizer)
    path.write_bytes(whole)


@pytest.mark.parametrize("name", ["t.npy", "t.documents.npy", "t.json"])
@given(keep=st.floats(0, 0.9999))
def test_a_file_cut_short_is_found_on_opening(tokenizer, written, name, keep):
    path = written.with_name(name)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(keep * (len(whole) - 1))])  # a last line end alone tells nothing
    with pytest.raises(ValueError, match=f"{re.escape(name)} is"):
        load_tokens(written, tokenizer)
    path.write_bytes(whole)


@pytest.mark.parametrize("name", ["t.npy", "t.documents.npy", "t.json"])
def test_a_missing_file_is_an_error_that_names_it(tokenizer, written, name):
    written.with_name(name).unlink()
    with pytest.raises(ValueError, match=f"{re.escape(name)} is missing"):
        load_tokens(written, tokenizer)


def test_a_pickled_array_is_refused_and_not_run(tokenizer, written):
    np.save(written, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match=r"t\.npy is damaged"):
        load_tokens(written, tokenizer)


def rewritten(path, tokenizer, ids):
    """Write ids over those at path with a record that agrees with them."""
    info = load_tokens(path, tokenizer).info
    raw = np.array(ids, dtype=info.dtype).tobytes()
    path.write_bytes(header(info.dtype, len(ids)) + raw)
    changed = dataclasses.replace(info, n_tokens=len(ids), sha256=hashlib.sha256(raw).hexdigest())
    digest = hashlib.sha256(json.dumps(dataclasses.asdict(changed)).encode()).hexdigest()
    record = dataclasses.asdict(changed) | {"record_sha256": digest}
    path.with_suffix(".json").write_text(json.dumps(record), encoding="utf-8")


def test_an_id_beyond_the_vocabulary_is_found_in_full_and_named(tokenizer, written):
    rewritten(written, tokenizer, [0, 270])
    with pytest.raises(ValueError, match=r"t\.npy .*id 270 is beyond the vocabulary of 270"):
        load_tokens(written, tokenizer, verify=True)


@pytest.mark.parametrize("record", ["{}", "[]", "3", '{"colour": 1}', "{", '{"record_sha256": 1}'])
def test_a_record_that_says_something_else_is_an_error_that_names_it(tokenizer, written, record):
    written.with_suffix(".json").write_text(record, encoding="utf-8")
    with pytest.raises(ValueError, match=r"t\.json"):
        load_tokens(written, tokenizer)


# Where a token came from


def test_each_token_is_found_in_its_document(tokenizer, written):
    tokens = load_tokens(written, tokenizer)
    for position in range(len(tokens.ids)):
        place = locate(tokens, position, tokenizer)
        ids = tokenizer.encode_documents([DOCUMENTS[place.document]], "<eos>")
        assert ids[place.offset] == tokens.ids[position]
        assert place.text == DOCUMENTS[place.document] + "<eos>"


@pytest.mark.parametrize("position", [-1, 1_000])
def test_a_place_beyond_the_tokens_is_an_error_that_names_it(tokenizer, written, position):
    with pytest.raises(ValueError, match=f"position {position} "):
        locate(load_tokens(written, tokenizer), position, tokenizer)


# Batches in order


def in_order(n, batch_size, context):
    """Return batches in order of the tokens 0 … n - 1."""
    return Batches(as_tokens(np.arange(n, dtype=np.uint16)), batch_size, context)


def epoch(n, batch_size, context):
    """Return (x, y) of all steps of one epoch over the tokens 0 … n - 1."""
    batches = in_order(n, batch_size, context)
    return [batches.batch(step) for step in range(batches.steps_per_epoch)]


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
    batches = in_order(batch * context + extra, batch, context)
    (x, _), (again, _) = (batches.batch(n) for n in (step, step + batches.steps_per_epoch))
    assert torch.equal(x, again)


def test_batches_are_rows_of_64_bit_integers():
    x, y = in_order(50, 3, 4).batch(0)
    assert (x.dtype, y.dtype, x.shape, y.shape) == (torch.int64, torch.int64, (3, 4), (3, 4))


def test_tokens_too_few_for_one_batch_are_an_error_with_the_sizes():
    with pytest.raises(ValueError, match="12 tokens do not fill one batch of 3 x 4"):
        in_order(12, 3, 4)


# Batches in other orders

ORDERS = ["sequential", "uniform", "shuffled", "documents"]


def counted(lengths):
    """Return the tokens 0, 1, 2 … as documents of these lengths."""
    tokens = as_tokens(np.arange(sum(lengths), dtype=np.uint16))
    begins = np.cumsum([0, *lengths[:-1]])
    return Tokens(tokens.ids, begins, tokens.info)


@pytest.mark.parametrize("order", ORDERS)
@given(seed=st.integers(0, 5), step=st.integers(0, 30), other=st.integers(0, 30))
def test_a_batch_depends_on_its_step_and_seed_alone(order, seed, step, other):
    tokens = counted([5, 1, 30, 8])
    used, fresh = (Batches(tokens, 2, 4, order, seed) for _ in range(2))
    used.batch(other)
    assert all(map(torch.equal, used.batch(step), fresh.batch(step)))


@pytest.mark.parametrize("order", ORDERS[1:])
def test_another_seed_gives_other_batches(order):
    tokens = counted([3] * 50)
    (x, _), (other, _) = (Batches(tokens, 4, 8, order, seed).batch(0) for seed in (0, 1))
    assert not torch.equal(x, other)


@pytest.mark.parametrize("order", ORDERS[1:])
def test_the_next_epoch_has_another_order(order):
    batches = Batches(counted([3] * 50), 4, 8, order)
    (x, _), (later, _) = batches.batch(0), batches.batch((150 - 1) // 32)
    assert not torch.equal(x, later)


@pytest.mark.parametrize("order", ORDERS)
def test_a_batch_holds_the_ids_at_its_positions(order):
    tokens = as_tokens(np.random.default_rng(0).integers(0, 999, 70))
    batches = Batches(tokens, 3, 5, order)
    for step in range(9):
        x, y = batches.batch(step)
        rows = torch.from_numpy(tokens.ids[batches.positions(step)])
        assert torch.equal(x, rows[:, :-1])
        assert torch.equal(y, rows[:, 1:])


@given(batch=sizes, context=sizes, extra=st.integers(1, 30))
def test_uniform_rows_are_tokens_one_after_the_other(batch, context, extra):
    x, y = Batches(as_tokens(np.arange(context + extra)), batch, context, "uniform").batch(3)
    assert torch.equal(y, x + 1)
    assert torch.equal(x - x[:, :1], torch.arange(context).expand(batch, -1))


def test_uniform_rows_begin_at_each_possible_place_equally_often():
    n, context, draws = 12, 4, 8_000
    batches = Batches(as_tokens(np.arange(n)), 100, context, "uniform", seed=1)
    starts = torch.cat([batches.batch(step)[0][:, 0] for step in range(draws // 100)])
    counts = torch.bincount(starts, minlength=n)
    expected = draws / (n - context)
    assert counts[n - context :].sum() == 0
    # chi-square of 7 degrees of freedom; one seed in a thousand is beyond 24.3
    assert ((counts[: n - context] - expected) ** 2 / expected).sum() < 24.3


@given(batch=sizes, context=sizes, extra=st.integers(1, 100), epoch=st.integers(0, 3))
def test_a_shuffled_epoch_meets_no_window_twice_and_leaves_out_less_than_a_batch(
    batch, context, extra, epoch
):
    n = batch * context + extra
    batches = Batches(as_tokens(np.arange(n)), batch, context, "shuffled")
    steps = range(epoch * batches.steps_per_epoch, (epoch + 1) * batches.steps_per_epoch)
    starts = torch.cat([batches.batch(step)[0][:, 0] for step in steps]).tolist()
    assert len(set(starts)) == len(starts)
    assert all(start % context == 0 for start in starts)
    assert 0 <= (n - 1) // context - len(starts) < batch


lengths = st.lists(st.integers(1, 9), min_size=1, max_size=12)


@given(lengths=lengths, batch=st.integers(1, 2), context=sizes, epoch=st.integers(0, 2))
def test_an_epoch_by_documents_is_the_documents_whole_in_some_order(lengths, batch, context, epoch):
    lengths = [*lengths, 12]
    tokens = counted(lengths)
    batches = Batches(tokens, batch, context, "documents")
    steps = range(epoch * batches.steps_per_epoch, (epoch + 1) * batches.steps_per_epoch)
    rows = np.concatenate([batches.positions(step) for step in steps])
    walked = [rows[0, 0], *rows[:, 1:].flatten()]
    assert np.array_equal(rows[1:, 0], rows[:-1, -1])
    assert len(set(walked)) == len(walked)
    ends = {end - 1: end for end in np.cumsum(lengths)}
    begins = set(tokens.documents.tolist())
    for here, there in itertools.pairwise(walked):
        assert there in begins if here in ends else there == here + 1


@pytest.mark.parametrize("order", ORDERS)
def test_documents_of_a_batch_are_those_that_its_tokens_stand_in(order):
    tokens = counted([4, 1, 9, 20, 2, 30])
    of_token = np.repeat(np.arange(6), [4, 1, 9, 20, 2, 30])
    batches = Batches(tokens, 2, 7, order)
    for step in range(6):
        x, _ = batches.batch(step)
        assert batches.documents(step).tolist() == of_token[x.numpy()].tolist()


def test_an_unknown_order_is_an_error_that_names_it():
    with pytest.raises((ValueError, TypeError), match="sorted"):  # types are checked in tests
        Batches(as_tokens(np.arange(50)), 2, 4, "sorted")


@pytest.mark.parametrize(
    ("order", "says"), [("shuffled", "do not fill one batch"), ("uniform", "not more than")]
)
def test_tokens_too_few_for_an_order_are_an_error_with_the_sizes(order, says):
    with pytest.raises(ValueError, match=f"4 tokens .*{says}"):
        Batches(as_tokens(np.arange(4)), 1, 4, order)


# Devices


def test_a_batch_comes_to_the_cpu_as_it_is():
    x, y = Batches(as_tokens(np.arange(50)), 2, 4).batch(0)
    moved = to_device((x, y), "cpu")
    assert torch.equal(moved[0], x)
    assert torch.equal(moved[1], y)


def test_an_unknown_device_is_an_error_that_names_it():
    with pytest.raises(ValueError, match="'gpu'"):
        to_device((torch.zeros(1),), "gpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_an_error_and_no_silent_cpu():
    with pytest.raises(ValueError, match="no GPU"):
        to_device((torch.zeros(1),), "cuda")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_a_batch_comes_to_the_gpu_with_its_values():
    x, y = Batches(as_tokens(np.arange(50)), 2, 4).batch(0)
    moved = to_device((x, y), "cuda")
    assert moved[0].is_cuda
    assert torch.equal(moved[0].cpu(), x)
    assert torch.equal(moved[1].cpu(), y)


# Scoring


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
