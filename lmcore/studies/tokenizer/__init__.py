"""What does a byte-level BPE gain from more entries, and lose on text of another kind?

Hypothesis: bytes per token grow with the logarithm of the vocabulary until it holds the text's
words; a few megabytes of a text teach its merges as well as all of it; another kind of text costs
tens of percent more tokens; and on scripts of many characters, bytes cost little beside characters.

Scientific hyperparameters: the size of the vocabulary, the text it is learned from, its alphabet.
Nuisance hyperparameters: none but the order of manual pages; nothing else here is drawn.
Fixed hyperparameters: GPT-2's pattern, and which part of a text is held out.
"""

import gzip
import hashlib
import os
import random
import re
import shutil
import statistics
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from tqdm.auto import tqdm

from lmcore.data import grammar
from lmcore.experiments.environment import environment, peak_bytes
from lmcore.experiments.experiment import workspace
from lmcore.experiments.run_folder import Run, RunWriter, load_run
from lmcore.files import read_json
from lmcore.report import plotting
from lmcore.report.tables import Table
from lmcore.tokenizer.bpe import ALPHABET, Pair, count_pre_tokens, merge_tokens, train_bpe
from lmcore.tokenizer.encoder import Encoder
from lmcore.tokenizer.pretokens import plain_pieces
from lmcore.training.runtime import Runtime

ENGLISH = ("headlines", "stories", "novels", "shakespeare")
MANUALS = {"ja": "ja", "zh": "zh_CN", "ru": "ru", "de": "de"}
"""The folder of each language below usr/share/man in Debian's package manpages-<language>."""
END = "<|endoftext|>"
DOUBLINGS = tuple(2**i for i in range(9, 17))

COLORS = {
    "headlines": "#aa4499",
    "stories": "#117733",
    "novels": "#332288",
    "shakespeare": "#997700",
}
"""Paul Tol's muted palette, one for each English text; blue and green stay what they are."""

Row = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Survey:
    """What is measured of which texts, with vocabularies of which sizes.

    The last tenth of each text is held out; most_bytes cuts a text before that.
    """

    name: str
    texts: tuple[str, ...] = ENGLISH
    vocab_sizes: tuple[int, ...] = ()
    held_out: float = 0.1
    most_bytes: int | None = None
    study: str = "tokenizer"
    seed: int = 0
    scale: Literal["full", "smoke"] = "full"

    @property
    def path(self) -> Path:
        """Where the run stands below a results folder."""
        return Path(self.study) / self.name / f"seed{self.seed}"

    @property
    def root(self) -> Path:
        """The folder that holds all of this scale: the workspace, or .smoke, which git ignores."""
        return workspace() / (".smoke" if self.scale == "smoke" else "")


KIND = Survey
"""What a run folder of this study holds as its config."""


def experiments() -> list[Survey]:
    """Return what this study measures; nothing is trained but tokenizers."""
    return [
        Survey(name="compression", vocab_sizes=(300, *DOUBLINGS)),
        Survey(name="sample", texts=("headlines", "novels"), vocab_sizes=(8_192, 32_768)),
        Survey(name="domains", vocab_sizes=(8_192,)),
        Survey(name="longest", vocab_sizes=(32_768,)),
        Survey(
            name="alphabets",
            texts=(*MANUALS, "shakespeare"),
            vocab_sizes=(1_024, 2_048, 4_096, 8_192, 16_384),
            most_bytes=2_300_000,
        ),
        Survey(name="growth", texts=("headlines", "novels"), held_out=0.0),
    ]


def smoke(survey: Survey) -> Survey:
    """Return the small version of survey: seconds long, on generated text."""
    sizes = tuple(300 + 10 * i for i in range(min(3, len(survey.vocab_sizes))))
    return replace(survey, vocab_sizes=sizes, scale="smoke")


# Texts


def text_of(name: str, survey: Survey, data: Path | None) -> str:
    """Return the text called name: a local one, or for smoke a generated one.

    Raises:
        ValueError: it is not in the folder of texts; the message says what should be.
    """
    text = generated(name) if survey.scale == "smoke" else local(name, data)
    if survey.most_bytes is not None:
        text = text.encode()[: survey.most_bytes].decode(errors="ignore")
    return text


def generated(name: str) -> str:
    """Return generated titles for name; those of a language are spelled in its letters."""
    titles = grammar.titles(60 * (2 + len(name)), seed=len(name))
    text = "\n".join(titles) + "\n"
    first = {"ja": 0x3042, "zh": 0x4E00, "ru": 0x0430, "de": 0x00C0}.get(name)
    return text if first is None else re.sub("[a-z]", lambda m: chr(first + ord(m[0]) - 97), text)


