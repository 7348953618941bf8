"""Any text becomes a tokenizer and token files, once; what can't be read is named."""

import csv
import gzip
import json
import shutil
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmcore.data.grammar import titles
from lmcore.data.sources import Reading, documents, files_of, hub_parts
from lmcore.tasks.prepared_text import (
    MANIFEST,
    PrepareConfig,
    _in_blocks,
    load_prepared,
    prepare,
    sample_tokens,
)
from lmcore.tokenizer.bpe import train_bpe
from lmcore.tokenizer.byte_bpe import Tokenizer

SMALL = PrepareConfig(vocab_size=300)
LINES = replace(SMALL, reading=Reading(one_document_per="line"))
TITLES = titles(400, seed=1)
END = "<|endoftext|>"


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "titles.txt"
    path.write_text("\n".join(TITLES) + "\n", encoding="utf-8")
    return path


def read(*sources, **reading):
    return list(documents(files_of(sources), Reading(**reading)))


def test_every_document_is_in_one_split_and_decodes_to_itself(text, tmp_path):
    prepared = prepare(text, tmp_path / "out", LINES)
    both = [
        prepared.tokenizer.decode(tokens.ids.tolist())
        for tokens in (prepared.train, prepared.validation)
    ]
    split = [part.removesuffix(END).split(END) for part in both]
    assert sorted(split[0] + split[1]) == sorted(TITLES)
    assert len(split[1]) == 40


def test_both_splits_know_the_same_tokenizer_which_saw_training_text_alone(tmp_path):
    (tmp_path / "train.txt").write_text("abc " * 500)
    (tmp_path / "validation.txt").write_text("xyz " * 500)
    prepared = prepare(
        tmp_path / "train.txt", tmp_path / "out", SMALL, validation=[tmp_path / "validation.txt"]
    )
    assert prepared.train.info.tokenizer == prepared.validation.info.tokenizer
    assert b"abc" in prepared.tokenizer.vocab.values()
    assert b"xy" not in prepared.tokenizer.vocab.values()


def test_what_is_there_and_still_matches_is_left_alone(text, tmp_path):
    prepare(text, tmp_path / "out", LINES)
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()}
    prepare(text, tmp_path / "out", LINES)
    assert {p.name: p.stat().st_mtime_ns for p in (tmp_path / "out").iterdir()} == before


@pytest.mark.parametrize("change", ["text", "settings", "damage", "half"])
def test_what_does_not_match_is_made_again(text, tmp_path, change):
    config, out = LINES, tmp_path / "out"
    prepare(text, out, config)
    if change == "text":
        text.write_text(text.read_text() + "one more title\n")
    elif change == "settings":
        config = replace(config, vocab_size=310)
    elif change == "damage":
        (out / "train.npy").write_bytes((out / "train.npy").read_bytes()[:-1])
    else:
        (out / MANIFEST).unlink()
    prepared = prepare(text, out, config)
    assert prepared.tokenizer.vocab_size == config.vocab_size
    assert prepared.train.info.n_documents == (361 if change == "text" else 360)


def test_a_text_of_few_documents_is_cut_at_a_line_near_its_end(tmp_path):
    path = tmp_path / "play.txt"
    path.write_text("".join(f"line {number}\n" for number in range(1000)))
    prepared = prepare(path, tmp_path / "out", SMALL)
    whole = [
        prepared.tokenizer.decode(tokens.ids.tolist()).removesuffix(END)
        for tokens in (prepared.train, prepared.validation)
    ]
    assert "".join(whole) == path.read_text().rstrip("\n")
    assert whole[0].endswith("\n")
    assert len(whole[1]) / len("".join(whole)) == pytest.approx(0.1, abs=0.01)


def test_a_tokenizer_that_is_given_is_used_as_it_is(text, tmp_path):
    tokenizer = Tokenizer.train([f" {title}" for title in TITLES], 280, [END])
    prepared = prepare(text, tmp_path / "out", LINES, tokenizer=tokenizer)
    assert prepared.tokenizer.fingerprint == tokenizer.fingerprint


def test_a_tokenizer_without_the_end_token_is_refused_before_any_work(text, tmp_path):
    with pytest.raises(ValueError, match=r"endoftext.* is not a special token"):
        prepare(text, tmp_path / "out", LINES, tokenizer=Tokenizer.train(["abc"], 257))
    assert not (tmp_path / "out").exists()


