"""Vocabulary files, patterns and special tokens: other programs', cut short, hostile, thousands."""

import functools
import json
import os
import pickle
import threading
import time

import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Regex, models, pre_tokenizers, trainers
from tokenizers.decoders import ByteLevel as ByteLevelDecoder

from lmcore.files import read_json
from lmcore.tasks.titles import local_file, read_titles
from lmcore.tokenizer import pretokens
from lmcore.tokenizer.bpe import train_bpe
from lmcore.tokenizer.byte_bpe import Tokenizer
from lmcore.tokenizer.specials import SpecialTokens, pattern_of
from lmcore.tokenizer.unigram import UnigramTokenizer

TEXT = "the cat sat on the mat, 12 cats on 345 mats and that hat "
ALL = pre_tokenizers.ByteLevel.alphabet()


def byte_level(**options):
    return pre_tokenizers.ByteLevel(add_prefix_space=False, **options)


def trained_there(steps, alphabet=ALL):
    """Return a tokenizer that the library trained with these steps before the bytes."""
    library = tokenizers.Tokenizer(models.BPE())
    library.pre_tokenizer = pre_tokenizers.Sequence(steps) if len(steps) > 1 else steps[0]
    library.decoder = ByteLevelDecoder()
    trainer = trainers.BpeTrainer(vocab_size=330, initial_alphabet=alphabet, show_progress=False)
    library.train_from_iterator([TEXT * 5], trainer)
    return library


def loaded(library, folder):
    library.save(str(folder / "tokenizer.json"))
    return Tokenizer.load(folder)


def isolated(pattern):
    split = pre_tokenizers.Split(Regex(pattern), "isolated")
    return [split, byte_level(use_regex=False)]


# What other programs write

READ = {
    "digits, each alone": [pre_tokenizers.Digits(individual_digits=True), byte_level()],
    "digits together": [pre_tokenizers.Digits(), byte_level()],
    "a split with a group": isolated(r"(\w+)|(\W+)"),
    "a split that leaves text between": isolated(r"\w+"),
    "a split at blanks": isolated(r"\s"),
}


@pytest.fixture(scope="module")
def both_read(tmp_path_factory):
    """Return a function that gives a tokenizer of the library of a kind, and ours of its file."""

    @functools.cache
    def read(name):
        library = trained_there(READ[name])
        return library, loaded(library, tmp_path_factory.mktemp("read"))

    return read


@pytest.mark.parametrize("name", READ)
@given(text=st.text(max_size=30) | st.text(alphabet=" a1²Ⅷ٣\n'st.é", max_size=30))
def test_a_healthy_file_of_the_library_is_read_with_its_ids(name, both_read, text):
    library, ours = both_read(name)
    assert ours.encode(text) == library.encode(text).ids


@pytest.mark.parametrize("name", READ)
def test_it_is_written_with_the_same_ids_again(name, tmp_path):
    ours = loaded(trained_there(READ[name]), tmp_path)
    ours.save(tmp_path)
    text = "on  12 cats'  3a  \n 4"
    library = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    assert library.encode(text).ids == ours.encode(text) == Tokenizer.load(tmp_path).encode(text)


def test_a_vocabulary_without_some_bytes_encodes_what_it_has_and_names_what_it_lacks(tmp_path):
    library = trained_there([byte_level()], alphabet=[])
    ours = loaded(library, tmp_path)
    assert ours.encode("on that mat") == library.encode("on that mat").ids
    for text, byte in (("the zoo", "0x7a"), ("the cät", "0xc3"), ("z" * 10_000, "0x7a")):
        with pytest.raises(ValueError, match=f"no token for the byte {byte}"):
            ours.encode(text)
    ours.save(tmp_path)
    again = Tokenizer.load(tmp_path)
    assert again.fingerprint == ours.fingerprint == pickle.loads(pickle.dumps(ours)).fingerprint
    with pytest.raises(ValueError, match=r"lacks 2\d\d of the 256 bytes"):
        Tokenizer(ours.vocab, ours.merges)


