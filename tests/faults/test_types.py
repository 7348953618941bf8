"""Values of other types than meant: taken where it is clear what they mean, else refused."""

import dataclasses
import inspect
import json
import math
import operator
from pathlib import Path

import numpy as np
import pytest
import torch
from made import TINY, as_tokens

import lmcore
from lmcore.boundary import converted
from lmcore.config import config_hash, from_dict
from lmcore.data.batches import Batches, get_batch
from lmcore.data.datasets import DatasetBatches, IterableBatches
from lmcore.data.sources import Reading
from lmcore.evaluation.attention_maps import attention_maps, with_context_length
from lmcore.evaluation.scores import answer_score, challenge_score, score
from lmcore.evaluation.sliding_window import score_documents, score_text
from lmcore.experiments.experiment import Experiment
from lmcore.experiments.samples import SampleConfig
from lmcore.experiments.text_config import TextRun, text_run
from lmcore.experiments.text_run import train_text
from lmcore.generation.generate import generate, stream_text
from lmcore.generation.language_model import LanguageModel
from lmcore.generation.probabilities import (
    log_probabilities,
    next_probabilities,
    top_next_tokens,
)
from lmcore.generation.sampling import Sampling
from lmcore.generation.saved_model import load, load_tokenizer, save
from lmcore.model.attention import Attention
from lmcore.model.block import Block
from lmcore.model.gpt import GPT
from lmcore.model.interop import load_pretrained, save_pretrained
from lmcore.model.mlp import MLP
from lmcore.model.norm import RMSNorm
from lmcore.model.rope import RoPE, RopeScaling
from lmcore.report.learning_curves import learning_curves
from lmcore.tasks.modular import ModularConfig
from lmcore.tasks.prepared_text import PrepareConfig, load_prepared, prepare
from lmcore.tasks.rows import RowsTask
from lmcore.tasks.sentence import SentenceConfig
from lmcore.tasks.stories import StoriesConfig
from lmcore.tasks.text import TextTask
from lmcore.tasks.titles import TitlesConfig
from lmcore.tokenizer.bpe import train_bpe
from lmcore.tokenizer.byte_bpe import Tokenizer
from lmcore.tokenizer.unigram import UnigramTokenizer
from lmcore.training.adamw import AdamW
from lmcore.training.config import EvaluationConfig, OptimizerConfig, ScheduleConfig, TrainConfig
from lmcore.training.loop import train
from lmcore.training.muon import Muon
from lmcore.training.records import Record
from lmcore.training.runtime import Runtime
from lmcore.training.sgd import SGD

pytestmark = pytest.mark.usefixtures("no_type_checks")

TEXT = "the cat sat on the mat.\n" * 40
IDS = np.random.default_rng(0).integers(0, 270, 200)
CPU = Runtime(device="cpu", precision="float32", compile="no")
ONE = torch.zeros(1, 2, dtype=torch.long)

HOSTILE = (
    None, object(), b"bytes", "text", "", "\ud800", "a\0b", "1e-3", 1.5, math.nan, math.inf, True,
    -1, 0, 10**30, 1 + 2j, [], [None], [[]], ["text", 3], {}, {"a": 1}, {1}, Path("none"), int,
    torch.tensor(2), torch.tensor([1, 2]), torch.tensor([[1.5]]), np.array([1, 2]), np.float32(2),
)  # fmt: skip

CONFIGS = (
    TINY,
    dataclasses.replace(TINY, positions="rope", n_kv_heads=1, head_size=8, layer_scale=0.5),
    RopeScaling(
        factor=2.0, low_freq_factor=1.0, high_freq_factor=4.0, original_context_length=64
    ),
    RoPE(),
    OptimizerConfig(kind="muon", momentum=0.9, betas=(0.9, 0.99)),
    ScheduleConfig(warmup_steps=3),
    EvaluationConfig(eval_at=(1, 2), eval_every=5, patience=3, stop_accuracy=0.5),
    TrainConfig(steps=3, max_s=4.0),
    Runtime(),
    Sampling(temperature=0.5, top_k=3),
    PrepareConfig(special_tokens=("<a>", "<b>")),
    Reading(),
    TitlesConfig(),
    StoriesConfig(n_train_stories=5),
    ModularConfig(operations=("+", "*"), p=7),
    SentenceConfig(sentence="abc"),
    SampleConfig(prompts=("a", "b")),
    TextRun(text="a", tokenizer="b", model=TINY, train=TrainConfig(steps=1)),
    Experiment(
        study="s", name="n", seed=1, task=ModularConfig(operations=("+",), p=30), model=TINY,
        train=TrainConfig(steps=1),
    ),
)  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("types")


