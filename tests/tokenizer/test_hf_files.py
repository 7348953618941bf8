"""Vocabulary files: what we write others read with the same ids, and the other way round."""

import functools
import json

import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st

from lmcore.tokenizer.bpe import train_bpe
from lmcore.tokenizer.byte_bpe import Tokenizer
from lmcore.tokenizer.hf_files import SYMBOLS, bpe_json, from_symbols, symbols
from lmcore.tokenizer.pretokens import LLAMA3_PATTERN

TEXT = "the cat sat on the mat; the rat's cats sat 1999 times.\n\n  Thé naïve café\tête "
SPECIALS = ("<pad>", "<eos>", "<eos><eos>", "<é b>", " <")
VOCAB, MERGES = train_bpe([TEXT], 330, SPECIALS)
MOVED = {1_000 - 3 * id: token for id, token in VOCAB.items()}
BYTES = {byte: bytes([byte]) for byte in range(256)}
SNOWMAN = [(b"\xe2", b"\x98"), (b"\xe2\x98", b"\x83")]
VARIANTS = {
    "as it is": Tokenizer(VOCAB, MERGES, SPECIALS),
    "no special": Tokenizer(VOCAB, MERGES),
    "ids in another order, with holes": Tokenizer(MOVED, MERGES, SPECIALS),
    "a token that no merge makes": Tokenizer(VOCAB | {900: b"never merged"}, MERGES, SPECIALS),
    "another pattern": Tokenizer(VOCAB, MERGES, SPECIALS, LLAMA3_PATTERN),
    "whole tokens that merges do not make": Tokenizer(
        VOCAB | dict(enumerate((b"cs", b"ht", b" ac", "ée".encode()), 900)),
        MERGES,
        SPECIALS,
        LLAMA3_PATTERN,
        ignore_merges=True,
    ),
    "something around each text": Tokenizer(
        VOCAB, MERGES, SPECIALS, frame=((1, 0), (0,)), ignore_merges=True
    ),
    "two ids for the same bytes": Tokenizer(BYTES | {300: b"a", 301: b"<"}, [], ["<"]),
    "a special that is a token too": Tokenizer(VOCAB, MERGES, ["the", "a"]),
}  # fmt: skip
# A letter that Unicode gained lately is none yet for the regex of `tokenizers`.
any_text = st.text(
    st.characters(exclude_categories=["Cs", "Cn"], max_codepoint=0xFFFF), max_size=40
)
near_text = st.text(alphabet="tehcaésr' 19\n\r\t\x1c\x85\u2028<eospad>b", max_size=60)
TEXTS = [
    "",
    "a",
    " ",
    TEXT,
    "<eos><eos><eos> <pad>the<eos",
    " <é b> <<é b>\n\n <eos>\n",
    "naïve\x00\x7f ☃ \U0001f600 cs\ncs ac ht ée, ht",
]


def parts(tokenizer):
    return (
        tokenizer.vocab,
        tokenizer.merges,
        tokenizer.special_tokens,
        tokenizer.pattern,
        tokenizer.ignore_merges,
        tokenizer.frame,
    )


@pytest.fixture(scope="module", params=VARIANTS)
def saved(request, tmp_path_factory):
    """A tokenizer and the folder it was saved to."""
    folder = tmp_path_factory.mktemp("saved")
    VARIANTS[request.param].save(folder)
    return VARIANTS[request.param], folder


# Our file, read by others


@given(text=any_text | near_text)
def test_the_library_reads_our_file_with_our_ids(saved, text):
    tokenizer, folder = saved
    assert theirs(folder).encode(text).ids == tokenizer.add_special_tokens(tokenizer.encode(text))


@functools.cache
def theirs(folder):
    return tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))


@pytest.mark.parametrize("text", TEXTS)
def test_the_library_decodes_our_ids_to_our_text(text):
    tokenizer = Tokenizer(VOCAB, MERGES, ["<eos>"])
    stored = json.dumps(bpe_json(VOCAB, MERGES, tokenizer.special_tokens, None))
    ids = tokenizer.encode(text)
    other = tokenizers.Tokenizer.from_str(stored)
    assert other.decode(ids, skip_special_tokens=False) == tokenizer.decode(ids)


@pytest.mark.parametrize("opener", ["AutoTokenizer", "PreTrainedTokenizerFast"])
def test_transformers_opens_our_folder_with_our_ids(saved, opener):
    transformers = pytest.importorskip("transformers")
    tokenizer, folder = saved
    opened = getattr(transformers, opener).from_pretrained(folder)
    assert opened(TEXTS).input_ids == list(
        map(tokenizer.add_special_tokens, tokenizer.encode_batch(TEXTS))
    )


