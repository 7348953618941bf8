"""Texts that a model writes from fixed prompts while it trains, kept in a run's folder."""

from dataclasses import asdict, dataclass
from pathlib import Path

from lmcore.boundary import Natural, convert_fields
from lmcore.experiments.metrics_file import JsonLines
from lmcore.files import from_json
from lmcore.generation.language_model import LanguageModel
from lmcore.model.gpt import GPT
from lmcore.tasks.prepared_text import PreparedText

PROMPT_TOKENS = 8
"""Tokens of a validation document that begin a sample."""
N_PROMPTS = 2
"""Validation documents that begin samples."""


@dataclass(frozen=True, kw_only=True)
class SampleConfig:
    """What is written at each evaluation."""

    prompts: tuple[str, ...] = ()
    """Beginnings of texts. Without any, the beginnings of the first validation documents."""
    max_new_tokens: int = 64
    """Most tokens of each text after its prompt. 0: no samples."""
    temperature: float = 0.8
    """1 draws with the model's probabilities, 0 always takes the most probable token."""
    top_p: float = 1.0
    """Draw only from the fewest tokens that have this share of the probability."""
    seed: Natural = 0
    """Decides what is drawn; text i uses seed + i."""

    def __post_init__(self):
        convert_fields(self)
        if self.max_new_tokens < 0:
            raise ValueError(f"max_new_tokens {self.max_new_tokens} is negative")


@dataclass(frozen=True, kw_only=True)
class Sample:
    """A text that a model wrote after a step."""

    step: int
    prompt: str
    text: str


def default_prompts(prepared: PreparedText) -> list[str]:
    """Return the beginnings of the first validation documents."""
    tokens = prepared.validation
    ends = [*tokens.documents[1:].tolist(), len(tokens.ids)]
    spans = zip(tokens.documents.tolist(), ends, strict=True)
    longer = [(start, end) for start, end in spans if end - start > PROMPT_TOKENS]
    starts = [start for start, _ in longer[:N_PROMPTS]] or [0]
    texts = [
        prepared.tokenizer.decode(tokens.ids[start : start + PROMPT_TOKENS].tolist())
        for start in starts
    ]
    return [text.rstrip("\ufffd") for text in texts]  # the last token may end inside a character


class Sampler:
    """Writes samples of one model and keeps them in a run's samples.jsonl.

    Sampling draws from generators of its own, so that training does not notice it.
    """

    def __init__(self, prepared: PreparedText, config: SampleConfig, folder: Path):
        self.prepared, self.config = prepared, config
        self.prompts = list(config.prompts) or default_prompts(prepared)
        self.lines = JsonLines(folder / "samples.jsonl")

    def write(self, model: GPT, step: int) -> list[Sample]:
        """Return the texts that model writes now, and append them to the file."""
        config, prepared = self.config, self.prepared
        if not config.max_new_tokens:
            return []
        lm = LanguageModel(model, prepared.tokenizer, (prepared.eos_id,))
        texts = lm.generate(
            self.prompts,
            config.max_new_tokens,
            temperature=config.temperature,
            top_p=config.top_p,
            seed=config.seed,
        )
        samples = [
            Sample(step=step, prompt=prompt, text=text)
            for prompt, text in zip(self.prompts, texts, strict=True)
        ]
        self.lines.add(*map(asdict, samples))
        return samples


def read_samples(run: str | Path) -> list[Sample]:
    """Return the samples in a run's folder.

    Raises:
        ValueError: samples.jsonl is missing or damaged.
    """
    path = Path(run) / "samples.jsonl"
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        return [Sample(**from_json(line)) for line in lines]
    except FileNotFoundError:
        raise ValueError(f"{path} is missing: the run has written no samples yet") from None
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path} is damaged: {error}") from None
