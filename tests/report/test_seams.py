"""Examples for the documentation: runs as data."""

from lmcore.studies import all_studies


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
