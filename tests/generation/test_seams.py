"""What a user does without editing the library; the documentation shows these bodies."""


def test_a_model_is_trained_saved_opened_and_writes(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    # docs: start save-and-load
    import torch

    import lmcore

    text = "The cat sat on the mat.<eos>" * 200
    tokenizer = lmcore.Tokenizer.train([text], 270, ["<eos>"])
    config = lmcore.ModelConfig(
        vocab_size=tokenizer.vocab_size, context_length=16, d_model=32, n_layers=1, n_heads=2
    )
    model, ids = lmcore.GPT(config), torch.tensor(tokenizer.encode(text))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(80):
        batch = ids[torch.randint(len(ids) - 16, (16, 1)) + torch.arange(17)]
        logits = model(batch[:, :-1]).flatten(0, 1)
        torch.nn.functional.cross_entropy(logits, batch[:, 1:].flatten()).backward()
        optimizer.step()
        optimizer.zero_grad()
    lmcore.save("cat-model", model, tokenizer)
    lm = lmcore.load("cat-model")
    print(lm.generate("The cat", temperature=0))
    # docs: end save-and-load
    assert capsys.readouterr().out == " sat on the mat.\n"
