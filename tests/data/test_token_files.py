"""Token files that cannot be misread."""

import dataclasses
import hashlib
import json
import re
import signal
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made import small_disk

from lmcore.data.token_files import (
    header,
    load_tokens,
    locate,
    tokens_of_file,
    write_documents,
    write_text,
)
from lmcore.tokenizer.byte_bpe import Tokenizer

DOCUMENTS = ["the cat sat", "on the mät", "", "a <eos> in it"]
TEXT = "the cat sat<eos>on the mät<eos>"
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


@given(text=some_text)
def test_a_text_file_has_the_ids_of_its_text(tokenizer, tmp_path, text):
    (tmp_path / "text.txt").write_bytes(text.encode())
    write_text(tmp_path / "t.npy", tmp_path / "text.txt", tokenizer, "<eos>")
    tokens = load_tokens(tmp_path / "t.npy", tokenizer, verify=True)
    assert tokens.ids.tolist() == tokenizer.encode(text)
    assert (tokens.info.characters, tokens.info.text_sha256) == (len(text), sha256(text))


@given(text=some_text, eos=st.sampled_from(["<eos>", None]))
def test_documents_of_a_text_file_start_after_each_eos(tokenizer, tmp_path, text, eos):
    (tmp_path / "text.txt").write_bytes(text.encode())
    write_text(tmp_path / "t.npy", tmp_path / "text.txt", tokenizer, eos)
    tokens = load_tokens(tmp_path / "t.npy", tokenizer)
    ids = tokens.ids.tolist()
    ends = [i for i, id in enumerate(ids, 1) if id == tokenizer.special_tokens.get(eos)]
    assert tokens.documents.tolist() == [place for place in [0, *ends] if place < len(ids)]


def test_a_text_larger_than_a_piece_has_the_ids_of_the_whole_whatever_the_threads(
    tokenizer, tmp_path
):
    text = "the mät sat <eos>on\n the cat " * 100_000
    (tmp_path / "text.txt").write_text(text, encoding="utf-8")
    infos = [
        write_text(tmp_path / f"{n}.npy", tmp_path / "text.txt", tokenizer, "<eos>", workers=n)
        for n in (1, 2, 5)
    ]
    assert infos[0] == infos[1] == infos[2]
    tokens = load_tokens(tmp_path / "5.npy", tokenizer, verify=True)
    assert np.array_equal(tokens.ids, tokenizer.encode_array(text))


@pytest.mark.parametrize("workers", [1, 2])
def test_a_text_file_that_is_not_utf_8_leaves_no_token_file(tokenizer, tmp_path, workers):
    (tmp_path / "text.txt").write_bytes(b"the cat " * 200_000 + b"\xff")
    with pytest.raises(ValueError, match=r"text\.txt is not UTF-8 at byte 1600000 "):
        write_text(tmp_path / "t.npy", tmp_path / "text.txt", tokenizer, workers=workers)
    assert [path.name for path in tmp_path.iterdir()] == ["text.txt"]


def test_bytes_that_are_not_utf_8_are_replaced_on_request(tokenizer, tmp_path):
    (tmp_path / "text.txt").write_bytes(b"the c\xe9 at")
    write_text(tmp_path / "t.npy", tmp_path / "text.txt", tokenizer, errors="replace")
    tokens = load_tokens(tmp_path / "t.npy", tokenizer, verify=True)
    assert tokenizer.decode(tokens.ids) == "the c\ufffd at"
    assert tokens.info.text_sha256 == sha256("the c\ufffd at")


@pytest.mark.parametrize("write", [write_documents, write_text])
def test_an_eos_that_is_no_special_is_an_error_that_names_it(tokenizer, tmp_path, write):
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


def test_tokens_whose_documents_end_otherwise_are_written_again(tokenizer, tmp_path):
    path, source = tmp_path / "t.npy", tmp_path / "text.txt"
    source.write_text(TEXT, encoding="utf-8")
    versions = [tokens_of_file(path, source, tokenizer, eos) for eos in (None, "<eos>")]
    assert [tokens.info.n_documents for tokens in versions] == [1, 2]


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
from lmcore import Tokenizer
from lmcore.data.token_files import write_documents

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


STOPPED = """
import os, pathlib, signal, sys
from lmcore import Tokenizer
from lmcore.data.token_files import write_text
from lmcore.tokenizer import pretokens

path = pathlib.Path(sys.argv[1])
blocks = pretokens._file_blocks

def interrupted(*arguments):
    yield from blocks(*arguments)
    os.kill(os.getpid(), signal.SIGINT)

pretokens._file_blocks = interrupted
try:
    write_text(path, path.with_name("text.txt"), Tokenizer.load(path.parent), "<eos>", workers=2)
except KeyboardInterrupt:
    sys.exit(130)
"""


def test_control_c_while_a_text_file_is_encoded_leaves_what_was_there(tokenizer, written):
    tokenizer.save(written.parent)
    written.with_name("text.txt").write_text("the cat sat on " * 200_000, encoding="utf-8")
    before = times(written.parent)
    done = subprocess.run([sys.executable, "-c", STOPPED, str(written)])
    assert done.returncode == 130
    assert times(written.parent) == before


def test_a_missing_text_is_named_itself_and_not_the_tokens_to_be_written(tokenizer, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"text\.txt") as caught:
        write_text(tmp_path / "t.npy", tmp_path / "text.txt", tokenizer)
    assert "t.npy" not in str(caught.value)


def test_writing_on_a_full_disk_leaves_what_was_there(tokenizer, written):
    with small_disk(4_096), pytest.raises(OSError, match=r"t\.npy cannot be written") as caught:
        write_documents(written, ["the cat " * 5_000], tokenizer, "<eos>")
    assert str(caught.value).count("cannot be written") == 1
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
