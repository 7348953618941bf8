"""Examples for the documentation: runs as data."""

from lmcore.data import grammar
from lmcore.studies import all_studies


def test_a_run_on_a_text_and_its_curves(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "novel.txt").write_text("\n".join(grammar.titles(300, seed=0)))
    # docs: start own-text
    import lmcore

    config = lmcore.PrepareConfig(vocab_size=400)
    prepared = lmcore.prepare("novel.txt", "data", config)
    narrow = lmcore.text_run(prepared, "tiny", d_model=16, n_layers=1, steps=10, batch_size=4)
    wide = lmcore.text_run(prepared, "tiny", d_model=32, n_layers=1, steps=10, batch_size=4)
    runs = {
        "narrow": lmcore.train_text(prepared, "runs/narrow", narrow),
        "wide": lmcore.train_text(prepared, "runs/wide", wide),
    }
    lmcore.learning_curves(runs).savefig("curves.svg")
    # docs: end own-text
    assert (tmp_path / "curves.svg").stat().st_size > 0
    assert runs["wide"].config.model.d_model == 32


def test_runs_are_a_frame_of_numbers(tmp_path):
    experiments = all_studies()["baseline"].experiments()
    path = tmp_path / "runs.csv"
    # docs: start frame
    from lmcore.experiments.runner import load_finished
    from lmcore.report.frames import runs_frame

    frame = runs_frame(load_finished(experiments))
    frame.groupby("name")["validation.bpb"].agg(["mean", "std"])
    frame.to_csv(path)
    # docs: end frame
    assert set(frame["name"]) == {"sgd", "known-entropy"}
    assert frame["validation.bpb"].between(0, 3).all()
    assert len(path.read_text().splitlines()) == len(frame) + 1
