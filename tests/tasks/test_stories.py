"""Stories as a task: splits that share nothing, and tokens of another tokenizer made on purpose."""

from dataclasses import asdict, replace

import numpy as np
import pytest

from lmcore.config import from_dict
from lmcore.data import grammar
from lmcore.experiments.experiment import Experiment
from lmcore.studies.stories.experiments import LOG
from lmcore.tasks.protocols import Data, Task
from lmcore.tasks.stories import FILES, StoriesConfig, documents_between, prepare, texts_of
from lmcore.tasks.text_corpus import EOS

CONFIG = StoriesConfig(
    source="generated", vocab_size=300, n_validation_stories=20, n_test_stories=30
)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("stories")


@pytest.fixture(scope="module")
def corpus(cache):
    return prepare(CONFIG, cache)


def stories_in(tokens, tokenizer):
    return tokenizer.decode(tokens.ids).split(EOS)[:-1]


def test_a_corpus_of_stories_is_data_and_gives_a_task(corpus):
    assert isinstance(corpus, Data)
    task = corpus.source(batch_size=2, context_length=16, order="shuffled", seed=0)
    assert isinstance(task, Task)
    assert task.batch(0).x.shape == (2, 16)


def test_splits_are_the_first_stories_and_validation_and_test_share_none(corpus):
    held_out = grammar.stories(60, seed=2)
    assert stories_in(corpus.validation, corpus.tokenizer) == held_out[:20]
    assert stories_in(corpus.test, corpus.tokenizer) == held_out[20:50]
    assert corpus.train_texts == grammar.stories(600, seed=1)


def test_fewer_stories_keep_the_tokenizer_and_every_other_split(corpus, cache):
    fewer = prepare(replace(CONFIG, n_train_stories=7), cache)
    assert fewer.tokenizer.fingerprint == corpus.tokenizer.fingerprint
    assert fewer.train_texts == corpus.train_texts[:7]
    np.testing.assert_array_equal(fewer.validation.ids, corpus.validation.ids)
    assert fewer.origin["text_sha256"] != corpus.origin["text_sha256"]


def test_tokens_of_another_tokenizer_are_of_the_same_text_and_named_as_such(corpus, cache):
    wrong = prepare(replace(CONFIG, validation_tokenizer="validation"), cache)
    right = corpus.tokenizer.fingerprint
    assert wrong.origin["tokenizer"] == right != wrong.origin["validation_tokenizer"]
    assert wrong.validation.info.tokenizer == wrong.origin["validation_tokenizer"]
    assert wrong.validation.info.text_sha256 == corpus.validation.info.text_sha256
    assert not np.array_equal(wrong.validation.ids, corpus.validation.ids)
    np.testing.assert_array_equal(wrong.train.ids, corpus.train.ids)
    np.testing.assert_array_equal(wrong.test.ids, corpus.test.ids)


def test_a_part_of_the_tokens_has_the_record_of_a_text_of_its_own(corpus):
    part = documents_between(corpus.train, 3, 5, corpus.tokenizer)
    text = "".join(story + EOS for story in corpus.train_texts[3:5])
    assert (part.info.characters, part.info.bytes) == (len(text), len(text.encode()))
    assert part.documents.tolist() == [0, len(corpus.tokenizer.encode(text.split(EOS)[0])) + 1]
    assert part.info.n_documents == 2


def test_asking_for_more_stories_than_there_are_is_an_error_that_gives_both_numbers(corpus, cache):
    with pytest.raises(ValueError, match="has 60 stories, but 81 were asked for"):
        prepare(replace(CONFIG, n_test_stories=61), cache)


def test_a_count_below_one_is_refused():
    with pytest.raises(ValueError, match="n_train_stories must be at least 1, not 0"):
        StoriesConfig(n_train_stories=0)


def test_local_files_come_first_then_the_hub(tmp_path, monkeypatch):
    monkeypatch.delenv("LMCORE_DATA", raising=False)
    hub, _ = texts_of(StoriesConfig(), tmp_path, None)
    assert hub["validation"] == "hub:roneneldan/TinyStories:validation"
    with pytest.raises(ValueError, match=r"tinystories-train.txt does not exist: bring a text"):
        texts_of(StoriesConfig(), tmp_path, tmp_path)
    for name in FILES.values():
        (tmp_path / name).write_text(f"Once.\n{EOS}\n")
    monkeypatch.setenv("LMCORE_DATA", str(tmp_path))
    local, _ = texts_of(StoriesConfig(), tmp_path, None)
    assert local["train"] == tmp_path / FILES["train"]


def test_a_stored_experiment_on_stories_is_read_as_one():
    assert from_dict(Experiment, asdict(LOG)) == LOG