UNSUPPORTED = {
    "type 'Punctuation'": [pre_tokenizers.Punctuation(), byte_level()],
    "type 'Whitespace'": [pre_tokenizers.Whitespace()],
    "type 'Metaspace'": [pre_tokenizers.Metaspace(), byte_level()],
    "add_prefix_space True": [pre_tokenizers.ByteLevel(add_prefix_space=True)],
    "the steps Digits, Punctuation, ByteLevel": [
        pre_tokenizers.Digits(), pre_tokenizers.Punctuation(), byte_level(),
    ],
    "behavior 'Removed'": [
        pre_tokenizers.Split(" ", "removed"), byte_level(use_regex=False),
    ],
    r"pattern with \\h": isolated(r"\h+|\H+"),
    "pattern with &&": isolated("[a-z&&[^x]]+"),
    "use_regex together with 1 Split": [isolated(r"\w+")[0], byte_level()],
}  # fmt: skip


@pytest.mark.parametrize("named", UNSUPPORTED)
def test_a_step_that_is_not_supported_is_named_and_not_called_damage(named, tmp_path):
    message = rf"tokenizer\.json has .*{named}.*, which Tokenizer does not support"
    with pytest.raises(ValueError, match=message) as caught:
        loaded(trained_there(UNSUPPORTED[named]), tmp_path)
    assert "damaged" not in str(caught.value)


# Damage


@pytest.fixture(scope="module")
def two_files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gpt2")
    Tokenizer.train([TEXT * 3], 300, ["<|endoftext|>"]).save_gpt2(folder)
    return folder / "vocab.json", folder / "merges.txt"


def test_merges_cut_short_at_any_line_are_refused_where_the_vocabulary_has_more(
    two_files, tmp_path
):
    vocab, merges = two_files
    lines = merges.read_text().splitlines(keepends=True)
    cut = tmp_path / "merges.txt"
    for n in range(len(lines)):
        cut.write_text("".join(lines[:n]))
        with pytest.raises(ValueError, match=r"merges\.txt .*the end of the merges is missing"):
            Tokenizer.load_gpt2(vocab, cut)
    cut.write_text("".join(lines))
    assert len(Tokenizer.load_gpt2(vocab, cut).merges) == len(lines) - 1


def test_a_merge_that_is_missing_inside_is_refused_too(two_files, tmp_path):
    vocab, merges = two_files
    first, *lines = merges.read_text().splitlines(keepends=True)
    for n in range(len(lines)):
        (tmp_path / "merges.txt").write_text("".join([first, *lines[:n], *lines[n + 1 :]]))
        with pytest.raises(ValueError, match=r"merges\.txt"):
            Tokenizer.load_gpt2(vocab, tmp_path / "merges.txt")


def test_special_tokens_that_nobody_names_are_no_missing_merges(two_files, tmp_path):
    vocab, merges = two_files
    named = json.loads(vocab.read_text()) | {"<pad>": 400, "madeupword0000": 401}
    (tmp_path / "vocab.json").write_text(json.dumps(named))
    tokenizer = Tokenizer.load_gpt2(tmp_path / "vocab.json", merges)
    assert tokenizer.encode("the cat") == Tokenizer.load_gpt2(vocab, merges).encode("the cat")


@pytest.mark.parametrize("depth", [10_000, 200_000])
@pytest.mark.parametrize("name", ["tokenizer.json", "vocab.json"])
def test_json_nested_too_deeply_is_one_line(name, depth, tmp_path, two_files):
    path = tmp_path / name
    path.write_text("[" * depth + "]" * depth)
    with pytest.raises(ValueError, match=rf"{path}.*nested too deeply") as caught:
        Tokenizer.load(tmp_path) if name == "tokenizer.json" else Tokenizer.load_gpt2(
            path, two_files[1]
        )
    assert "\n" not in str(caught.value)