def local(name: str, data: Path | None) -> str:
    """Return a text from the folder that data, or else LMCORE_DATA, names."""
    folder = data or Path(os.environ.get("LMCORE_DATA", ""))
    path = folder / (f"manpages-{name}" if name in MANUALS else f"{name}.txt")
    if not path.exists():
        raise ValueError(
            f"{path} is not there: name the folder of texts with --data PATH (or LMCORE_DATA); "
            "docs/tokenizer.md says what it should hold"
        )
    if name in MANUALS:
        lines = manual_lines(path / "usr/share/man" / MANUALS[name])
        return "".join(f"{line}\n" for line in lines if name == "de" or is_beyond_ascii(line))
    with open(path, encoding="utf-8", newline="") as file:
        return file.read()


def manual_lines(folder: Path, seed: int = 0) -> list[str]:
    """Return the lines of the manual pages in folder, pages in an order drawn with seed.

    Lines that give orders to the formatter, those with a dot or an apostrophe in front, are left
    out, so are changes of font; a page that stands there twice counts once.
    """
    pages = {gzip.decompress(path.read_bytes()) for path in folder.glob("man*/*.gz")}
    texts = sorted(page.decode(errors="replace") for page in pages)
    random.Random(seed).shuffle(texts)
    lines = [line for text in texts for line in text.splitlines()]
    formatting = re.compile(r"\\f(?:\[\w*\]|\(..|.)|\\&")
    plain = [formatting.sub("", line) for line in lines if not line.startswith((".", "'"))]
    return [line.replace("\\-", "-") for line in plain]


def is_beyond_ascii(line: str) -> bool:
    """Return whether most letters of line are none of English: pages quote much that is."""
    letters = [character for character in line if character.isalpha()]
    return 2 * sum(not character.isascii() for character in letters) > len(letters)


def split(text: str, held_out: float) -> tuple[str, str]:
    """Return the part to learn from and the last part, held out, cut behind a line's end."""
    cut = text.find("\n", int(len(text) * (1 - held_out))) + 1
    return text[:cut], text[cut:]


# Measurements


def merges_of(text: str, vocab_size: int) -> list[Pair]:
    """Return the merges that text teaches, fewer than asked for where it holds no more.

    The merges of a smaller vocabulary are the first of these, since each is chosen by itself.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return train_bpe([text.replace(END, "")], vocab_size)[1]


def cost_of(text: str, merges: Sequence[Pair]) -> Row:
    """Return how many tokens text takes, and its size."""
    text = text.replace(END, "")
    tokens = len(Encoder(merges).encode(text))
    return {"tokens": tokens, "characters": len(text), "bytes": len(text.encode())}


def compression(survey: Survey, texts: dict[str, str]) -> Iterator[Row]:
    """Yield tokens of the held-out part by vocabulary size, and of as much that was learned."""
    for name, text in texts.items():
        train, test = split(text, survey.held_out)
        merges = merges_of(train, max(survey.vocab_sizes))
        for size in survey.vocab_sizes:
            some = merges[: size - len(ALPHABET)]
            row = {"text": name, "vocab_size": len(ALPHABET) + len(some)}
            seen = cost_of(train[-len(test) :], some)
            yield row | {"held_out": cost_of(test, some), "learned": seen}
            if len(some) < size - len(ALPHABET):
                break


def sample(survey: Survey, texts: dict[str, str]) -> Iterator[Row]:
    """Yield tokens of the held-out part with merges learned from ever smaller beginnings."""
    for name, text in texts.items():
        train, test = split(text, survey.held_out)
        for part in beginnings(train):
            merges = merges_of(part, max(survey.vocab_sizes))
            for size in survey.vocab_sizes:
                if len(merges) >= size - len(ALPHABET):
                    row = {"text": name, "vocab_size": size, "learned_bytes": len(part.encode())}
                    yield row | {"held_out": cost_of(test, merges[: size - len(ALPHABET)])}


def beginnings(text: str, least: int = 2**14) -> list[str]:
    """Return beginnings of text, each twice as long as the one before, up to all of it."""
    n = len(text)
    halvings = range(max(0, (n // least).bit_length() - 1), -1, -1)
    return [text[: n // 2**i] for i in halvings]


def domains(survey: Survey, texts: dict[str, str]) -> Iterator[Row]:
    """Yield tokens of each text's held-out part by the merges of each text."""
    parts = {name: split(text, survey.held_out) for name, text in texts.items()}
    for learned, (train, _) in parts.items():
        merges = merges_of(train, survey.vocab_sizes[0])
        for encoded, (_, test) in parts.items():
            yield {"learned": learned, "encoded": encoded} | cost_of(test, merges)


