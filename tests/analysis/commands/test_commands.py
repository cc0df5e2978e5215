"""``csg-analyze`` and ``csg-report`` on awkward but legal data, through the real commands."""

import json
import shutil

import pytest

from tests.commands import command
from tests.conftest import write_tree


@pytest.mark.parametrize(("rule", "value"), [("infinite", None), ("exclude", 1.0)])
def test_coincident_pairs_are_counted_and_an_infinite_energy_is_said(rule, value, recipe_file, tmp_path):
    """A copied picture: infinite by rule, null in the record, a dash in the report, never a traceback."""
    write_tree(tmp_path / "target", per_class=2)
    shutil.copy(tmp_path / "target" / "bus" / "0.png", tmp_path / "target" / "bus" / "1.png")
    where = ("--set", f"data.target.root={tmp_path / 'target'}")
    assert command("csg-train", "run", recipe_file, *where, "--out", "run", cwd=tmp_path).returncode == 0
    options = ("--split", "target", "--coincident", rule)
    result = command("csg-analyze", "energy", tmp_path / "run" / "ckpt.pt", *options, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert ("infinite" in result.stdout) == (rule == "infinite")
    record = json.loads((tmp_path / "run" / "energy-target.json").read_text())
    assert record["coincident"] == 1
    assert [type(record["mhe"][s]) for s in "012"] == [type(value)] * 3
    assert len(record["interval"]) == (3 if rule == "exclude" else 0)
    built = command("csg-report", "build", "run", "--out", "report", cwd=tmp_path)
    assert built.returncode == 0, built.stderr


def test_energy_of_two_pictures_has_no_interval(recipe_file, tmp_path):
    write_tree(tmp_path / "two", per_class=1)
    shutil.rmtree(tmp_path / "two" / "truck")
    root = f"={tmp_path / 'two'}"
    sets = ("--set", "data.source.root" + root, "--set", "data.target.root" + root)
    assert command("csg-train", "run", recipe_file, *sets, "--out", "run", cwd=tmp_path).returncode == 0
    result = command("csg-analyze", "energy", tmp_path / "run" / "ckpt.pt", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert json.loads((tmp_path / "run" / "energy-target.json").read_text())["interval"] == {}