def test_a_vocabulary_the_text_cannot_fill_is_reported(tmp_path):
    (tmp_path / "a.txt").write_text("abc\n" * 100)
    report = prepare(tmp_path / "a.txt", tmp_path / "out", PrepareConfig()).report
    assert report["vocab_size"] < report["asked_vocab_size"] == 10_000


def test_sample_tokens_are_the_beginning_of_the_training_text(text, tmp_path):
    prepared = prepare(text, tmp_path / "out", LINES)
    start = "".join(sample_tokens(prepared))
    assert prepared.tokenizer.decode(prepared.train.ids[:40].tolist()).startswith(start)


@given(st.lists(st.text(alphabet="ab \n", min_size=1, max_size=12), min_size=1, max_size=8))
def test_joined_texts_give_the_merges_of_the_texts_alone(texts):
    assume = [text for text in texts if text.strip()]
    if assume:
        alone = train_bpe(list(assume), 262)
        assert train_bpe(list(_in_blocks(iter(assume))), 262) == alone


# Where text comes from


def test_documents_of_all_kinds_of_files_are_the_same(tmp_path):
    rows = [{"text": title, "id": number} for number, title in enumerate(TITLES[:20])]
    lines = "\n".join(json.dumps(row) for row in rows)
    (tmp_path / "a.jsonl").write_text(lines)
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    (tmp_path / "c.txt").write_text(f"\n{END}\n".join(TITLES[:20]))
    with open(tmp_path / "d.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, ["id", "text"])
        writer.writeheader()
        writer.writerows(rows)
    kinds = ["a.jsonl", "b.jsonl.gz", "c.txt", "d.csv"]
    if pandas := pytest.importorskip("pandas"):
        pytest.importorskip("pyarrow")
        pandas.DataFrame(rows).to_parquet(tmp_path / "e.parquet")
        kinds.append("e.parquet")
    assert [read(tmp_path / kind) == TITLES[:20] for kind in kinds] == [True] * len(kinds)


def test_a_folder_gives_its_text_files_in_order_without_hidden_and_binary_ones(tmp_path):
    (tmp_path / "b.py").write_text("print()")
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "c.md").write_text("# title")
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "config").write_text("hidden")
    (tmp_path / "d.bin").write_bytes(b"a\0b")
    (tmp_path / "empty.txt").touch()
    assert read(tmp_path) == ["# title", "print()"]


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbfabc")
    assert read(tmp_path / "a.txt") == ["abc"]


@given(st.text(alphabet="ab\n<|>", max_size=60), st.integers(1, 7))
def test_documents_do_not_depend_on_where_blocks_end(text, block):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lmcore.data.sources.BLOCK", block)
        import pathlib
        import tempfile

        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder, "a.txt")
            path.write_text("x" + text, newline="")
            found = read(path, split_on="<|")
    expected = [part.strip("\r\n") for part in ("x" + text).split("<|")]
    assert found == [part for part in expected if part.strip()]