def text_run_by_name(prepared, preset, changes):
    """Call text_run, whose arguments have no names because those of fields may be any."""
    return text_run(prepared, preset, changes)


@pytest.fixture(scope="module")
def calls(folder):
    """Each public function with arguments that it takes, by name."""
    tokenizer = Tokenizer.train([TEXT], 270, ["<eos>"])
    pieces = UnigramTokenizer.train([TEXT], 270, ["<eos>"]).pieces
    model = GPT(dataclasses.replace(TINY, vocab_size=270))
    lm, tokens, batches = LanguageModel(model, tokenizer), as_tokens(IDS), Batches(IDS, 2, 8)
    (folder / "text.txt").write_text(TEXT)
    save(folder / "model", model, tokenizer)
    prepared = prepare(folder / "text.txt", folder / "data", PrepareConfig(vocab_size=260))
    small = {
        "d_model": 8, "n_layers": 1, "n_heads": 1, "context_length": 8, "batch_size": 1, "steps": 1,
    }  # fmt: skip
    task = RowsTask(batches=batches, validation=(ONE, ONE))
    matrix = [torch.nn.Parameter(torch.zeros(3, 4))]
    other = [torch.nn.Parameter(torch.zeros(3))]
    draw = {"temperature": 1.0, "top_p": 1.0, "top_k": 3, "min_p": 0.0, "repetition_penalty": 1.0}
    one = {"max_new_tokens": 1, "sampling": Sampling(), "seed": 0, "stop_ids": (1,)}
    heads = {"n_heads": 2, "n_kv_heads": 1, "d_head": 8, "rope": RoPE(), "qk_norm": True}
    return {
        "train_bpe": (train_bpe, dict(
            input=[TEXT], vocab_size=260, special_tokens=["<e>"], pattern=r"\w+|\W+", workers=1,
            errors="strict",
        )),
        "Tokenizer": (Tokenizer, dict(
            vocab=tokenizer.vocab, merges=tokenizer.merges, special_tokens=["<eos>"],
            pattern=tokenizer.pattern, ignore_merges=False, frame=((), ()),
        )),
        "Tokenizer.train": (Tokenizer.train, dict(
            texts=[TEXT], vocab_size=260, special_tokens=["<e>"]
        )),
        "UnigramTokenizer.train": (UnigramTokenizer.train, dict(
            texts=[TEXT], vocab_size=260, special_tokens=["<e>"]
        )),
        "UnigramTokenizer": (UnigramTokenizer, dict(pieces=pieces, special_tokens=["<eos>"])),
        "Tokenizer.load": (Tokenizer.load, dict(folder=folder / "model")),
        "Tokenizer.save": (tokenizer.save, dict(folder=folder / "saved")),
        "Tokenizer.save_gpt2": (tokenizer.save_gpt2, dict(folder=folder / "saved")),
        "encode": (tokenizer.encode, dict(text="a", special="allow")),
        "encode_batch": (tokenizer.encode_batch, dict(texts=["a"], special="allow", workers=1)),
        "encode_many": (tokenizer.encode_many, dict(texts=["a"], special="allow", workers=1)),
        "encode_iterable": (tokenizer.encode_iterable, dict(chunks=["a"], special="allow")),
        "encode_documents": (tokenizer.encode_documents, dict(texts=["a"], eos="<eos>")),
        "decode": (tokenizer.decode, dict(ids=[1])),
        "decode_stream": (tokenizer.decode_stream, dict(ids=[1])),
        "bytes_per_token": (tokenizer.bytes_per_token, dict(text="a")),
        "describe": (tokenizer.describe, dict(id=5)),
        "special_id": (tokenizer.special_id, dict(special="<eos>")),
        "add_special_tokens": (tokenizer.add_special_tokens, dict(ids=[1])),
        "generate": (generate, dict(model=model, prompts=[[1, 2]], tokenizer=tokenizer, **one)),
        "stream_text": (stream_text, dict(
            model=model, tokenizer=tokenizer, prompt="the", stop=["x"], **one
        )),
        "LanguageModel": (LanguageModel, dict(model=model, tokenizer=tokenizer, eos_ids=(1,))),
        "LanguageModel.generate": (lm.generate, dict(
            prompts=["the"], max_new_tokens=1, **draw, seed=0, stop=["x"]
        )),
        "LanguageModel.stream": (lm.stream, dict(
            prompt="the", max_new_tokens=1, **draw, seed=0, stop=["x"]
        )),
        "LanguageModel.score": (lm.score, dict(text="the cat", stride=2)),
        "LanguageModel.prompt_ids": (lm.prompt_ids, dict(prompt="a")),
        "next_probabilities": (next_probabilities, dict(model=model, ids=[1])),
        "top_next_tokens": (top_next_tokens, dict(model=model, ids=[1], k=2, rows=4)),
        "log_probabilities": (log_probabilities, dict(model=model, ids=[1, 2], start_id=0)),
        "save": (save, dict(folder=folder / "m2", model=model, tokenizer=tokenizer)),
        "load": (load, dict(folder=folder / "model")),
        "load_tokenizer": (load_tokenizer, dict(folder=folder / "model")),
        "load_pretrained": (load_pretrained, dict(folder=folder / "model")),
        "save_pretrained": (save_pretrained, dict(
            model=GPT(dataclasses.replace(TINY, vocab_size=270, activation="gelu_tanh")),
            folder=folder / "m3", tokenizer=tokenizer,
        )),
        "Batches": (Batches, dict(
            ids=IDS, batch_size=2, context_length=8, order="shuffled", seed=0
        )),
        "get_batch": (get_batch, dict(ids=IDS, batch_size=2, context_length=8, device="cpu")),
        "DatasetBatches": (DatasetBatches, dict(
            dataset=[[1, 2, 3]] * 3, batch_size=2, order="shuffled", seed=0
        )),
        "IterableBatches": (IterableBatches, dict(batches=[[[1, 2]]])),
        "TextTask": (TextTask, dict(
            batches=batches, validation=tokens, eos_id=0, within_documents=False,
            with_challenge=False,
        )),
        "RowsTask": (RowsTask, dict(batches=batches, validation=(ONE, ONE))),
        "score": (score, dict(
            model=model, tokens=tokens, eos_id=0, within_documents=False, context_length=8
        )),
        "challenge_score": (challenge_score, dict(
            model=model, tokens=tokens, eos_id=0, batch_size=2, within_documents=False,
            context_length=8,
        )),
        "answer_score": (answer_score, dict(model=model, x=ONE, y=ONE, rows=8)),
        "score_text": (score_text, dict(
            model=model, tokenizer=tokenizer, text="the cat", stride=2, start_id=0
        )),
        "score_documents": (score_documents, dict(
            model=model, tokenizer=tokenizer, documents=["the cat"], stride=2, eos_id=0
        )),
        "attention_maps": (attention_maps, dict(model=model, ids=ONE, documents=ONE)),
        "with_context_length": (with_context_length, dict(
            model=GPT(dataclasses.replace(TINY, positions="rope")), context_length=16
        )),
        "train": (train, dict(
            model=model, config=TrainConfig(steps=1, batch_size=2), task=task, runtime=CPU,
            checkpoints=None, optimizer=None, schedule=None, loss=None, roles=None, metrics={},
            before_checkpoint=None, select="validation", select_mode="min",
        )),
        "AdamW": (AdamW, dict(
            params=matrix, lr=1e-3, betas=(0.9, 0.99), eps=1e-8, weight_decay=0.1
        )),
        "SGD": (SGD, dict(params=matrix, lr=1e-3, weight_decay=0.1, momentum=0.9)),
        "Muon": (Muon, dict(
            hidden=matrix, rest=other, lr=1e-3, momentum=0.9, betas=(0.9, 0.99), eps=1e-8,
            weight_decay=0.1,
        )),
        "GPT": (GPT, dict(config=TINY)),
        "Attention": (Attention, dict(
            d_model=16, **heads, norm_eps=1e-5, bias=True, dropout=0.0
        )),
        "MLP": (MLP, dict(d_model=16, d_ff=32, activation="gelu", bias=True, dropout=0.0)),
        "Block": (Block, dict(
            d_model=16, d_ff=32, **heads, activation="gelu", norm="rms", norm_at="pre",
            norm_eps=1e-5, parallel_residual=False, layer_scale=0.1, bias=True, dropout=0.0,
        )),
        "RMSNorm": (RMSNorm, dict(features=4, eps=1e-5)),
        "prepare": (prepare, dict(
            texts=folder / "text.txt", out=folder / "data", config=PrepareConfig(vocab_size=260),
            validation=(), tokenizer=None,
        )),
        "load_prepared": (load_prepared, dict(folder=folder / "data")),
        "text_run": (text_run_by_name, dict(prepared=prepared, preset="tiny", changes=small)),
        "train_text": (train_text, dict(
            prepared=folder / "data", out=folder / "run", config=text_run(prepared, "tiny", small),
            runtime=CPU, extend_to=None, samples=SampleConfig(max_new_tokens=0), track=None,
            progress=False,
        )),
        "learning_curves": (learning_curves, dict(
            runs=[Record(step=1, tokens=8, elapsed_s=0.0, loss=1.0)]
        )),
    }  # fmt: skip


