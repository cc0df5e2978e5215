"""Users' mistakes through the real command: one line that names the file and the fix, exit 2, nothing half-written."""

import shutil
from pathlib import Path

import pytest
import torch

from csg_analysis.report.load import _PATTERNS
from tests.commands import assert_user_error, command
from tests.conftest import look_at_one_picture_of_each_split, write_tree
from tests.narrow import Narrow


def test_unknown_method_names_the_allowed_ones(recipe_file, tmp_path):
    result = command("csg-train", "run", recipe_file, "--set", "method.name=magic", cwd=tmp_path)
    assert_user_error(result, "method", "magic", "baseline", "csg")
    assert not (tmp_path / "runs").exists()


def test_unknown_key_names_the_allowed_ones(recipe_file, tmp_path):
    result = command("csg-train", "run", recipe_file, "--set", "train.stepz=3", cwd=tmp_path)
    assert_user_error(result, "train.stepz", "unknown key", "steps")


def test_unknown_recipe_names_the_packaged_ones(tmp_path):
    assert_user_error(command("csg-train", "run", "nope", cwd=tmp_path), "nope", "emoji-photos")


def test_demo_data_not_fetched_names_the_command(tmp_path):
    result = command("csg-train", "run", cwd=tmp_path, env={"CSG_DATA_DIR": str(tmp_path / "none")})
    assert_user_error(result, "csg-train data fetch renders-photos")


@pytest.mark.parametrize(
    ("fault", "workers"), [("truncated", 0), ("truncated", 2), ("empty class", 0), ("empty folder", 0)]
)
def test_bad_pictures(fault, workers, recipe_file, tmp_path):
    root = tmp_path / "own"
    write_tree(root)
    victim = root / "car" / "1.png"
    if fault == "truncated":
        victim.write_bytes(victim.read_bytes()[:300])
    elif fault == "empty class":
        victim = root / "car"
        shutil.rmtree(victim)
        victim.mkdir()
    else:
        victim = root
        shutil.rmtree(root)
        root.mkdir()
    sets = ("--set", f"data.source.root={root}", "--set", f"train.workers={workers}")
    result = command("csg-train", "run", recipe_file, *sets, cwd=tmp_path)
    assert_user_error(result, str(victim))
    assert "worker" not in result.stderr
    if fault != "truncated":  # a run that meets the picture later keeps its earlier checkpoint
        assert not list(tmp_path.rglob("ckpt.pt"))


def test_loss_that_is_not_finite_stops_with_step_and_parts(recipe_file, tmp_path):
    sets = ("--set", "train.lr_head=1e30", "--set", "train.warmup=0", "--set", "model.batch_norm=train")
    result = command("csg-train", "run", recipe_file, *sets, cwd=tmp_path)
    assert_user_error(result, "not finite at step", "ce", "train.lr_head")
    assert not list(tmp_path.rglob("ckpt.pt"))


@pytest.mark.parametrize("fault", ["foreign", "cut", "missing"])
def test_bad_checkpoints(fault, recipe_file, tmp_path):
    path = tmp_path / "ckpt.pt"
    if fault == "foreign":
        path.write_bytes(b"not a checkpoint")
    elif fault == "cut":
        assert command("csg-train", "run", recipe_file, "--out", tmp_path / "run", cwd=tmp_path).returncode == 0
        whole = (tmp_path / "run" / "ckpt.pt").read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
    assert_user_error(command("csg-analyze", "energy", path, cwd=tmp_path), str(path))
    assert not list(tmp_path.glob("energy-*"))


