"""Names and places: a source text is never an output, and no name leads out of its folder."""

import os
from dataclasses import replace
from pathlib import Path

import pytest
from made import PLAIN

from lmcore.data.token_files import tokens_of_file, write_text
from lmcore.experiments.experiment import RunConfig, smoke
from lmcore.experiments.runner import run_or_load
from lmcore.experiments.study import Study
from lmcore.files import LONGEST_NAME, UnwritableError, require_writable
from lmcore.studies.baseline import STUDY
from lmcore.studies.baseline.experiments import BASELINE
from lmcore.tasks.prepared_text import PrepareConfig, prepare
from lmcore.tokenizer.byte_bpe import Tokenizer

TEXT = "the cat sat on the mat, and the dog sat on the cat\n" * 100


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer.train([TEXT], 270, ["<eos>"])


# A source text


@pytest.mark.parametrize("write", [write_text, tokens_of_file])
@pytest.mark.parametrize("name", ["t.json", "t.npy", "t.documents.npy"])
def test_tokens_are_never_written_over_their_text(tmp_path, tokenizer, write, name):
    source = tmp_path / name
    source.write_text(TEXT)
    with pytest.raises(ValueError, match=rf"{name} is a source text, and an output of this name"):
        write(tmp_path / "t.npy", source, tokenizer)
    assert source.read_text() == TEXT
    assert os.listdir(tmp_path) == [name]


def test_a_text_is_recognised_by_any_path_that_leads_to_it(tmp_path, tokenizer, monkeypatch):
    source = tmp_path / "t.json"
    source.write_text(TEXT)
    (tmp_path / "link").symlink_to(tmp_path)
    (tmp_path / "folder").mkdir()
    monkeypatch.chdir(tmp_path)
    for path in (Path("t.npy"), tmp_path / "link" / "t.npy", Path("folder/../t.npy")):
        with pytest.raises(ValueError, match="is a source text"):
            write_text(path, source, tokenizer)
    assert source.read_text() == TEXT


NAMES = ["train.json", "validation.json", "tokenizer.json", "prepared.json", "train.npy"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("role", ["texts", "validation"])
def test_a_prepared_folder_never_replaces_a_text_of_the_same_name(tmp_path, name, role):
    source, other = tmp_path / name, tmp_path / "other.txt"
    source.write_text(TEXT)
    other.write_text(TEXT)
    texts, validation = ([source], [other]) if role == "texts" else ([other], [source])
    with pytest.raises(ValueError, match=rf"{name} is a source text"):
        prepare(texts, tmp_path, PrepareConfig(vocab_size=300), validation=validation)
    assert source.read_text() == TEXT
    assert sorted(os.listdir(tmp_path)) == sorted([name, "other.txt"])


def test_a_text_beside_its_tokens_is_read(tmp_path, tokenizer):
    (tmp_path / "t.txt").write_text(TEXT)
    tokens = tokens_of_file(tmp_path / "t.npy", tmp_path / "t.txt", tokenizer)
    assert tokenizer.decode(tokens.ids.tolist()) == TEXT


# Names of studies and experiments

BAD = [
    "", ".", "..", "../other", "a/b", "/etc", "a\\b", " a", "a ", ".hidden", "a.", "a\n", "\x1b[2J",
    "c:", "con", "Aux.txt", "COM1", "nul\0", "\u202e", "x" * (LONGEST_NAME + 1),
]  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_a_name_that_cannot_name_a_folder_is_refused(name):
    for part, other in (("experiment", {"study": "s", "name": name}), ("study", {"study": name})):
        with pytest.raises(ValueError, match=f"{part} .* cannot name a folder"):
            RunConfig(**{"name": "n", "seed": 1} | other)
    with pytest.raises(ValueError, match=r"cannot name a folder"):
        replace(BASELINE, name=name)
    with pytest.raises(ValueError, match=r"cannot name a folder"):
        replace(STUDY, name=name)


@pytest.mark.parametrize(
    "name", ["sgd", "lr0.001", "a^2+ab+b^2", "größe", "日本語", "with blank", "console", "com"]
)
def test_a_name_of_letters_numbers_and_signs_is_accepted(name):
    assert RunConfig(study="s", name=name, seed=1).path.parts == ("s", name, "seed1")
    assert isinstance(replace(STUDY, name=name), Study)


# A folder that cannot be written


def never(*_):
    raise AssertionError("it trained")


def test_results_that_cannot_be_written_are_found_before_training(tmp_path, monkeypatch):
    (tmp_path / "myst.yml").touch()
    monkeypatch.chdir(tmp_path)
    small = smoke(BASELINE)
    (small.root / "results").mkdir(parents=True)
    (small.root / "results" / small.study).touch()
    with pytest.raises(UnwritableError, match=r"results.baseline.sgd cannot be written"):
        run_or_load(small, never, runtime=PLAIN, progress=False)
    assert not (small.root / "runs").exists()


def test_a_folder_without_the_right_to_write_is_refused(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied", str(tmp_path / "results"))

    monkeypatch.setattr("tempfile.NamedTemporaryFile", refuse)
    with pytest.raises(UnwritableError, match=r"results cannot be written \(Permission denied\)"):
        require_writable(tmp_path / "results")


def test_a_writable_folder_is_left_as_it_was(tmp_path):
    require_writable(tmp_path / "a" / "b")
    assert list((tmp_path / "a" / "b").iterdir()) == []