NAMES = (
    "train_bpe", "Tokenizer", "Tokenizer.train", "UnigramTokenizer.train", "UnigramTokenizer",
    "Tokenizer.load", "Tokenizer.save", "Tokenizer.save_gpt2", "encode", "encode_batch",
    "encode_many", "encode_iterable", "encode_documents", "decode", "decode_stream",
    "bytes_per_token", "describe", "special_id", "add_special_tokens", "generate", "stream_text",
    "LanguageModel", "LanguageModel.generate", "LanguageModel.stream", "LanguageModel.score",
    "LanguageModel.prompt_ids", "next_probabilities", "top_next_tokens", "log_probabilities",
    "save", "load", "load_tokenizer", "load_pretrained", "save_pretrained", "Batches", "get_batch",
    "DatasetBatches", "IterableBatches", "TextTask", "RowsTask", "score", "challenge_score",
    "answer_score", "score_text", "score_documents", "attention_maps", "with_context_length",
    "train", "AdamW", "SGD", "Muon", "GPT", "Attention", "MLP", "Block", "RMSNorm", "prepare",
    "load_prepared", "text_run", "train_text", "learning_curves",
)  # fmt: skip
"""The names of `calls`, which pytest has to know before there are models."""

TENSOR_FUNCTIONS = {"rope_table", "rotate"}
"""Public functions of tensors alone, which compiled models call: their arguments are torch's."""


