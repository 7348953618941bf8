"""Where text is cut, against the regex module and against the text as a whole."""

from itertools import chain, pairwise

import numpy as np
import pytest
import regex
from hypothesis import given
from hypothesis import strategies as st
from made import GPT2

from lmcore.tokenizer.kernels import scanner
from lmcore.tokenizer.kernels.arrays import writable
from lmcore.tokenizer.pretokens import (
    GPT2_PATTERN,
    SAFE_CUTS,
    in_threads,
    pieces,
    texts_in_blocks,
)
from lmcore.tokenizer.specials import SpecialTokens

SPECIALS = ("<a>", "<a><b>", "b><a", "é\n", " <a>")
POINTS = [chr(point) for point in range(0x110000) if not 0xD800 <= point < 0xE000]
letters_and_blanks = st.text(
    alphabet="'sdmtlvre aZé\u00df\u4e2d1\u00b2\u0663\0-_.\u2026\U0001f600"
    "\n\t\r\u00a0\u2003\u3000\x1c\x85"
)
near_specials = st.text(alphabet="<a>b é\n'sd1.\r", max_size=80)


def scanned(text):
    """Return the pre-tokens that the compiled scanner finds."""
    raw = text.encode()
    ends = np.empty(len(raw), dtype=np.int64)
    n = scanner.pre_token_ends(writable(raw), scanner.character_classes(), ends)
    starts = [0, *ends[:n].tolist()]
    return [raw[start:end].decode() for start, end in pairwise(starts)]


@pytest.mark.parametrize(
    ("kind", "of_kind"),
    [(scanner.LETTER, r"\p{L}"), (scanner.NUMBER, r"\p{N}"), (scanner.SPACE, r"\s")],
)
def test_each_code_point_has_the_class_that_the_regex_module_gives_it(kind, of_kind):
    points = np.flatnonzero(scanner.character_classes() == kind)
    assert list(map(chr, points)) == regex.findall(of_kind, "".join(map(chr, range(0x110000))))


def test_the_scanner_cuts_all_code_points_in_a_row_as_the_regex_does():
    text = "".join(POINTS)
    assert scanned(text) == regex.findall(GPT2_PATTERN, text)


@given(text=letters_and_blanks | st.text())
def test_the_scanner_cuts_as_the_published_pattern_does(text):
    assert scanned(text) == regex.findall(GPT2, text)


@given(left=letters_and_blanks, right=st.text(max_size=3))
def test_the_scanner_cuts_a_contraction_as_the_regex_does(left, right):
    for ending in ("'s", "'ll", "'l", "'re", "'r", "'ve", "'v", "'", " 't", "''m", "'S"):
        text = left + ending + right
        assert scanned(text) == regex.findall(GPT2, text)


def naive_parts(text, specials):
    """Return text cut at specials, one character after the other."""
    out = [""]
    while text:
        here = [special for special in specials if text.startswith(special)]
        if here:
            out += [max(here, key=len), ""]
            text = text.removeprefix(out[-2])
        else:
            out[-1] += text[0]
            text = text[1:]
    return out


@given(text=near_specials)
def test_text_is_cut_at_the_longest_special_that_stands_first(text):
    assert SpecialTokens(SPECIALS).split(text) == naive_parts(text, SPECIALS)


@pytest.mark.parametrize("pattern", [*SAFE_CUTS, r"\w+\s*|\W+?", r"(?s).{3}|.+"])
@given(text=near_specials | letters_and_blanks, cuts=st.lists(st.integers(0, 80), max_size=6))
def test_blocks_give_the_pre_tokens_and_specials_of_the_whole_text(pattern, text, cuts):
    places = [0, *sorted(cuts), len(text)]
    blocks = [text[start:end] for start, end in pairwise(places)]

    def cut(piece, is_special):
        return [piece] if is_special else regex.findall(pattern, piece)

    whole = [cut(part, i % 2) for i, part in enumerate(naive_parts(text, SPECIALS))]
    found = [cut(*piece) for piece in pieces(blocks, SpecialTokens(SPECIALS), pattern)]
    assert [*chain(*found)] == [*chain(*whole)]


@pytest.mark.parametrize("text", ["one two ", "ACGT1,", "中文。", "<a>", "x1"])
def test_what_is_kept_back_does_not_grow_with_the_text(text):
    blocks = [text * 10] * 200
    assert max(len(piece) for piece, _ in pieces(blocks, SpecialTokens(SPECIALS))) < 60 * len(text)


@given(text=st.text() | st.text(alphabet="aé\r\n\U0001f600"), block=st.integers(1, 9))
def test_a_file_in_blocks_is_its_text(tmp_path, monkeypatch, text, block):
    monkeypatch.setattr("lmcore.tokenizer.pretokens.BLOCK", block)
    path = tmp_path / "text.txt"
    path.write_bytes(text.encode())
    [blocks] = texts_in_blocks(path)
    assert "".join(blocks) == text


@given(raw=st.binary(max_size=40), block=st.integers(1, 9))
def test_a_file_of_any_bytes_is_read_with_replacements(tmp_path, monkeypatch, raw, block):
    monkeypatch.setattr("lmcore.tokenizer.pretokens.BLOCK", block)
    path = tmp_path / "text.txt"
    path.write_bytes(raw)
    [blocks] = texts_in_blocks(path, "replace")
    assert "".join(blocks) == raw.decode(errors="replace")


@given(left=st.text(max_size=20), wrong=st.sampled_from([b"\xff", b"\xc3a", b"\xe4\xb8", b"\x80"]))
def test_the_first_byte_that_is_not_utf_8_is_named_whatever_the_blocks(
    tmp_path, monkeypatch, left, wrong
):
    path = tmp_path / "text.txt"
    path.write_bytes(left.encode() + wrong)
    for block in (1, 2, 3, 100):
        monkeypatch.setattr("lmcore.tokenizer.pretokens.BLOCK", block)
        [blocks] = texts_in_blocks(path)
        with pytest.raises(
            ValueError, match=rf"text\.txt is not UTF-8 at byte {len(left.encode())} "
        ):
            list(blocks)


def test_threads_give_results_in_the_order_of_the_items():
    assert list(in_threads(lambda n: n * n, iter(range(50)), 3)) == [n * n for n in range(50)]


def test_an_error_in_a_thread_reaches_who_asked():
    with pytest.raises(ZeroDivisionError):
        list(in_threads(lambda n: 1 // n, [1, 0, 1, 1, 1], 2))