def longest(survey: Survey, texts: dict[str, str], n: int = 12) -> Iterator[Row]:
    """Yield the longest tokens of each text's vocabulary and how often they stand in it."""
    for name, text in texts.items():
        train, _ = split(text, survey.held_out)
        encoder = Encoder(merges_of(train, survey.vocab_sizes[0]))
        counts = np.bincount(encoder.encode(train.replace(END, "")))
        ranks = sorted(range(len(encoder.tokens)), key=lambda r: (-len(encoder.tokens[r]), r))
        for rank in ranks[:n]:
            token, count = encoder.tokens[rank], int(counts[rank]) if rank < len(counts) else 0
            row = {"text": name, "bytes": len(token), "merge": rank - len(ALPHABET)}
            yield row | {"token": token.decode(errors="replace"), "count": count}


def alphabets(survey: Survey, texts: dict[str, str]) -> Iterator[Row]:
    """Yield tokens of the held-out part by BPE over bytes and over characters, of equal size.

    The vocabulary over characters holds the 256 bytes too, for characters that it lacks.
    """
    for name, text in texts.items():
        train, test = split(text, survey.held_out)
        merges = merges_of(train, max(survey.vocab_sizes))
        known, over_characters = frozenset[str](), list[Pair]()
        for size in sorted(survey.vocab_sizes, reverse=True):
            common = common_characters(train, size - len(ALPHABET))
            if common != known:  # smaller vocabularies of the same characters hold the first merges
                known = common
                n_new = size - len(ALPHABET) - len(known)
                over_characters = character_merges(train, known, n_new)
            some = over_characters[: size - len(ALPHABET) - len(known)]
            found = cost_of(test, merges[: size - len(ALPHABET)])
            yield {
                "text": name,
                "vocab_size": size,
                "byte_tokens": found.pop("tokens"),
                "character_tokens": character_cost(test, known, some),
                "distinct": len(set(train)),
                "known": len(known),
                "unknown": sum(character not in known for character in test),
                **found,
            }


def common_characters(text: str, most: int, coverage: float = 0.9995) -> frozenset[str]:
    """Return the most frequent characters, at most so many, that make up this share of text."""
    counts, covered, known = Counter(text), 0, []
    for character, count in sorted(counts.items(), key=lambda one: (-one[1], one[0])):
        if len(known) == most or covered >= coverage * len(text):
            break
        known.append(character)
        covered += count
    return frozenset(known)


def in_characters(word: str, known: frozenset[str]) -> Iterator[tuple[bytes, ...]]:
    """Yield the stretches of word between characters that are not known, in characters."""
    for stretch in re.split("[^" + re.escape("".join(sorted(known))) + "]", word):
        if stretch:
            yield tuple(character.encode() for character in stretch)


def character_merges(text: str, known: frozenset[str], n_new: int) -> list[Pair]:
    """Return the merges of a BPE whose alphabet is the known characters."""
    counted: Counter[tuple[bytes, ...]] = Counter()
    for word, count in count_pre_tokens([text]).items():
        for stretch in in_characters(word.decode(), known):
            counted[stretch] += count
    return merge_tokens(counted, n_new, tqdm(disable=True))


def character_cost(text: str, known: frozenset[str], merges: Sequence[Pair]) -> int:
    """Return the tokens of text, each unknown character being its bytes.

    The bytes of a known character are joined first, as if that were what the first merges do.
    """
    joins = [pair for character in sorted(known) for pair in joined_bytes(character.encode())]
    encoder = Encoder([*dict.fromkeys(joins), *merges])
    counts = np.bincount(encoder.encode(text), minlength=len(encoder.tokens))
    whole = {character.encode() for character in known}
    whole |= {left + right for left, right in merges}
    # a beginning shared with a known character was joined too: it is no entry, but its bytes are
    lengths = [1 if token in whole else len(token) for token in encoder.tokens]
    return int(counts @ np.array(lengths))


def joined_bytes(character: bytes) -> list[Pair]:
    """Return the merges that make a character of its bytes, from left to right."""
    return [(character[:i], character[i : i + 1]) for i in range(1, len(character))]


def growth(survey: Survey, texts: dict[str, str]) -> Iterator[Row]:
    """Yield how many distinct pre-tokens beginnings of a text have, and their bytes.

    Each goes on where the one before ended; a word that is cut there counts as its parts.
    """
    for name, text in texts.items():
        words, done = Counter[bytes](), 0
        for part in beginnings(text):
            words.update(count_pre_tokens(plain_pieces([part[done:]], [END])))
            done = len(part)
            row = {"text": name, "bytes": len(part.encode()), "distinct": len(words)}
            yield row | {"distinct_bytes": sum(map(len, words))}