def outcome(function, arguments):
    """Return what a function gives, to the end if it is a stream."""
    out = function(**arguments)
    return list(out) if inspect.isgenerator(out) or hasattr(out, "__next__") else out


def error_of(function, arguments):
    """Return what a function raises, if anything."""
    try:
        outcome(function, arguments)
    except Exception as error:
        return error


def is_line(error):
    return "\n" not in str(error) and len(str(error)) < 400


def is_torch_own(name, error):
    """Return whether an optimizer's own base class refuses its parameters, also in one line."""
    return name in ("AdamW", "SGD", "Muon") and isinstance(error, TypeError)


def test_the_table_of_calls_has_every_public_name(calls):
    kinds = {type(config).__name__ for config in CONFIGS}
    missing = set(lmcore.__all__) - set(calls) - kinds - TENSOR_FUNCTIONS
    assert missing <= {"load_checkpoint", "save_checkpoint", "tokens_of_file"}
    assert set(calls) == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_an_argument_of_any_type_is_taken_or_refused_in_one_line(
    calls, name, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)  # "text" may be a folder to write to
    function, arguments = calls[name]
    outcome(function, arguments)
    for argument in arguments:
        for value in HOSTILE:
            if callable(value) and name == "train":
                continue  # the caller's own function, which may raise what it likes
            error = error_of(function, arguments | {argument: value})
            is_ours = isinstance(error, ValueError | FileNotFoundError | None)
            assert is_ours or is_torch_own(name, error), (argument, value, error)
            assert is_line(error), (argument, value, error)


