"""lmcore generate, called as the command line calls it."""

import io
from dataclasses import replace

import pytest
import tyro
from made import TINY, randomised

import lmcore
from lmcore.cli import generate
from lmcore.tokenizer.byte_bpe import Tokenizer


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    tokenizer = Tokenizer.train(["the cat sat on the mat. "] * 9, 270, ["<eos>"])
    model = randomised(replace(TINY, vocab_size=tokenizer.vocab_size), std=0.4)
    lmcore.save(folder, model, tokenizer)
    return folder


@pytest.fixture
def lm(folder):
    return lmcore.load(folder)


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def command(folder, capsys, monkeypatch):
    """Return a function that calls the command and returns what it printed."""

    def call(*arguments, stdin=None):
        monkeypatch.setattr("sys.stdin", stdin or io.StringIO())
        tyro.cli(generate.run, args=[str(folder), "--device", "cpu", *arguments])
        return capsys.readouterr().out

    return call


def test_a_prompt_is_printed_with_the_text_that_follows(command, lm):
    text = lm.generate("the cat", 12, temperature=0.7, top_p=0.9, top_k=50, min_p=0.01, seed=3)
    printed = command(
        "the cat", "--max-new-tokens", "12", "--temperature", "0.7", "--top-p", "0.9",
        "--top-k", "50", "--min-p", "0.01", "--seed", "3",
    )  # fmt: skip
    assert printed == f"the cat{text}\n"


def test_n_texts_of_several_prompts_are_those_of_counted_seeds(command, lm):
    prompts = ["the", "the", "a mat", "a mat"]
    texts = lm.generate(prompts, 9, seed=5)
    expected = "\n---\n".join(p + t for p, t in zip(prompts, texts, strict=True))
    found = command("the", "a mat", "--n", "2", "--seed", "5", "--max-new-tokens", "9")
    assert found == expected + "\n"


def test_prompts_are_read_from_a_file_a_line_each(command, tmp_path):
    (tmp_path / "prompts.txt").write_text("the\n\na mat\n")
    found = command("--prompt-file", str(tmp_path / "prompts.txt"), "--max-new-tokens", "9")
    assert found == command("the", "a mat", "--max-new-tokens", "9")


def test_without_a_prompt_standard_input_is_read_a_line_each(command):
    found = command("--max-new-tokens", "9", stdin=io.StringIO("the\na mat\n"))
    assert found == command("the", "a mat", "--max-new-tokens", "9")


@pytest.mark.parametrize("end", ["\n", ""], ids=["blank line", "end of input"])
def test_on_a_terminal_each_line_is_answered_until_the_end(command, end):
    found = command("--max-new-tokens", "9", stdin=Terminal(f"the\na mat\n{end}"))
    first, second = (
        command(prompt, "--max-new-tokens", "9", "--seed", seed)
        for prompt, seed in [("the", "0"), ("a mat", "1")]
    )
    assert found == first + second


def test_a_text_ends_before_a_stop_string(command, lm):
    free = lm.generate("the", 20)
    found = command("the", "--max-new-tokens", "20", "--stop", free[5:8])
    assert found == f"the{free[: free.index(free[5:8])]}\n"


def test_pieces_are_printed_as_they_come(capsys):
    def pieces():
        for piece in ("one", " two"):
            yield piece
            assert capsys.readouterr().out.endswith(piece)

    generate.print_pieces("zero ", pieces())
    assert capsys.readouterr().out == "\n"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["the", "--n", "0"], "n 0 is less than 1"),
        (["the", "--temperature", "-1"], "temperature must be 0"),
        (["the", "--top-k", "0"], "top_k 0 leaves no token"),
        ([], "standard input is empty"),
        (["the", "--device", "warp"], "unknown device 'warp'"),
    ],
)
def test_a_wrong_option_is_an_error_that_names_it(command, arguments, says):
    with pytest.raises(ValueError, match=says):
        command(*arguments)


def test_a_prompt_file_without_text_is_an_error_that_names_it(command, tmp_path):
    path = tmp_path / "prompts.txt"
    path.write_text("\n")
    with pytest.raises(ValueError, match=r"prompts.txt has no prompts"):
        command("--prompt-file", str(path))
    path.write_bytes(b"\xff")
    with pytest.raises(ValueError, match=r"prompts.txt is not UTF-8 \(byte 0\)"):
        command("--prompt-file", str(path))


def test_help_explains_every_flag(capsys):
    with pytest.raises(SystemExit):
        tyro.cli(generate.run, args=["--help"])
    printed = capsys.readouterr().out
    for flag in ("--max-new-tokens", "--temperature", "--top-p", "--min-p", "--seed", "--n "):
        assert flag in printed