MEASURES: dict[str, Callable[[Survey, dict[str, str]], Iterator[Row]]] = {
    measure.__name__: measure
    for measure in (compression, sample, domains, longest, alphabets, growth)
}


def run_all(
    surveys: Sequence[Survey], data: Path | None = None, progress: bool = True
) -> list[Run]:
    """Return the run of each survey: loaded where it is finished, else measured.

    Raises:
        ValueError: a text is missing, or a folder holds something else.
    """
    return [run_or_load(survey, data, progress) for survey in surveys]


def run_or_load(survey: Survey, data: Path | None, progress: bool) -> Run:
    """Return the run of one survey; see `run_all`."""
    folder = survey.root / "results" / survey.path
    if not folder.exists():
        texts = {name: text_of(name, survey, data) for name in survey.texts}
        scratch = survey.root / "runs" / survey.path
        shutil.rmtree(scratch, ignore_errors=True)  # a survey is not taken up again, it is short
        writer = RunWriter(scratch, survey)
        writer.note_session(environment(Runtime(device="cpu").resolve(0)))
        hashes = {name: hashlib.sha256(text.encode()).hexdigest() for name, text in texts.items()}
        together = hashlib.sha256("".join(hashes.values()).encode()).hexdigest()
        writer.note_environment({"data": {"texts": hashes, "text_sha256": together}})
        rows = MEASURES[survey.name](survey, texts)
        for step, row in enumerate(tqdm(rows, desc=survey.name, disable=not progress)):
            writer.add({"step": step} | row)
        writer.finish({}, folder)
    run = load_run(folder, Survey)
    if run.config != survey:
        raise ValueError(f"{folder} holds a run of another config: move it away")
    return run


# Costs


def benchmark_files(scale: str, *names: str) -> list[Path]:
    """Return the files that costs at full scale come from; a small run measures its own."""
    folder = workspace() / "benchmarks"
    return [] if scale == "smoke" else [folder / f"{name}.json" for name in names]


def costs(scale: str, name: str) -> list[Row]:
    """Return the rows that the benchmark called name measured."""
    if scale == "smoke":
        return small_costs()
    return [row for path in benchmark_files(scale, name) for row in read_json(path)["rows"]]


def small_costs(size: int = 400) -> list[Row]:
    """Return rows in the form of every benchmark, of ours alone on generated text, in seconds."""
    rows = []
    for part in beginnings(generated("shakespeare")):
        row = {"text": "generated", "bytes": len(part), "copies": 1, "size": size, "workers": 1}
        started = time.perf_counter()
        merges = merges_of(part, size)
        trained = time.perf_counter()
        cost_of(part, merges)
        ended = time.perf_counter()
        peak = peak_bytes(Runtime(device="cpu").resolve(0)) or 0
        for kind, seconds in (("training", trained - started), ("encoding", ended - trained)):
            row |= {"contender": "lmcore", "kind": kind, "peak_bytes": peak}
            rows.append(row | {"seconds": [seconds]})
    return rows


def median(row: Row) -> float:
    """Return the median of a row's seconds."""
    return statistics.median(row["seconds"])


def exponent(x: Sequence[float | int], y: Sequence[float | int]) -> float:
    """Return the slope of a straight line through the logarithms of y against those of x."""
    return float(np.polyfit(np.log(x), np.log(y), 1)[0])


@dataclass(frozen=True)
class Projection:
    """What training takes: so much to start, by bytes read, and by bytes of distinct pre-tokens."""

    seconds: tuple[float, ...]
    memory: tuple[float, ...]

    def of(self, n_bytes: int, distinct_bytes: float) -> tuple[float, float]:
        """Return the seconds and the bytes of memory that training on a text takes."""
        start, read, merge = self.seconds
        seconds = start + read * n_bytes + merge * distinct_bytes
        return seconds, self.memory[0] + self.memory[1] * distinct_bytes


def fitted(rows: Sequence[Row], grown: Sequence[Row]) -> Projection:
    """Return the costs that come nearest to rows, all of one text that grew as grown.

    Copies of a text have its distinct pre-tokens and no more.
    """
    x, y = (np.log([row[key] for row in grown]) for key in ("bytes", "distinct_bytes"))
    read = np.array([row["bytes"] for row in rows])
    lengths = read / np.array([row["copies"] for row in rows])
    distinct = np.exp(np.interp(np.log(lengths), x, y))
    ones = np.ones(len(rows))
    seconds = least_squares([ones, read, distinct], [median(row) for row in rows])
    memory = least_squares([ones, distinct], [row["peak_bytes"] for row in rows])
    return Projection(seconds, memory)