def test_a_token_that_a_second_merge_makes_too_has_one_id_there_as_here(tmp_path):
    merges = [(b"b", b"c"), (b"a", b"bc"), (b"a", b"b"), (b"ab", b"c")]
    tokenizer = Tokenizer(BYTES | {300: b"bc", 301: b"abc", 302: b"ab"}, merges)
    tokenizer.save(tmp_path)
    for text in ("abc", "ab", "bcab", "xabc"):
        assert theirs(tmp_path).encode(text).ids == tokenizer.encode(text)


def test_a_special_that_is_written_like_a_token_is_an_error_that_names_both(tmp_path):
    with pytest.raises(ValueError, match=r"b' ' and b'.*' are both written 'Ġ'"):
        Tokenizer(VOCAB, MERGES, ["Ġ"]).save(tmp_path)


def test_a_special_beyond_ascii_that_merges_make_is_an_error_that_names_it(tmp_path):
    with pytest.raises(ValueError, match="not ASCII"):
        Tokenizer(BYTES | {300: "☃".encode()[:2], 301: "☃".encode()}, SNOWMAN, ["☃"]).save(tmp_path)


# Our file, read by us


def test_saving_and_loading_gives_an_equal_tokenizer(saved):
    tokenizer, folder = saved
    assert parts(Tokenizer.load(folder)) == parts(tokenizer)


def test_saving_and_loading_keeps_the_fingerprint(saved):
    tokenizer, folder = saved
    assert Tokenizer.load(folder).fingerprint == tokenizer.fingerprint


def test_two_ids_of_the_same_bytes_are_told_apart_alike_before_and_after_saving(tmp_path):
    tokenizer = Tokenizer(BYTES | {300: b"a"}, [])
    tokenizer.save(tmp_path)
    assert Tokenizer.load(tmp_path).encode("a") == tokenizer.encode("a")


@given(keep=st.floats(0, 0.999))
def test_a_tokenizer_file_cut_short_is_an_error_that_names_it(tmp_path, keep):
    VARIANTS["as it is"].save(tmp_path)
    path = tmp_path / "tokenizer.json"
    path.write_bytes(path.read_bytes()[: int(keep * path.stat().st_size)])
    with pytest.raises(ValueError, match=r"tokenizer\.json is damaged"):
        Tokenizer.load(tmp_path)


def found_or_error(load):
    """Return the tokenizer that load gives, or what its error says."""
    try:
        return load()
    except ValueError as error:
        return str(error)


def loaded_or_error(folder):
    return found_or_error(lambda: Tokenizer.load(folder))


@given(place=st.floats(0, 0.999), bit=st.integers(0, 7))
def test_a_flipped_bit_is_an_error_or_changes_the_fingerprint_with_the_tokenizer(
    tmp_path, place, bit
):
    VARIANTS["as it is"].save(tmp_path)
    path = tmp_path / "tokenizer.json"
    raw = bytearray(path.read_bytes())
    raw[int(place * len(raw))] ^= 1 << bit
    path.write_bytes(raw)
    found, tokenizer = loaded_or_error(tmp_path), VARIANTS["as it is"]
    if isinstance(found, str):
        assert str(path) in found
    else:  # a hexadecimal digit in the other case says the same
        assert (found.fingerprint == tokenizer.fingerprint) == (parts(found) == parts(tokenizer))


@pytest.mark.parametrize("stored", ["[]", "3", '{"vocab": {}}', '{"model": {}}', "deep"])
def test_another_kind_of_json_is_named_as_damaged(tmp_path, stored):
    path = tmp_path / "tokenizer.json"
    path.write_text("[" * 10**5 if stored == "deep" else stored, encoding="utf-8")
    with pytest.raises(ValueError, match=r"tokenizer\.json is damaged"):
        Tokenizer.load(tmp_path)


def test_a_tokenizer_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"tokenizer\.json"):
        Tokenizer.load(tmp_path)


def test_a_file_in_the_form_before_this_one_is_named_as_damaged(tmp_path):
    path = tmp_path / "tokenizer.json"
    path.write_text(VARIANTS["as it is"]._json(), encoding="utf-8")
    with pytest.raises(ValueError, match=r"tokenizer\.json .*: fetch or train it again"):
        Tokenizer.load(tmp_path)


def somewhere(stored, choice):
    """Return a way to a value in stored, at any depth."""
    way = []
    while isinstance(stored, dict | list) and stored and (not way or choice.random() < 0.7):
        way.append(choice.choice(list(stored) if isinstance(stored, dict) else range(len(stored))))
        stored = stored[way[-1]]
    return way


def at(stored, way):
    return functools.reduce(lambda value, key: value[key], way, stored)


JUNK = [None, True, -1, 2**70, 0.5, "", "Ġ", "\n", [], [[]], {}, {"type": "Other"}]


