"""The GPU's section of the page of benchmarks, and one part of what fills it, on a CPU."""

import json

import pytest
import torch
from click.testing import CliRunner

from benchmarks import gpu
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