def least_squares(columns: list[np.ndarray], values: list[float | int]) -> tuple[float, ...]:
    """Return the weights, none negative, whose sum of columns comes nearest to values.

    What noise would make negative is left out, the most negative first.
    """
    kept, found = list(range(len(columns))), np.array([-1.0])
    while min(found) < 0:
        found, *_ = np.linalg.lstsq(np.stack([columns[i] for i in kept], 1), values, rcond=None)
        if min(found) < 0:
            del kept[int(np.argmin(found * np.array([columns[i].max() for i in kept])))]
    weights = dict(zip(kept, found.tolist(), strict=True))
    return tuple(weights.get(i, 0.0) for i in range(len(columns)))


def lengths_and_sizes(rows: Sequence[Row]) -> tuple[list[Row], list[Row]]:
    """Return the rows of training by length of text at one size, and by size on all of the text."""
    training = [row for row in rows if row["kind"] == "training"]
    usual = statistics.mode(row["size"] for row in training)
    longest = max(row["bytes"] for row in training if row["copies"] == 1)
    by_text = {row["bytes"]: row for row in training if row["size"] == usual}
    by_size = {row["size"]: row for row in training if row["bytes"] == longest}
    return [by_text[n] for n in sorted(by_text)], [by_size[n] for n in sorted(by_size)]


def grown(run: Run, text: str, least: int = 10**6) -> list[Row]:
    """Return the growth of a text from least bytes on, or all of it where it is shorter."""
    rows = [row for row in run.records if row["text"] == text]
    return [row for row in rows if row["bytes"] >= least] or rows


def plan(run: Run, rows: Sequence[Row]) -> Table:
    """Return what training would take on far more text, if words go on to grow as they do.

    Each line is reckoned from one text's growth; costs are fitted to the rows of the novels.
    """
    out = []
    cost = fitted(lengths_and_sizes(rows)[0], grown(run, "novels"))
    for text in run.config.texts:
        ways = grown(run, text)
        rate = exponent(*zip(*((r["bytes"], r["distinct"]) for r in ways), strict=True))
        byte_rate = exponent(*zip(*((r["bytes"], r["distinct_bytes"]) for r in ways), strict=True))
        last = ways[-1]
        for n_bytes in (10**9, 10**10, 10**11):
            more = n_bytes / last["bytes"]
            distinct = last["distinct"] * more**rate
            seconds, memory = cost.of(n_bytes, last["distinct_bytes"] * more**byte_rate)
            cells = (f"{distinct / 1e6:.1f} million", f"{memory / 1e9:.1f}", f"{seconds / 60:.1f}")
            out.append((f"{n_bytes // 10**9} GB like {text}", f"{rate:.2f}", *cells))
    header = ("text", "exponent", "distinct pre-tokens", "memory, GB", "minutes")
    return Table(header, tuple(out))


# Claims


def check_claims(runs: dict[str, Run]) -> None:
    """Assert what the text says of compression, samples, kinds of text, alphabets and growth."""
    for text in ENGLISH:
        rows = [row for row in runs["compression"].records if row["text"] == text]
        sizes = [row["vocab_size"] for row in rows]
        gains = np.diff([per_token(row["held_out"]) for row in rows])
        assert min(gains) > 0
        doubled = [g for g, a, b in zip(gains, sizes, sizes[1:], strict=False) if b == 2 * a]
        assert doubled[-1] < max(doubled) / 2
        fits = [per_token(row["learned"]) / per_token(row["held_out"]) for row in rows]
        assert fits[5] > 1.08 if text == "shakespeare" else max(fits) < 1.03
    for text, size in np.ndindex(2, 2):
        survey = runs["sample"].config
        key = {"text": survey.texts[text], "vocab_size": survey.vocab_sizes[size]}
        rows = [row for row in runs["sample"].records if row | key == row]
        assert rows[-3]["held_out"]["tokens"] / rows[-1]["held_out"]["tokens"] < 1.03
    more = excess(runs["domains"])
    assert 0.12 < min(more[more > 0]) < max(more[more > 0]) < 0.7
    for row in runs["alphabets"].records:
        beside = row["character_tokens"] / row["byte_tokens"] - 1
        unknown = row["unknown"] / row["characters"]
        if row["vocab_size"] >= 4_096:
            assert abs(beside) < 0.03
            assert unknown < 0.002
            continue
        assert beside > 0
        if row["vocab_size"] == 1_024:
            assert beside > (0.15 if row["text"] in ("ja", "zh") else 0)
            assert unknown > (0.005 if row["text"] in ("ja", "zh") else 0)
    assert 0 in [row["count"] for row in runs["longest"].records]


