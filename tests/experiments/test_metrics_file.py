"""Records are read when they are needed, and damage is found by then."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made import made_score

from lmcore.evaluation.score_types import Answers, Score, read_score
from lmcore.experiments.metrics_file import Records, check_steps, read_records

STORED: list[dict] = [{"step": step, "loss": 1.5} for step in range(7)]
for scored in STORED[::3]:
    scored["validation"] = vars(made_score(scored["step"] + 1))


@pytest.fixture
def path(tmp_path):
    """A file of seven records, of which three have a score."""
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in STORED))
    return path


def test_records_are_those_of_the_file_with_scores_as_objects(path):
    records = Records(path)
    assert (len(records), records) == (7, read_records(path))
    assert records[-1] == records[6] == {"step": 6, "loss": 1.5, "validation": made_score(7)}
    assert [record["step"] for record in records[2:4]] == [2, 3]


def read_at_once(path):
    """Read everything and check it, as `Records` must do in the end."""
    records = read_records(path)
    check_steps(path, records, 1)
    return records


def result(read, path):
    try:
        return list(read(path))
    except ValueError as error:
        return str(error)


@given(place=st.integers(0, 1000), byte=st.integers(0, 255))
def test_a_damaged_byte_is_found_or_has_the_effect_that_reading_everything_has(path, place, byte):
    whole = path.read_bytes()
    damaged = bytearray(whole)
    damaged[place % len(whole)] = byte
    path.write_bytes(damaged)
    assert result(Records, path) == result(read_at_once, path)
    path.write_bytes(whole)


@given(length=st.integers(0, 1000))
def test_a_file_that_was_cut_off_is_found_unless_it_ends_with_a_record(path, length):
    whole = path.read_bytes()
    path.write_bytes(whole[: length % len(whole)])
    assert result(Records, path) == result(read_at_once, path)
    path.write_bytes(whole)


def test_damage_inside_an_earlier_line_is_found_when_the_line_is_read(path):
    lines = path.read_text().splitlines()
    lines[3] = lines[3].replace("1.5", "1.5.5")
    path.write_text("\n".join(lines))
    records = Records(path)
    assert records[-1]["step"] == 6
    with pytest.raises(ValueError, match=r"metrics\.jsonl is damaged in line 4"):
        list(records)


def test_lines_that_are_written_otherwise_are_read_too(path):
    lines = [json.dumps(dict(reversed(record.items()))) for record in STORED]
    path.write_text("\r\n".join(lines))
    assert Records(path)[-1]["validation"] == made_score(7)


def test_a_score_is_known_by_its_fields():
    answers = Answers(nats=1.0, n=4, n_correct=3, logit_rms=1.0)
    for score in (made_score(3), answers):
        assert read_score(vars(score)) == score
    for other in ({"nats": 1.0}, [1], 2.5, None, vars(answers) | {"more": 1}):
        assert read_score(other) == other
    assert not isinstance(read_score(vars(answers)), Score)
