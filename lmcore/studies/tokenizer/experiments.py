"""What does a byte-level BPE gain from more entries, and lose on text of another kind?

Hypothesis: bytes per token grow with the logarithm of the vocabulary until it holds the text's
words; a few megabytes of a text teach its merges as well as all of it; another kind of text costs
tens of percent more tokens; and on scripts of many characters, bytes cost little beside characters.

Scientific hyperparameters: the size of the vocabulary, the text it is learned from, its alphabet.
Nuisance hyperparameters: none but the order of manual pages; nothing else here is drawn.
Fixed hyperparameters: GPT-2's pattern, and which part of a text is held out.
"""

from dataclasses import dataclass, replace

from lmcore.experiments.experiment import RunConfig

ENGLISH = ("headlines", "stories", "novels", "shakespeare")
MANUALS = {"ja": "ja", "zh": "zh_CN", "ru": "ru", "de": "de"}
"""The folder of each language below usr/share/man in Debian's package manpages-<language>."""
DOUBLINGS = tuple(2**i for i in range(9, 17))


@dataclass(frozen=True, kw_only=True)
class Survey(RunConfig):
    """One survey: its texts and vocabulary sizes.

    Its name says what is measured: one of `surveys.MEASURES`.
    """

    study: str = "tokenizer"
    """The study that the run belongs to."""
    seed: int = 0
    """The order of manual pages; nothing else is drawn."""
    texts: tuple[str, ...] = ENGLISH
    """The names of the texts."""
    vocab_sizes: tuple[int, ...] = ()
    """Entries in the vocabularies, the 256 bytes among them."""
    held_out: float = 0.1
    """The share at the end of each text that no tokenizer learns from."""
    most_bytes: int | None = None
    """The length to which a text is cut before it is split; None takes all of it."""


def all_experiments() -> list[Survey]:
    """Return every survey of the study."""
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
        Survey(
            name="evaluator",
            texts=("headlines",),
            vocab_sizes=(
                4_096,
                6_144,
                8_192,
                10_240,
                12_288,
                14_336,
                16_000,
                20_480,
                24_576,
                32_000,
            ),
        ),
    ]


def smoke(survey: Survey) -> Survey:
    """Return the small version of survey, which takes seconds on generated text."""
    sizes = tuple(300 + 10 * i for i in range(min(3, len(survey.vocab_sizes))))
    return replace(survey, vocab_sizes=sizes, scale="smoke")