def check_costs(training: Sequence[Row], encoding: Sequence[Row], scaling: Sequence[Row]) -> None:
    """Assert what the text says of time and memory."""
    for rows in (training, encoding):
        novels = [row for row in rows if row["text"] == "novels.txt"]
        for setting in dict.fromkeys(map(setting_of, novels)):
            some = [row for row in novels if setting_of(row) == setting]
            assert min(some, key=median)["contender"] == "lmcore"
            heaviest = max(some, key=lambda row: row["peak_bytes"])["contender"]
            assert (heaviest == "lmcore") == (rows is training)
        stories = [row for row in rows if row["text"] == "stories.txt"]
        assert min(stories, key=median)["contender"] != "lmcore"
        lightest = min(stories, key=lambda row: row["peak_bytes"])["contender"]
        assert lightest == ("rustbpe" if rows is training else "tiktoken")
    for setting in dict.fromkeys(map(setting_of, encoding)):
        assert len({row["ids"] for row in encoding if setting_of(row) == setting}) == 1
    assert all(r["peak_bytes"] < 300e6 for r in encoding if r["contender"] == "lmcore")
    by_text, by_size = lengths_and_sizes(scaling)
    longer = [row for row in by_text if row["bytes"] > 4e6]
    assert exponent([r["bytes"] for r in longer], [median(r) for r in longer]) < 1.05
    assert exponent([r["size"] for r in by_size], [median(r) for r in by_size]) < 0.5
    copies = [r["peak_bytes"] for r in by_text if r["bytes"] >= by_size[0]["bytes"]]
    assert max(copies) / min(copies) < 1.15


# Figures and tables


def size_axis(ax: Axes, sizes: Sequence[int]) -> None:
    """Make the x axis the size of the vocabulary, on a log axis that says so."""
    ax.set_xscale("log", base=2)
    ax.set_xticks(sizes, [f"{size:,}" for size in sizes], rotation=45, ha="right")
    ax.minorticks_off()
    ax.set_xlabel("entries in the vocabulary (log scale)")


def per_token(found: Row) -> float:
    """Return bytes per token."""
    return found["bytes"] / found["tokens"]


def plot_compression(run: Run) -> Figure:
    """Return bytes per token against the vocabulary, held out and, dashed, of what was learned."""
    fig, ax = plt.subplots(figsize=(plotting.WIDTH, 4.4))
    for text in run.config.texts:
        rows = [row for row in run.records if row["text"] == text]
        sizes, color = [row["vocab_size"] for row in rows], COLORS[text]
        ax.plot(sizes, [per_token(r["held_out"]) for r in rows], "o-", ms=3.5, color=color)
        ax.plot(sizes, [per_token(r["learned"]) for r in rows], ":", lw=1.2, color=color)
        end = (sizes[-1], per_token(rows[-1]["held_out"]))
        # headlines and novels end close together; stories end where novels pass
        offset = {"headlines": (6, 2), "novels": (6, -10), "stories": (-14, 7)}.get(text, (6, -10))
        plotting.name_line(ax, end, text, color, offset)
    size_axis(ax, run.config.vocab_sizes)
    ax.set_xlim(ax.get_xlim()[0], run.config.vocab_sizes[-1] * 3)
    ax.set_ylim(0, None)
    ax.set_ylabel("bytes per token")
    return fig


def plot_sample(run: Run) -> Figure:
    """Return how many more tokens the held-out text takes if less text was learned from."""
    fig, axes = plt.subplots(1, 2, figsize=(plotting.WIDTH, 3.4), sharey=True)
    for ax, text in zip(axes, run.config.texts, strict=True):
        for style, size in zip(("o-", "s--"), run.config.vocab_sizes, strict=True):
            key = {"text": text, "vocab_size": size}
            rows = [row for row in run.records if row | key == row]
            tokens = np.array([row["held_out"]["tokens"] for row in rows])
            learned, more = [row["learned_bytes"] for row in rows], 100 * (tokens / tokens[-1] - 1)
            ax.plot(learned, more, style, ms=3.5, color=COLORS[text])
            start = (learned[0], more[0])
            plotting.name_line(ax, start, f"{size:,} entries", COLORS[text], (5, 4))
        ax.set_title(text)
        ax.set_xscale("log")
        ax.set_xlabel("bytes learned from (log scale)")
    axes[0].set_ylabel("more tokens than with all of it, %")
    axes[0].set_ylim(0, None)
    return fig