def test_a_run_is_not_overwritten_unasked_and_then_measured(recipe_file, tmp_path):
    """The whole chain on own data: run, refuse, resume, energy, accuracy, GradCAM of a split and of a folder."""
    out: Path = tmp_path / "run"
    assert command("csg-train", "run", recipe_file, "--out", out, cwd=tmp_path).returncode == 0
    assert_user_error(command("csg-train", "run", recipe_file, "--out", out, cwd=tmp_path), "--resume", "--overwrite")
    both = command("csg-train", "run", recipe_file, "--out", out, "--resume", "--overwrite", cwd=tmp_path)
    assert_user_error(both, "--resume, --overwrite", "give one")
    assert command("csg-train", "run", recipe_file, "--out", out, "--resume", cwd=tmp_path).returncode == 0
    for arguments in (("energy",), ("accuracy", "--json"), ("gradcam",), ("gradcam", "--images", out.parent)):
        if "--images" in arguments:
            assert_user_error(
                command("csg-analyze", *arguments, out / "ckpt.pt", "--explain", "label", cwd=tmp_path), "no labels"
            )
            continue
        result = command("csg-analyze", *arguments, out / "ckpt.pt", cwd=tmp_path)
        assert result.returncode == 0, result.stderr
    assert {path.name for path in out.iterdir()} >= {
        "energy-target.json",
        "energy-source.csv",
        "accuracy-target.json",
        "attention.json",
        "attention.npz",
    }


def test_overwrite_leaves_no_record_of_the_old_run(recipe_file, tmp_path):
    out = tmp_path / "run"
    assert command("csg-train", "run", recipe_file, "--out", out, cwd=tmp_path).returncode == 0
    measured = ["energy-target.csv", "predictions-target.npz", *(name.replace("*", "target") for name in _PATTERNS)]
    for name in measured:  # as csg-analyze writes them beside the checkpoint
        (out / name).write_text("of the old checkpoint")
    (out / "attention-maps").mkdir()  # a user's own, on which the removal broke off behind the checkpoint
    own = ("accuracy-notes.txt", "energy-mine.md", "along/precious.txt", "along/000002/notes.txt")
    for name in ("000001", "000002"):
        (tmp_path / "elsewhere" / name).mkdir(parents=True)
        (tmp_path / "elsewhere" / name / "ckpt.pt").write_text("of the old run")
    (out / "along").symlink_to(tmp_path / "elsewhere")
    for name in own:
        (out / name).write_text("mine")
    sets = ("--set", "train.lr_head=1e30", "--set", "train.warmup=0", "--set", "model.batch_norm=train")
    assert command("csg-train", "run", recipe_file, "--out", out, "--overwrite", *sets, cwd=tmp_path).returncode == 2
    assert not [
        path.name for path in out.iterdir() if path.name.startswith(("accuracy", "ckpt")) and path.name not in own
    ]
    assert not [name for name in measured if (out / name).exists()]
    assert (out / "attention-maps").is_dir()
    assert {(out / name).read_text() for name in own} == {"mine"}
    assert sorted(path.name for path in (tmp_path / "elsewhere").rglob("*")) == ["000002", "notes.txt", "precious.txt"]


def test_a_run_that_cannot_start_overwrites_none(recipe_file, trees, tmp_path):
    """Weights that do not fit, settings that the method refuses as it is prepared, a broken picture behind those that
    are looked at: the old run was gone by then.
    """
    out, bad, bare = (tmp_path / name for name in ("run", "bad.pt", "bare.pt"))
    assert command("csg-train", "run", recipe_file, "--out", out, cwd=tmp_path).returncode == 0
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    bad.write_text("no weights")
    torch.save({name: value for name, value in Narrow().state_dict().items() if "fc." not in name}, bare)
    for weights, method, said in ((bad, "csg", "bad.pt"), (bare, "asg", "this backbone has no classifier")):
        options = ("--weights", weights, "--set", f"method.name={method}")
        done = command("csg-train", "run", recipe_file, "--out", out, "--overwrite", *options, cwd=tmp_path)
        assert_user_error(done, said)
        assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    options = ("--weights", out / "ckpt.pt", "--overwrite")
    done = command("csg-train", "run", recipe_file, "--out", out, *options, cwd=tmp_path)
    assert_user_error(done, f"{out / 'ckpt.pt'}: starting weights in {out}, whose run --overwrite removes")
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    shutil.copytree(trees / "source", tmp_path / "source")
    for picture in (tmp_path / "source").glob("*/[1-9].png"):
        picture.write_bytes(picture.read_bytes()[:200])
    options = ("--overwrite", "--set", f"data.source.root={tmp_path / 'source'}")
    before_it = look_at_one_picture_of_each_split
    done = command("csg-train", "run", recipe_file, "--out", out, *options, cwd=tmp_path, before=before_it)
    assert_user_error(done, ".png: cannot decode")
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
