"""The public names as a user writes them: a type checker reads this file, nothing runs it."""

from pathlib import Path

import torch

import lmcore
from lmcore.model import MLP, Attention, Block, RMSNorm, RoPE, cross_entropy


def tokenize(path: Path) -> lmcore.Tokenizer:
    tokenizer = lmcore.Tokenizer.train(path, 1_000, ["<|endoftext|>"])
    ids: list[int] = tokenizer.encode("some text")
    text: str = tokenizer.decode(ids)
    tokenizer.save(path.with_suffix("") / text[:4])
    vocab, merges = lmcore.train_bpe(path, vocab_size=1_000, special_tokens=["<|endoftext|>"])
    return lmcore.Tokenizer(vocab, merges, ["<|endoftext|>"])


def train_on(ids: list[int], tokenizer: lmcore.Tokenizer, folder: Path) -> list[float]:
    batches = lmcore.Batches(ids, batch_size=16, context_length=32, order="shuffled")
    config = lmcore.ModelConfig(vocab_size=tokenizer.vocab_size, d_model=64, n_heads=4)
    model = lmcore.GPT(config)
    task = lmcore.RowsTask(batches=batches, validation=batches.batch(0))
    plan = lmcore.TrainConfig(
        steps=100,
        optimizer=lmcore.OptimizerConfig(kind="muon", lr=3e-3),
        schedule=lmcore.ScheduleConfig(kind="wsd", warmup_steps=10),
        evaluation=lmcore.EvaluationConfig(eval_every=20, patience=3),
    )
    losses = [
        record.loss
        for record in lmcore.train(model, plan, task, lmcore.Runtime(device="cpu"))
        if record.loss is not None
    ]
    lmcore.save(folder, model, tokenizer)
    return losses


def train_on_text(path: Path, folder: Path) -> float:
    prepared = lmcore.prepare(path, folder / "data", lmcore.PrepareConfig(vocab_size=1_000))
    config = lmcore.text_run(lmcore.load_prepared(folder / "data"), "tiny", d_model=64)
    run = lmcore.train_text(prepared, folder / "run", config)
    lmcore.learning_curves({"first": run}).savefig(folder / "curves.svg")
    return run.records[-1]["loss"]


def write(folder: Path) -> str:
    lm = lmcore.load(folder)
    answer = lm.generate("Once upon a time", max_new_tokens=8, temperature=0.8, top_p=0.9)
    ids = lmcore.generate(lm.model, lm.tokenizer.encode("Once"), 8, lmcore.Sampling(top_k=5))
    assert isinstance(answer, str)
    return answer + str(ids)


def loop(model: torch.nn.Module, path: Path) -> int:
    optimizer = lmcore.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.95), weight_decay=0.1)
    x, y = lmcore.get_batch(range(1_000), batch_size=8, context_length=16, device="cpu")
    loss = cross_entropy(model(x), y)
    loss.backward()
    optimizer.step()
    lmcore.save_checkpoint(path, model, optimizer, 1)
    return lmcore.load_checkpoint(path, model, optimizer)


def blocks(x: torch.Tensor) -> torch.Tensor:
    y = RMSNorm(64)(x)
    y = Attention(64, n_heads=4, n_kv_heads=2, rope=RoPE(base=10_000.0))(y)
    y = MLP(64, d_ff=192, activation="swiglu")(y)
    return Block(64, n_heads=4, norm="rms")(y)