def test_a_byte_order_mark_belongs_to_no_file_of_text(tmp_path, two_files):
    mark = "\ufeff".encode()
    tokenizer = Tokenizer.train([TEXT], 270)
    tokenizer.save(tmp_path)
    for name, raw in (
        ("tokenizer.json", (tmp_path / "tokenizer.json").read_bytes()),
        ("vocab.json", two_files[0].read_bytes()),
        ("merges.txt", two_files[1].read_bytes()),
        ("titles.txt", b"one\n\ntwo \n"),
        ("object.json", b'{"a": 1}'),
    ):
        (tmp_path / name).write_bytes(mark + raw)
    assert Tokenizer.load(tmp_path).fingerprint == tokenizer.fingerprint
    expected = Tokenizer.load_gpt2(*two_files).fingerprint
    ours = Tokenizer.load_gpt2(tmp_path / "vocab.json", tmp_path / "merges.txt")
    assert ours.fingerprint == expected
    assert read_titles(tmp_path / "titles.txt") == ["one", "two"]
    assert read_json(tmp_path / "object.json") == {"a": 1}


READERS = {
    "titles": lambda path: read_titles(path),
    "JSON": lambda path: read_json(path),
    "a path": lambda path: train_bpe(path, 300),
    "a path among texts": lambda path: train_bpe([path], 300),
    "unigram": lambda path: UnigramTokenizer.train(path, 300),
    "a tokenizer": lambda path: Tokenizer.load(path.parent),
}


@pytest.mark.skipif(os.name == "nt", reason="Windows has neither pipes nor devices as files")
@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("kind", ["a folder", "a pipe", "a device"])
def test_what_has_no_end_is_no_file(kind, reader, tmp_path):
    path, what = tmp_path / "tokenizer.json", "a pipe or a device"
    if kind == "a folder":
        path.mkdir()
        what = "a folder"
    elif kind == "a pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero")
    with pytest.raises(ValueError, match=f"{path} is {what}"):
        READERS[reader](path)


def test_a_folder_of_headlines_is_a_folder_with_headlines_in_it(tmp_path):
    assert local_file(tmp_path) == tmp_path / "headlines.txt"
    with pytest.raises(ValueError, match=r"headlines\.txt does not exist"):
        read_titles(tmp_path / "headlines.txt")


# Patterns


def test_a_pattern_that_explodes_is_stopped(monkeypatch):
    monkeypatch.setattr(pretokens, "SLOW_S", 0.2)
    pattern, text = r"(?:a|aa)+$|\W", "a" * 45 + "b"
    with pytest.raises(ValueError, match=r"takes too long on a text of 46 characters"):
        Tokenizer(*train_bpe(["ab"], 256), pattern=pattern).encode(text)
    with pytest.raises(ValueError, match=r"takes too long on a text of 46 characters"):
        train_bpe([text], 260, pattern=pattern)


@pytest.mark.parametrize(
    "pattern",
    ["(" * 5_000 + "a" + ")" * 5_000, "[", "a{99999999999999}", "x*"],
    ids=lambda p: p[:9],
)
def test_a_pattern_that_cannot_be_compiled_is_one_line(pattern):
    with pytest.raises(ValueError, match="pattern") as caught:
        train_bpe([TEXT], 260, pattern=pattern)
    assert "\n" not in str(caught.value)


# Special tokens

any_special = st.text(alphabet="<|ab>é ", min_size=1, max_size=6)


@given(specials=st.lists(any_special, max_size=12), text=st.text(alphabet="<|ab>é ", max_size=60))
def test_of_overlapping_special_tokens_the_first_and_longest_counts(specials, text):
    found, expected, place = SpecialTokens(specials).split(text), [""], 0
    while place < len(text):
        here = max((s for s in specials if text.startswith(s, place)), key=len, default="")
        if here:
            expected += [here, ""]
        else:
            expected[-1] += text[place]
        place += max(1, len(here))
    assert found == expected