def others(value):
    """Return value in the types of NumPy and torch, and as a list."""
    if isinstance(value, bool):
        return [np.bool_(value), torch.tensor(value)]
    if isinstance(value, int):
        return [np.int64(value), np.array(value), torch.tensor(value), float(value)]
    if isinstance(value, float):
        kinds = [np.float64(value), np.array(value), torch.tensor(value, dtype=torch.float64)]
        return kinds + [int(value)] * value.is_integer()
    if isinstance(value, tuple) and value and all(isinstance(v, int | float) for v in value):
        return [list(value), np.array(value), torch.tensor(value, dtype=torch.float64).tolist()]
    if isinstance(value, tuple):
        return [list(value)]
    return [np.str_(value)] if isinstance(value, str) else []


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: type(config).__name__)
def test_a_config_of_other_types_is_the_same_config(config):
    for field in dataclasses.fields(config):
        for value in others(getattr(config, field.name)):
            changed = dataclasses.replace(config, **{field.name: value})
            assert config_hash(changed) == config_hash(config)
            assert json.dumps(dataclasses.asdict(changed)) == json.dumps(dataclasses.asdict(config))
            assert changed == config


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: type(config).__name__)
def test_a_field_of_any_type_is_taken_or_refused_in_one_line_that_names_it(config):
    for field in dataclasses.fields(config):
        for value in (*HOSTILE, (1, "x"), "a\nb"):
            fields = {f.name: getattr(config, f.name) for f in dataclasses.fields(config)}
            fields[field.name] = value
            error = error_of(type(config), fields)
            assert isinstance(error, ValueError | None), (field.name, value, error)
            assert is_line(error), (field.name, value, error)
            if error is None:  # it can be written to a file, and read as the same
                stored = json.dumps(dataclasses.asdict(type(config)(**fields)), allow_nan=False)
                assert from_dict(type(config), json.loads(stored)) == type(config)(**fields)


@pytest.mark.parametrize(
    ("prompts", "is_single"),
    [
        ((1, 2), True),
        (np.array([1, 2]), True),
        (torch.tensor([1, 2], dtype=torch.int32), True),
        ([np.int64(1), torch.tensor(2)], True),
        (range(1, 3), True),
        (np.array([[1, 2]]), False),
        (torch.tensor([[1, 2]]), False),
        ([np.array([1, 2])], False),
        (([1, 2],), False),
    ],
    ids=repr,
)
def test_prompts_of_any_kind_give_the_same_ids(calls, prompts, is_single):
    model = calls["generate"][1]["model"]
    expected = generate(model, [1, 2], 5, seed=3)
    found = generate(model, prompts, 5, seed=np.int64(3), stop_ids=np.array([], dtype=int))
    assert found == (expected if is_single else [expected])


def test_seeds_of_any_kind_are_numbers(calls):
    model, prompts = calls["generate"][1]["model"], [[1], [1]]
    expected = generate(model, prompts, 5, seed=[4, 7])
    for seeds in ((4, 7), np.array([4, 7]), torch.tensor([4, 7])):
        assert generate(model, prompts, 5, seed=seeds) == expected


def test_a_text_where_a_list_of_texts_is_meant_is_a_list_of_one(calls):
    tokenizer = Tokenizer.train([TEXT], 270, special_tokens="<eos>")
    assert tokenizer.special_tokens == {"<eos>": 0}
    assert Tokenizer(tokenizer.vocab, tokenizer.merges, "<eos>").special_tokens == {"<eos>": 0}
    assert UnigramTokenizer.train([TEXT], 270, "<eos>").special_tokens == {"<eos>": 0}
    assert PrepareConfig(special_tokens="<eos>").special_tokens == ("<eos>",)
    assert tokenizer.encode_batch("the cat") == [tokenizer.encode("the cat")]
    lm = calls["LanguageModel.generate"][0].__self__
    assert lm.generate("the", 20, stop="a") == lm.generate("the", 20, stop=["a"])


@pytest.mark.parametrize("texts", [[TEXT, None], [TEXT, b"x"], [TEXT, 5], [TEXT, math.nan]])
@pytest.mark.parametrize("lazy", [list, iter], ids=["list", "iterator"])
def test_what_is_no_text_among_texts_is_named(texts, lazy):
    with pytest.raises(ValueError, match=r"texts must be .*texts.*(holds|number 1 is)"):
        Tokenizer.train(lazy(texts), 270)
    tokenizer = Tokenizer.train([TEXT], 260)
    with pytest.raises(ValueError, match=r"texts must be .*texts.*(holds|number 1 is)"):
        tokenizer.encode_batch(lazy(texts))