WRONG = {
    "missing": (None, r"a\.txt does not exist"),
    "empty": (b"", r"a\.txt is empty"),
    "blank": (b" \n\n", r"a\.txt is empty"),
    "binary": (b"ab\0cd", r"a\.txt looks binary"),
    "utf-16": ("café".encode("utf-16"), r"a\.txt is UTF-16: convert it with iconv"),
    "latin-1": (
        "caf\xe9 noir".encode("latin-1"),
        r"not UTF-8 \(byte 0xe9 near 3\).*--errors replace",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_file_that_is_no_text_is_named_with_the_way_out(tmp_path, name):
    content, message = WRONG[name]
    path = tmp_path / "a.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        prepare(path, tmp_path / "out", SMALL)
    assert not (tmp_path / "out").exists()


def test_a_file_cannot_be_training_and_validation_text_at_once(tmp_path):
    (tmp_path / "a.txt").write_text("the cat sat on the mat. " * 40)
    shutil.copy(tmp_path / "a.txt", tmp_path / "b.txt")
    with pytest.raises(ValueError, match=r"^b\.txt is also training text \(a\.txt\)"):
        prepare(tmp_path / "a.txt", tmp_path / "out", SMALL, validation=[tmp_path / "b.txt"])


@pytest.mark.parametrize("name", ["a.txt", "a.txt/out", "a.txt/deeper/out"])
def test_a_file_in_the_place_of_the_folder_or_above_it_is_named(tmp_path, name):
    (tmp_path / "a.txt").write_text("the cat sat on the mat. " * 40)
    with pytest.raises(ValueError, match=r"a\.txt is a file: name a folder for the prepared text"):
        prepare(tmp_path / "a.txt", tmp_path / name, SMALL)


def test_bytes_that_are_not_utf8_can_be_replaced(tmp_path):
    (tmp_path / "a.txt").write_bytes("caf\xe9".encode("latin-1"))
    assert read(tmp_path / "a.txt", errors="replace") == ["caf\N{REPLACEMENT CHARACTER}"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", '{"text": ""}\n{"body": ""}', r"no field 'text' in line 2 \(body\): name it"),
        ("a.jsonl", '{"text": "x"}\n{"text": ', r"damaged in line 2"),
        ("a.jsonl", '{"text": 3}', r"line 1, field 'text' holds int 3, not text"),
        ("a.jsonl", "[1]", r"no field 'text' in line 1 \(list\)"),
        ("a.csv", "id,title\n1,x\n", r"no column 'text' \(id, title\): name it with --field"),
        ("a.csv", b"text\ncaf\xe9\n", r"a\.csv is not UTF-8"),
        ("a.txt.gz", "not compressed", r"a\.txt\.gz is damaged"),
        ("a.parquet", "PAR1 not really", r"a\.parquet is damaged"),
    ],
)  # fmt: skip
def test_a_damaged_or_unsuitable_file_is_named(tmp_path, name, content, message):
    if name.endswith(".parquet"):
        pytest.importorskip("pyarrow")
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError, match=message):
        read(tmp_path / name)


@pytest.mark.parametrize("ending", ["gz", "zst"])
@pytest.mark.parametrize("cut", [8, 200])
def test_a_damaged_compressed_file_is_named_wherever_the_damage_is(tmp_path, ending, cut):
    path, text = tmp_path / f"a.txt.{ending}", "".join(map(chr, range(33, 5000))).encode()
    if ending == "gz":
        whole = gzip.compress(text)
    else:
        whole = pytest.importorskip("zstandard").compress(text)
    path.write_bytes(whole)
    assert read(path)[0].encode() == text
    path.write_bytes(whole[:cut] + b"damage" + whole[cut + 6 :])
    with pytest.raises(ValueError, match=rf"a\.txt\.{ending} is (damaged|not UTF-8)"):
        read(path)


def test_a_csv_field_may_be_long_and_hold_line_breaks(tmp_path):
    document = "a, b\n" * 50_000
    (tmp_path / "a.csv").write_text(f'text,n\n"{document}",1\nshort,2\n')
    assert read(tmp_path / "a.csv") == [document, "short"]


def test_a_file_in_the_place_of_the_folder_is_an_error(text, tmp_path):
    (tmp_path / "out").write_text("")
    with pytest.raises(ValueError, match="out is a file: name a folder"):
        prepare(text, tmp_path / "out", LINES)


def test_a_folder_that_is_not_prepared_says_how_to_prepare_it(tmp_path):
    with pytest.raises(ValueError, match="lmcore prepare TEXT --out"):
        load_prepared(tmp_path)


def test_tokens_of_another_tokenizer_are_refused_by_both_names(text, tmp_path):
    first = prepare(text, tmp_path / "a", LINES)
    prepare(text, tmp_path / "b", replace(LINES, vocab_size=310))
    (tmp_path / "a" / "tokenizer.json").write_text((tmp_path / "b" / "tokenizer.json").read_text())
    with pytest.raises(ValueError, match=f"prepared with tokenizer {first.tokenizer.fingerprint}"):
        load_prepared(tmp_path / "a")


def test_a_hub_source_names_data_set_revision_and_split():
    assert hub_parts("hub:a/b@c0ffee:validation") == ("a/b", "c0ffee", "validation")
    assert hub_parts("hub:a/b") == ("a/b", None, "train")
    with pytest.raises(ValueError, match="hub:owner/name"):
        hub_parts("hub:")