@given(specials=st.lists(any_special, max_size=12), text=st.text(alphabet="<|ab>é ", max_size=20))
def test_a_place_is_open_where_a_special_token_may_go_on(specials, text):
    begins = [
        place
        for place in range(len(text))
        if any(len(s) > len(text) - place and s.startswith(text[place:]) for s in specials)
    ]
    assert SpecialTokens(specials).open_place(text, 0, len(text)) == min(begins, default=len(text))


def test_thousands_of_special_tokens_take_no_more_time_than_one():
    vocab, merges = train_bpe([TEXT], 270)
    one = Tokenizer(vocab, merges, ["<|reserved_0|>"])
    many = Tokenizer(vocab, merges, [f"<|reserved_{number}|>" for number in range(5_000)])
    seconds = {}
    for name, tokenizer in {"one": one, "many": many}.items():
        assert (
            tokenizer.encode("the cat <|reserved_0|>")[-1]
            == tokenizer.special_tokens["<|reserved_0|>"]
        )
        times = []
        for _ in range(200):
            started = time.perf_counter()
            tokenizer.encode("the cat sat on it")
            times.append(time.perf_counter() - started)
        seconds[name] = min(times)
    assert seconds["many"] < 5 * seconds["one"] + 1e-5


@pytest.mark.parametrize(
    "specials",
    [["a" * n for n in range(1, 400)], ["<" + "x" * 20_000 + ">"], ["(", "[", ".*", "a|b", "\\"]],
    ids=["each begins the next", "long", "signs of patterns"],
)
def test_hostile_special_tokens_are_text_like_any_other(specials):
    tokens = SpecialTokens(specials)
    for special in specials[:5] + specials[-2:]:
        assert tokens.split(f"é{special}é") == ["é", special, "é"]
    assert len(pattern_of(sorted(specials))) < 3 * sum(map(len, specials)) + 10


@pytest.mark.parametrize("special", ["", "\ud800", "a\udfff"])
def test_a_special_token_without_bytes_is_refused(special):
    for make in (
        lambda: train_bpe([TEXT], 270, [special]),
        lambda: Tokenizer(*train_bpe([TEXT], 270), [special]),
        lambda: UnigramTokenizer.train([TEXT], 300, [special]),
    ):
        with pytest.raises(ValueError, match=r"special token .*(empty|lone surrogate)"):
            make()


# Pickles


def use(tokenizer):
    """Use a tokenizer in all ways, until compiled code has taken over."""
    assert tokenizer.decode(tokenizer.encode(TEXT)) == TEXT
    list(tokenizer.encode_iterable(["the <", "eos> cat"]))
    tokenizer.encode_batch([TEXT * 100] * 60)
    threads = [threading.Thread(target=tokenizer.encode, args=(TEXT,)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert tokenizer.fingerprint
    assert tokenizer.vocab_size
    assert tokenizer.dtype


@pytest.mark.parametrize(
    "tokenizer",
    [
        Tokenizer.train([TEXT * 3], 300, ["<eos>"]),
        UnigramTokenizer.train([TEXT * 3], 290, ["<eos>"]),
        Tokenizer(*train_bpe([TEXT], 270), ["<eos>"], r"\w+|\W+", frame=((270,), ())),
        Tokenizer(*train_bpe([TEXT], 270), ignore_merges=True),
    ],
    ids=["bpe", "unigram", "pattern and frame", "whole tokens"],
)
def test_use_changes_neither_a_tokenizers_pickle_nor_its_hash(tokenizer):
    hasher = pytest.importorskip("datasets.fingerprint").Hasher
    pickled, hashed = pickle.dumps(tokenizer), hasher.hash(tokenizer)
    use(tokenizer)
    assert pickle.dumps(tokenizer) == pickled
    assert hasher.hash(tokenizer) == hashed
    again = pickle.loads(pickled)
    assert again.encode(TEXT) == tokenizer.encode(TEXT)
    assert again.fingerprint == tokenizer.fingerprint
    assert getattr(again, "frame", None) == getattr(tokenizer, "frame", None)
    assert pickle.dumps(again) == pickled
