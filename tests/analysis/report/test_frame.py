"""All records as a pandas table: one row a record, nothing lost, nothing averaged."""

import json
import math
from pathlib import Path

import pytest

from csg_analysis import read_records
from csg_train.errors import UserError
from tests.analysis.report.cases import write_run


def test_a_row_has_what_its_record_says(tmp_path: Path) -> None:
    folder = write_run(tmp_path, "csg", right=60, method_config={"weight": 0.1, "dim": 128}, options={"ema": 0.99})
    records = read_records(tmp_path)
    assert records["file"].tolist() == [
        str(folder / f"{name}.json") for name in ("accuracy-target", "attention", "energy-target")
    ]
    accuracy, _, energy = (row for _, row in records.iterrows())
    written = json.loads((folder / "accuracy-target.json").read_text())
    assert (accuracy["mean_per_class"], accuracy["per_class.bird"], accuracy["interval.low"]) == (0.6, 0.6, 0.6 - 0.05)
    assert accuracy["run.checkpoint_sha256"] == written["run"]["checkpoint_sha256"]
    assert (accuracy["data.split"], accuracy["data.count"], accuracy["run.selection"]) == ("target", 200, "last")
    assert json.loads(accuracy["run.method_config"]) == {"weight": 0.1, "dim": 128}
    assert json.loads(accuracy["run.options"]) == {"ema": 0.99}
    assert (energy["mhe.0"], energy["paper.0"], energy["interval.0.high"]) == (-0.4, -0.2, -0.4 + 0.01)
    assert math.isnan(energy["mean_per_class"])  # which its kind does not have


def test_the_means_of_the_methods_are_a_line(tmp_path: Path) -> None:
    for method, rights in {"baseline": (50, 60), "csg": (70, 74)}.items():
        for seed, right in enumerate(rights):
            write_run(
                tmp_path / method, method, seed, right=right, method_config={"weight": 0.1} if method == "csg" else {}
            )
    records = read_records(tmp_path / "csg", tmp_path / "baseline")
    scores = records[(records["kind"] == "accuracy") & (records["data.split"] == "target")]
    means = scores.groupby(["run.method", "run.method_config"])["mean_per_class"].mean()
    assert means.to_dict() == pytest.approx({("baseline", "{}"): 0.55, ("csg", '{"weight": 0.1}'): 0.72})
    assert records["run.method"].iloc[0] == "csg"  # in the order of the folders


def test_an_infinite_energy_is_not_a_missing_one(tmp_path: Path) -> None:
    """pandas would leave it out of a mean."""
    path = write_run(tmp_path, "csg", attention=False) / "energy-target.json"
    fields = json.loads(path.read_text())
    fields["mhe"]["2"] = fields["paper"]["2"] = fields["uniform"]["2"] = None
    path.write_text(json.dumps(fields))
    energy = read_records(tmp_path).iloc[1]
    assert energy[["mhe.2", "paper.2", "uniform.2"]].tolist() == [math.inf] * 3


def test_a_model_from_outside_and_snapshots_are_read_too(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "runs", "csg", attention=False)
    snapshot = folder / "along" / "000010"
    snapshot.mkdir(parents=True)
    fields = json.loads((folder / "energy-target.json").read_text())
    (snapshot / "energy-target.json").write_text(json.dumps(fields | {"run": fields["run"] | {"step": 10}}))
    model = {"model": "timm/resnet50", "sha256": "0", "versions": {}}
    outside = fields | {"run": model, "data": fields["data"] | {"split": "images"}}
    (tmp_path / "runs" / "energy-images.json").write_text(json.dumps(outside))
    energies = read_records(tmp_path / "runs").query("kind == 'energy'")
    assert energies["run.step"].fillna(-1).tolist() == [10, 20, -1]
    assert energies["run.model"].tolist()[2] == "timm/resnet50"


def test_refuses_what_holds_no_record_or_a_damaged_one(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere: no such folder"):
        read_records(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r": no records; train with csg-train run"):
        read_records(tmp_path)
    path = write_run(tmp_path, "csg") / "accuracy-target.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"per_class": [0.5]}))
    with pytest.raises(UserError, match=r"accuracy-target\.json: its numbers do not fit its 2 classes"):
        read_records(tmp_path)


def test_a_folder_in_another_counts_once_and_a_copied_record_is_refused(tmp_path: Path) -> None:
    folder = write_run(tmp_path, "csg")
    assert read_records(tmp_path, folder)["file"].tolist() == read_records(tmp_path)["file"].tolist()
    (folder / "energy-target copy.json").write_bytes((folder / "energy-target.json").read_bytes())
    with pytest.raises(UserError, match=r"energy-target copy\.json: holds the energy record of target"):
        read_records(tmp_path)