@pytest.mark.parametrize("text", [TEXT, "a line\nand another", "x" * 300])
def test_a_text_where_a_path_is_meant_is_called_one(text, tmp_path):
    calls = ((Tokenizer.train, text, 270), (prepare, text, tmp_path), (load, text))
    for function, *arguments in calls:
        with pytest.raises(ValueError, match=r"must be a path.*, not (a text of|'a line)"):
            function(*arguments)


def test_a_short_text_where_a_path_is_meant_is_told_where_texts_go():
    with pytest.raises(FileNotFoundError, match="a text itself goes into a list"):
        Tokenizer.train("the cat sat", 270)


def test_a_set_of_special_tokens_is_refused_because_it_has_no_order():
    with pytest.raises(ValueError, match="special_tokens must be a list of texts"):
        Tokenizer.train([TEXT], 270, {"<a>", "<b>"})


def test_learning_rates_that_are_no_numbers_are_refused():
    for lr in ("1e-3", math.nan, True, [1e-3], None):
        with pytest.raises(ValueError, match="lr must be a number, not"):
            OptimizerConfig(lr=lr)


def test_a_dict_of_fields_becomes_its_config_and_a_wrong_one_is_refused():
    assert TrainConfig(steps=1, optimizer={"lr": 1}) == TrainConfig(
        steps=1, optimizer=OptimizerConfig(lr=1.0)
    )
    with pytest.raises(ValueError, match="OptimizerConfig has no field lrr"):
        TrainConfig(steps=1, optimizer={"lrr": 1})
    with pytest.raises(ValueError, match="RopeScaling needs low_freq_factor"):
        dataclasses.replace(TINY, rope_scaling={"factor": 2})


def test_ids_of_any_kind_decode_alike_and_fractions_do_not(calls):
    tokenizer = calls["decode"][0].__self__
    expected = tokenizer.decode([40, 41])
    for ids in ((40, 41), np.array([40, 41]), torch.tensor([40, 41]), iter([40, 41]), [40.0, 41]):
        assert tokenizer.decode(ids) == expected
    assert tokenizer.decode(40) == tokenizer.decode([40])
    for ids in ([40.7], np.array([40.7]), "40", [[40]], None, iter(["40"])):
        with pytest.raises(ValueError, match="ids must be"):
            tokenizer.decode(ids)


@pytest.mark.parametrize("ids", [[[1, 2]], np.array([[1, 2]]), torch.tensor([1, 2]), None])
def test_a_model_names_what_it_takes_instead_of_ids(ids):
    with pytest.raises((ValueError, TypeError), match="ids"):  # types are checked in tests alone
        GPT(TINY)(ids)


def test_no_prompts_give_no_texts(calls):
    assert calls["LanguageModel.generate"][0]([], 5) == []


def test_as_many_tokens_as_anyone_asks_for_take_no_memory_before_they_are_drawn(calls):
    model = calls["generate"][1]["model"]
    likely = generate(model, [1, 2], 1, Sampling(temperature=0))
    assert generate(model, [1, 2], 10**15, Sampling(temperature=0), stop_ids=likely) == []


@pytest.mark.parametrize(
    ("value", "hint", "expected"),
    [
        (np.uint8(3), int, 3),
        (3.0, int, 3),
        (torch.tensor(0.5, dtype=torch.bfloat16), float, 0.5),
        (1, float, 1.0),
        (5, tuple[int, ...], (5,)),
        (range(2), tuple[int, ...], (0, 1)),
        ("a", tuple[str, ...], ("a",)),
        ("a/b", Path, Path("a/b")),
        ({2: b"x"}, dict[int, bytes], {2: b"x"}),
        ({np.int64(2): b"x"}, dict[int, bytes], {2: b"x"}),
    ],
    ids=repr,
)
def test_a_value_becomes_what_its_hint_names(value, hint, expected):
    found = converted("x", value, hint)
    assert found == expected
    assert type(found) is type(expected)
    if isinstance(found, tuple):
        assert all(map(operator.is_, map(type, found), map(type, expected)))
