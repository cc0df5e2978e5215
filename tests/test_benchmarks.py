"""The GPU's section of the page of benchmarks, and one part of what fills it, on a CPU."""

import json

import pytest
import torch
from click.testing import CliRunner

from benchmarks import gpu, gpu_section
from benchmarks.gpu_section import section, shown


def test_a_part_writes_what_the_section_shows(tmp_path):
    done = CliRunner().invoke(
        gpu.main, ["--quick", "--device", "cpu", "--only", "streets", "--out", str(tmp_path / "gpu.json")]
    )
    assert done.exit_code == 0, done.output
    found = json.loads((tmp_path / "gpu.json").read_text())
    (row,) = found["rows"]
    assert row["what"] == "mean IoU of 4 pictures of 64 x 96"
    text = shown(found)
    assert text.startswith(f"no GPU, {found['cores']} cores, torch {torch.__version__}, commit ")
    assert f"{row['pictures_per_second']:.3g} pictures/s" in text


def test_without_a_gpu_the_last_machines_figures_stay(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    kept = tmp_path / "gpu.json"
    assert section(False, kept).startswith("Not measured")
    row = {"what": "a step", "seconds": 0.02, "peer": "a bare one", "ratio": 1.25, "busy": 0.93, "peak_bytes": 3 << 29}
    run = {"what": "a run", "seconds": 9000.0, "peer": "", "ratio": None}
    about = {"card": "A card", "cores": 16, "torch": "2.14", "commit": "abc", "quick": False}
    kept.write_text(json.dumps(about | {"rows": [row, run]}))
    text = section(True, kept)
    assert "kept from the last" in text
    assert "A card, 16 cores" in text
    assert "| a step | 20.0 ms | 1.25 x a bare one | GPU busy 93%, peak 1.5 GiB |" in text
    assert "| a run | 2.5 h |  |  |" in text


@pytest.mark.parametrize("quick", [True, False])
def test_with_one_it_is_measured_and_kept_unless_quick(quick, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    kept = tmp_path / "gpu.json"

    def run(arguments, **_how):
        out = arguments[arguments.index("--out") + 1]
        about = {"card": "A card", "cores": 16, "torch": "2.14", "commit": "abc", "quick": "--quick" in arguments}
        out.write_text(json.dumps(about | {"rows": []}))

    monkeypatch.setattr("subprocess.run", run)
    assert ("tiny sizes" in section(quick, kept)) == quick
    assert kept.exists() != quick


def test_a_part_that_fails_costs_no_other(tmp_path, monkeypatch):
    def fail(bench, _folder):
        bench.add("before it", 1.0)
        assert [row["what"] for row in json.loads(out.read_text())["rows"]] == ["before it"], "kept as it comes"
        raise RuntimeError("out of memory")

    monkeypatch.setitem(gpu.PARTS, "graphs", fail)
    monkeypatch.setitem(gpu.PARTS, "steps", lambda bench, _folder: bench.add("after it", 2.0))
    out = tmp_path / "gpu.json"
    options = ["--quick", "--device", "cpu", "--only", "graphs", "--only", "steps", "--out", str(out)]
    done = CliRunner().invoke(gpu.main, options)
    assert done.exit_code == 1
    assert done.output.endswith("Error: not whole: graphs\n")
    assert [row["what"] for row in json.loads(out.read_text())["rows"]] == ["before it", "after it"]


def test_calls_on_one_machine_become_one_table(tmp_path, monkeypatch):
    monkeypatch.setattr(gpu_section, "commit_here", lambda: "here")
    about = {"card": "A card", "cores": 16, "torch": "2.14", "quick": False}
    commits, cards = ["unknown", "here", "other", "here"], ["A card", "A card", "A card", "Another"]
    for index, (commit, card) in enumerate(zip(commits, cards, strict=True)):
        row = {"what": f"row {index}", "seconds": 1.0, "peer": "", "ratio": None}
        found = about | {"card": card, "commit": commit, "rows": [row]}
        (tmp_path / f"{index}.json").write_text(json.dumps(found))

    def joined(*calls):
        files = [str(tmp_path / f"{call}.json") for call in calls]
        return CliRunner().invoke(gpu_section.main, [*files, "--out", str(tmp_path / "gpu.json")])

    assert joined(0, 1).exit_code == 0
    found = json.loads((tmp_path / "gpu.json").read_text())
    assert found["commit"] == "here"
    assert [row["what"] for row in found["rows"]] == ["row 0", "row 1"]
    assert "different commits do not go together: here, other" in joined(1, 2).output
    assert "different machines" in joined(1, 3).output