def excess(run: Run) -> np.ndarray:
    """Return by text learned and text encoded the share of tokens beyond the text's own."""
    texts = run.config.texts
    tokens = {(row["learned"], row["encoded"]): row["tokens"] for row in run.records}
    found = [[tokens[learned, encoded] for encoded in texts] for learned in texts]
    return np.array(found) / np.diag(found) - 1


def plot_domains(run: Run) -> Figure:
    """Return a matrix: how many more tokens a text takes with the tokenizer of another."""
    fig, ax = plt.subplots(figsize=(plotting.WIDTH, 4.0))
    texts, more = run.config.texts, 100 * excess(run)
    ax.imshow(more, cmap="Blues", vmin=0, vmax=1.6 * max(more.max(), 1))
    for i, j in np.ndindex(more.shape):
        ax.text(j, i, "own" if i == j else f"{more[i, j]:+.0f} %", ha="center", va="center")
    places = range(len(texts))
    ax.set_xticks(places, texts)
    ax.set_yticks(places, texts)
    ax.set_xlabel("encoded text, its held-out part")
    ax.set_ylabel("tokenizer learned from")
    ax.grid(visible=False)
    return fig


def plot_alphabets(run: Run) -> Figure:
    """Return tokens per character by vocabulary size, over bytes and over characters."""
    fig, axes = plt.subplots(2, 3, figsize=(plotting.WIDTH, 5.2), sharex=True, sharey=True)
    kinds = {
        "byte_tokens": ("bytes", "o-", plotting.OURS),
        "character_tokens": ("characters, dashed", "s--", plotting.OTHER),
    }
    for ax, text in zip(axes.flat, run.config.texts, strict=False):
        rows = sorted(
            (row for row in run.records if row["text"] == text), key=lambda row: row["vocab_size"]
        )
        for key, (_, style, color) in kinds.items():
            tokens = [row[key] / row["characters"] for row in rows]
            ax.plot([row["vocab_size"] for row in rows], tokens, style, ms=3.5, color=color)
        ax.set_title(LANGUAGES[text])
        ax.set_xscale("log", base=2)
        sizes = run.config.vocab_sizes[::2]
        ax.set_xticks(sizes, [f"{size:,}" for size in sizes], rotation=45, ha="right")
    axes[0, 2].tick_params(labelbottom=True)  # nothing stands below it
    for ax in axes[:, 0]:
        ax.set_ylabel("tokens per character")
    axes[0, 0].set_ylim(0, None)
    axes[1, 2].axis("off")
    for i, (name, _, color) in enumerate(kinds.values()):
        place = (0, 0.7 - 0.16 * i)
        axes[1, 2].text(*place, f"BPE over {name}", color=color, transform=axes[1, 2].transAxes)
    fig.supxlabel("entries in the vocabulary (log scale)", fontsize=10)
    return fig


LANGUAGES = {
    "ja": "Japanese", "zh": "Chinese", "ru": "Russian", "de": "German", "shakespeare": "English",
}  # fmt: skip


def alphabet_table(run: Run) -> Table:
    """Return what the alphabets are and how often a character is in none, by vocabulary size."""
    out = []
    for text in run.config.texts:
        for row in run.records:
            if row["text"] == text and row["vocab_size"] in run.config.vocab_sizes[::2]:
                ratio = row["character_tokens"] / row["byte_tokens"] - 1
                cells = (f"{row['distinct']:,}", f"{row['known']:,}", f"{row['vocab_size']:,}")
                unknown = f"{row['unknown'] / row['characters']:.3%}"
                out.append((LANGUAGES[text], *cells, unknown, f"{ratio:+.1%}"))
    header = (
        "language", "characters in the text", "of them entries", "entries in all",
        "held-out characters unknown", "tokens beside bytes",
    )  # fmt: skip
    return Table(header, tuple(out))


def longest_table(run: Run, n: int = 6) -> Table:
    """Return the longest tokens of each text, with their bytes and occurrences."""
    out = []
    for text in run.config.texts:
        rows = [row for row in run.records if row["text"] == text][:n]
        for row in rows:
            token = plotting.shown(row["token"])
            out.append((text, token, str(row["bytes"]), f"{row['merge']:,}", f"{row['count']:,}"))
    return Table(("text", "token", "bytes", "merge", "times in the text"), tuple(out))