@given(choice=st.randoms(use_true_random=False), junk=st.sampled_from(JUNK))
def test_a_file_with_another_value_somewhere_is_an_error_or_a_tokenizer(tmp_path, choice, junk):
    VARIANTS["another pattern"].save(tmp_path)
    path = tmp_path / "tokenizer.json"
    stored = json.loads(path.read_text(encoding="utf-8"))
    way = somewhere(stored, choice)
    at(stored, way[:-1])[way[-1]] = junk
    path.write_text(json.dumps(stored), encoding="utf-8")
    found = loaded_or_error(tmp_path)
    assert isinstance(found, Tokenizer) or str(path) in found


# Files of others, read by us


def test_a_tokenizer_of_the_library_is_read_with_its_ids(tmp_path):
    other = tokenizers.ByteLevelBPETokenizer()
    other.train_from_iterator([TEXT] * 3, vocab_size=300, special_tokens=["<|endoftext|>", "<é>"])
    other.save(str(tmp_path / "tokenizer.json"))
    ours = Tokenizer.load(tmp_path)
    for text in [*TEXTS, "<|endoftext|> <é>"]:
        assert ours.encode(text) == other.encode(text).ids


def as_llama3(tokenizer, special):
    """Return the content of a tokenizer.json of tokenizer in the form that Llama 3's has."""
    id, byte_level = tokenizer.special_tokens[special], {"type": "ByteLevel", "trim_offsets": True}
    begin = {"SpecialToken": {"id": special, "type_id": 0}}
    template = {
        "type": "TemplateProcessing",
        "single": [begin, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [begin, {"Sequence": {"id": "A", "type_id": 0}},
                 {"SpecialToken": {"id": special, "type_id": 1}},
                 {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {special: {"id": special, "ids": [id], "tokens": [special]}},
    }  # fmt: skip
    stored = bpe_json(tokenizer.vocab, MERGES, tokenizer.special_tokens, LLAMA3_PATTERN)
    stored["model"] |= {"ignore_merges": True}
    stored["decoder"] = byte_level | {"add_prefix_space": True, "use_regex": True}
    afterwards = byte_level | {"add_prefix_space": True, "trim_offsets": False, "use_regex": True}
    stored["post_processor"] = {"type": "Sequence", "processors": [afterwards, template]}
    return stored


@given(text=any_text | near_text)
def test_a_file_in_llama_3_s_form_is_read_with_its_ids(tmp_path, text):
    path = tmp_path / "tokenizer.json"
    stored = as_llama3(VARIANTS["whole tokens that merges do not make"], "<eos>")
    path.write_text(json.dumps(stored), encoding="utf-8")
    ours, other = Tokenizer.load(tmp_path), tokenizers.Tokenizer.from_file(str(path))
    assert ours.add_special_tokens(ours.encode(text)) == other.encode(text).ids
    assert ours.encode(text) == other.encode(text, add_special_tokens=False).ids


def test_a_template_of_an_id_that_is_no_special_token_is_named_as_damaged(tmp_path):
    path = tmp_path / "tokenizer.json"
    stored = as_llama3(VARIANTS["as it is"], "<eos>")
    stored["post_processor"]["processors"][1]["special_tokens"]["<eos>"]["ids"] = [300]
    path.write_text(json.dumps(stored), encoding="utf-8")
    with pytest.raises(ValueError, match=r"tokenizer\.json is damaged \(id 300 in the frame"):
        Tokenizer.load(tmp_path)


@given(text=any_text | near_text)
def test_a_stream_has_the_ids_of_its_text_where_whole_tokens_count(text):
    tokenizer = VARIANTS["whole tokens that merges do not make"]
    assert list(tokenizer.encode_iterable(text)) == tokenizer.encode(text)


def test_only_whole_pre_tokens_pass_by_the_merges():
    tokenizer = VARIANTS["whole tokens that merges do not make"]
    assert tokenizer.encode("cs ac") == [900, 902]
    assert not {900, 901, 902, 903} & set(tokenizer.encode("csa acc hté"))


REFUSED = {
    "normalizer 'NFC'": ("normalizer", {"type": "NFC"}),
    "model type 'WordPiece'": ("model", {"type": "WordPiece"}),
    "model continuing_subword_prefix '##'": ("model", {"continuing_subword_prefix": "##"}),
    "model dropout 0.1": ("model", {"dropout": 0.1}),
    "pre_tokenizer type 'Whitespace'": ("pre_tokenizer", {"type": "Whitespace"}),
    "pre_tokenizer add_prefix_space True": ("pre_tokenizer", {"add_prefix_space": True}),
    "pre_tokenizer use_regex together with 0 Split": ("pre_tokenizer", {"use_regex": False}),
    "decoder type 'WordPiece'": ("decoder", {"type": "WordPiece"}),
    "post_processor type 'RobertaProcessing'": ("post_processor", {"type": "RobertaProcessing"}),
    "post_processor with the text 0 times": (
        "post_processor",
        {"type": "TemplateProcessing", "single": []},
    ),
    "post_processor Sequence 'B'": (
        "post_processor",
        {"type": "TemplateProcessing", "single": [{"Sequence": {"id": "B", "type_id": 0}}]},
    ),
    "truncation": ("truncation", {"max_length": 5}),
    "colour": ("colour", {"hue": 1}),
}


@pytest.mark.parametrize("named", REFUSED)
def test_what_is_not_understood_is_refused_by_name(tmp_path, named):
    VARIANTS["as it is"].save(tmp_path)
    path = tmp_path / "tokenizer.json"
    stored = json.loads(path.read_text(encoding="utf-8"))
    key, change = REFUSED[named]
    stored[key] = (stored.get(key) or {}) | change
    path.write_text(json.dumps(stored), encoding="utf-8")
    with pytest.raises(ValueError, match=f"{path} has {named}.*, which Tokenizer does not support"):
        Tokenizer.load(tmp_path)


@pytest.mark.parametrize("flag", ["lstrip", "rstrip", "single_word", "normalized"])
def test_an_added_token_that_takes_more_than_its_text_is_refused_by_name(tmp_path, flag):
    VARIANTS["as it is"].save(tmp_path)
    path = tmp_path / "tokenizer.json"
    stored = json.loads(path.read_text(encoding="utf-8"))
    stored["added_tokens"][0][flag] = True
    path.write_text(json.dumps(stored), encoding="utf-8")
    with pytest.raises(
        ValueError, match=f"{path} has .*added token {flag}.*, which Tokenizer does not support"
    ):
        Tokenizer.load(tmp_path)


# GPT-2's two files


@pytest.fixture
def two_files(tmp_path):
    """The paths of vocab.json and merges.txt."""
    VARIANTS["as it is"].save_gpt2(tmp_path)
    return tmp_path / "vocab.json", tmp_path / "merges.txt"


def test_the_two_files_give_an_equal_tokenizer(two_files):
    assert parts(Tokenizer.load_gpt2(*two_files, SPECIALS)) == parts(VARIANTS["as it is"])


@given(text=any_text)
def test_the_library_reads_the_two_files_with_our_ids(two_files, text):
    ours = Tokenizer.load_gpt2(*two_files, SPECIALS)
    other = tokenizers.ByteLevelBPETokenizer.from_file(*map(str, two_files))
    assert other.encode(text).ids == ours.encode(text, special="text")


def test_line_ends_of_another_system_are_read_alike(two_files):
    vocab, merges = two_files
    merges.write_bytes(merges.read_bytes().replace(b"\n", b"\r\n"))
    assert Tokenizer.load_gpt2(vocab, merges, SPECIALS).merges == MERGES


def test_a_special_that_the_caller_does_not_name_and_no_bytes_spell_is_an_error(two_files):
    with pytest.raises(ValueError, match=r"vocab\.json and .*merges\.txt.*'<é b>'"):
        Tokenizer.load_gpt2(*two_files)


@pytest.mark.parametrize("which", [0, 1])
@given(place=st.floats(0, 0.999), bit=st.integers(0, 7), keep=st.floats(0, 1))
def test_damage_to_the_two_files_is_an_error_that_names_them_or_a_tokenizer(
    two_files, which, place, bit, keep
):
    before = two_files[which].read_bytes()
    raw = bytearray(before)
    raw[int(place * len(raw))] ^= 1 << bit
    two_files[which].write_bytes(raw[: int(keep * len(raw))])
    found = found_or_error(lambda: Tokenizer.load_gpt2(*two_files, SPECIALS))
    two_files[which].write_bytes(before)
    assert isinstance(found, Tokenizer) or str(two_files[which]) in found


@pytest.mark.parametrize("which", [0, 1])
def test_a_missing_one_of_the_two_files_is_named(two_files, which):
    two_files[which].unlink()
    with pytest.raises(FileNotFoundError, match=two_files[which].name):
        Tokenizer.load_gpt2(*two_files)


@pytest.mark.parametrize(
    "name", ["another pattern", "two ids for the same bytes", "something around each text"]
)
def test_what_the_two_files_cannot_hold_is_an_error_that_says_what_can(tmp_path, name):
    with pytest.raises(ValueError, match=r"tokenizer\.json"):
        VARIANTS[name].save_gpt2(tmp_path)


# Bytes as characters


def test_each_byte_has_its_own_character_and_they_are_those_of_the_library():
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    assert sorted(SYMBOLS.values()) == sorted(alphabet)


@given(raw=st.binary(max_size=40))
def test_bytes_come_back_from_their_characters(raw):
    assert from_symbols(symbols(raw)) == raw
