"""A text as a task."""

import pytest
from made import TINY, random_tokens, randomised, text_source


@pytest.fixture(scope="module")
def model():
    return randomised(TINY)


def test_the_challenge_is_scored_only_where_it_is_asked_for(model):
    assert list(text_source(2, with_challenge=False).scores(model)) == ["validation"]
    assert list(text_source(2, with_challenge=True).scores(model)) == ["validation", "challenge"]


def test_a_validation_text_too_short_for_the_challenge_still_has_its_score(model):
    task = text_source(2, validation=random_tokens(5), with_challenge=False)
    assert task.scores(model)["validation"].n_tokens == 5


def test_titles_are_scored_as_the_challenge_does_too(corpus):
    task = corpus.source(batch_size=2, context_length=8, order="shuffled", seed=0)
    assert task.with_challenge