def plot_contest(rows: Sequence[Row], rate: Callable[[Row], float], label: str) -> Figure:
    """Return for each setting what contenders took: rate, which label names, and memory."""
    settings = list(dict.fromkeys(setting_of(row) for row in rows))
    fig, axes = plt.subplots(
        1, 2, figsize=(plotting.WIDTH, 1.3 + 0.42 * len(settings)), sharey=True
    )
    values = (rate, lambda row: row["peak_bytes"] / 1e6)
    for ax, value, name in zip(axes, values, (label, "peak MB"), strict=True):
        for row in rows:
            style = CONTENDERS[row["contender"]]
            ax.plot(value(row), settings.index(setting_of(row)), ms=6, ls="", **style)
        ax.set_xscale("log")
        ax.set_xlabel(f"{name} (log scale)")
        ax.xaxis.set_major_locator(mpl.ticker.LogLocator(subs=(1, 3)))
        ax.xaxis.set_major_formatter(mpl.ticker.FuncFormatter(lambda x, _: f"{x:g}"))
        ax.xaxis.set_minor_locator(mpl.ticker.NullLocator())
    axes[0].set_yticks(range(len(settings)), settings)
    axes[0].set_ylim(len(settings) - 0.5, -0.5)
    names = {row["contender"]: CONTENDERS[row["contender"]] for row in rows}
    handles = [plt.Line2D([], [], ls="", ms=6, label=name, **names[name]) for name in names]
    title = {"title": runs_of(rows), "title_fontsize": 9}
    fig.legend(handles=handles, loc="outside upper center", ncols=len(names), fontsize=9, **title)
    return fig


CONTENDERS = {
    "lmcore": {"marker": "o", "color": plotting.OURS},
    "tokenizers": {"marker": "s", "color": plotting.REFERENCE, "mfc": "none"},
    "rustbpe": {"marker": "^", "color": plotting.REFERENCE},
    "tiktoken": {"marker": "D", "color": plotting.REFERENCE},
}


def setting_of(row: Row) -> str:
    """Return the name of what contenders did."""
    threads = "1 thread" if row["workers"] == 1 else f"{row['workers']} threads"
    return f"{Path(row['text']).stem}, {row['size']:,}, {threads}"


def runs_of(rows: Sequence[Row]) -> str:
    """Return in words how many runs a point stands for."""
    n = min(len(row["seconds"]) for row in rows)
    return "each point is one run" if n == 1 else f"each point is the median of {n} runs"


def speed(row: Row) -> float:
    """Return megabytes of text for each second."""
    return row["bytes"] / 1e6 / median(row)


def plot_scaling(rows: Sequence[Row]) -> Figure:
    """Return time and memory against the text and against entries, on log axes."""
    fig, axes = plt.subplots(2, 2, figsize=(plotting.WIDTH, 5.4), sharex="col", sharey="row")
    training, by_size = lengths_and_sizes(rows)
    encoding = [row for row in rows if row["kind"] == "encoding"]
    lines = [
        (0, "bytes", training, plotting.OURS, "training"),
        (0, "bytes", encoding, plotting.OTHER, "encoding to a file"),
        (1, "size", by_size, plotting.OURS, "training"),
    ]
    for column, key, some, color, name in lines:
        x = [row[key] for row in some]
        times, peaks = [median(row) for row in some], [row["peak_bytes"] / 1e6 for row in some]
        axes[0, column].plot(x, times, "o-", ms=3.5, color=color)
        axes[1, column].plot(x, peaks, "o-", ms=3.5, color=color)
        if some is encoding:
            plotting.name_line(axes[0, column], (x[-1], times[-1]), name, color, (0, 8), "right")
        else:
            plotting.name_line(axes[0, column], (x[0], times[0]), name, color, (0, -16))
    for ax, some, key in ((axes[0, 0], training, "bytes"), (axes[0, 1], by_size, "size")):
        ends = np.array([min(row[key] for row in some), max(row[key] for row in some)])
        style = {"ls": (0, (4, 3)), "lw": 1, "color": plotting.REFERENCE}
        ax.plot(ends, median(some[-1]) * ends / ends[1], **style)
    times = [median(row) for row in rows]
    axes[0, 0].set_ylim(min(times) / 2, 2 * max(times))
    for ax in axes.flat:
        ax.set_xscale("log")
    axes[0, 0].set_yscale("log")
    axes[1, 0].set_ylim(0, None)
    axes[0, 0].set_ylabel("seconds (log scale)")
    axes[1, 0].set_ylabel("peak memory, MB")
    axes[1, 0].set_xlabel("bytes of text (log scale)")
    axes[1, 1].set_xlabel("entries in the vocabulary (log scale)")
    fig.suptitle(runs_of(rows), fontsize=9)
    return fig
