"""Names as users have them, through the real command: they work, or are refused in one line, and are never markup."""

import os
import shutil
import unicodedata
from pathlib import Path

import pytest
import torch
import yaml

from csg_train.files import sha256_file
from tests.commands import assert_user_error, command
from tests.conftest import copied, write_tree

E = "\u00e9"


def own_recipe(recipe_dict: dict, folder: Path, **changes: dict) -> Path:
    path = folder / "own.yaml"
    path.write_text(yaml.safe_dump(recipe_dict | changes))
    return path


def renamed(trees: Path, to: Path, old: str, new: str) -> Path:
    shutil.copytree(trees, to)
    (to / old).rename(to / new)
    return to


@pytest.mark.parametrize(
    "name", ["w #1.pt", "w: 1.pt", "[a].pt", "2024", "true", "2024-01-01", "~w.pt", "-w.pt", "none"]
)
def test_weights_are_the_file_of_that_name(name, recipe_file, recipe_dict, tmp_path):
    other = torch.load(recipe_dict["model"]["weights"], weights_only=True)
    torch.save({key: value + 1 if value.is_floating_point() else value for key, value in other.items()}, tmp_path / "w")
    shutil.copy(recipe_dict["model"]["weights"], tmp_path / name)
    given = f"./{name}" if name == "none" else name
    sets = ("--set", "train.steps=1", "--blind")
    result = command(
        "csg-train", "run", recipe_file, "--out", "[o] #1/b[/b]", f"--weights={given}", *sets, cwd=tmp_path
    )
    assert result.returncode == 0, result.stderr
    used = torch.load(tmp_path / "[o] #1" / "b[/b]" / "ckpt.pt", weights_only=True)["weights"]
    assert used == sha256_file(tmp_path / name)


@pytest.mark.parametrize(
    "words",
    [
        ("csg-train", "run", "digits", "--out", ""),
        ("csg-analyze", "energy", ""),
        ("csg-report", "build", "runs", "--out="),
    ],
)
def test_an_empty_path_is_not_the_working_directory(words, tmp_path):
    """As a shell makes of "$OUT" where that is not set."""
    result = command(*words, cwd=tmp_path)
    assert result.returncode == 2
    assert result.stderr.splitlines()[-1].endswith(
        ": empty; name a file or folder, or give . for the working directory"
    )
    assert not [*tmp_path.iterdir()]


def test_a_comment_in_an_override_is_not_dropped(recipe_file, tmp_path):
    result = command("csg-train", "data", "check", recipe_file, "--set", "data.source.root=a #1", cwd=tmp_path)
    assert_user_error(result, "data.source.root", "comment", "quotes")


@pytest.mark.parametrize("name", ["caf\udce9", "a\nb", "a\x1b[31mb", "a\tb"])
@pytest.mark.parametrize("at", ["source/car/0.png", "source/car"])
def test_names_that_no_record_can_hold(name, at, recipe_dict, trees, tmp_path):
    new = f"source/car/{name}.png" if at.endswith("png") else f"source/{name}"
    root = renamed(trees, tmp_path / "t", at, new)
    data = {"source": {"dataset": "folder", "root": str(root / "source")}, "size": 32}
    recipe = own_recipe(recipe_dict, tmp_path, data=data | {"target": copied(data["source"], tmp_path)})
    for words in (("data", "check"), ("run", "--out", "o")):
        assert_user_error(command("csg-train", *words, recipe, cwd=tmp_path), "rename it")
    assert not list(tmp_path.rglob("ckpt.pt"))


@pytest.mark.parametrize("name", ["[unknown]", "[bold]", ":car:", "-x", "true", "2024", "a: b", "a #b", " c", "(x)*"])
def test_names_of_classes_are_text(name, recipe_dict, trees, tmp_path):
    root = renamed(trees, tmp_path / "t", "source/car", f"source/{name}")
    data = {"source": {"dataset": "folder", "root": str(root / "source"), "name": name}, "size": 32}
    recipe = own_recipe(recipe_dict, tmp_path, data=data | {"target": copied(data["source"], tmp_path)})
    checked = command("csg-train", "data", "check", recipe, cwd=tmp_path)
    assert checked.returncode == 0, checked.stderr
    assert f" {name} " in checked.stdout


def test_labels_of_a_list_are_text(recipe_dict, trees, tmp_path):
    rows = [f"{path.relative_to(trees / 'source')},{path.parent.name} [/old]" for path in trees.glob("source/*/*.png")]
    (tmp_path / "m.csv").write_text("\n".join(["path,label", *rows]))
    domain = {"dataset": "manifest", "root": str(trees / "source"), "file": "m.csv"}
    recipe = own_recipe(recipe_dict, tmp_path, data={"source": domain, "target": copied(domain, tmp_path), "size": 32})
    checked = command("csg-train", "data", "check", recipe, cwd=tmp_path)
    assert checked.returncode == 0, checked.stderr
    assert "car [/old]" in checked.stdout


def test_two_unicode_forms_of_a_class_show_what_differs(recipe_dict, trees, tmp_path):
    forms = [unicodedata.normalize(form, f"caf{E}") for form in ("NFC", "NFD")]
    domains = [
        {
            "dataset": "folder",
            "root": str(renamed(trees, tmp_path / f"t{n}", "source/car", f"source/{form}") / "source"),
        }
        for n, form in enumerate(forms)
    ]
    recipe = own_recipe(recipe_dict, tmp_path, data={"source": domains[0], "target": domains[1], "size": 32})
    result = command("csg-train", "data", "check", recipe, cwd=tmp_path)
    assert_user_error(result, r"caf\xe9", r"cafe\u0301", "rename")
    recipe = own_recipe(
        recipe_dict, tmp_path, data={"source": domains[0] | {"root": f"t1{os.sep}{forms[0]}"}, "target": domains[1]}
    )
    write_tree(tmp_path / "t1" / forms[1])
    assert_user_error(
        command("csg-train", "data", "check", recipe, cwd=tmp_path), r"caf\xe9", r"cafe\u0301", "no such folder"
    )


def test_a_folder_of_a_run_whose_name_is_not_utf8(recipe_file, tmp_path):
    result = command(
        "csg-train", "run", recipe_file, "--set", "train.steps=1", "--quiet", "--out", "caf\udce9", cwd=tmp_path
    )
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "caf\udce9" / "accuracy-target.json").is_file()


@pytest.mark.parametrize(
    ("field", "value", "part"),
    [
        ("data.source.name", '"a\\nb"', "control character"),
        ("data.target.name", '"\\udce9"', "not UTF-8"),
        ("data.source.root", '"a\\0b"', "control character"),
        ("data.source.root", "''", "it should be a path"),
        ("model.weights", '"a\\0b"', "control character"),
        ("model.weights", "''", "it should be a path"),
        ("method", '{name: domain-randomization, styles: "a\\0b"}', "control character"),
    ],
)
def test_text_of_a_recipe_that_no_record_can_hold(field, value, part, recipe_file, tmp_path):
    result = command("csg-train", "data", "check", recipe_file, "--set", f"{field}={value}", cwd=tmp_path)
    assert_user_error(result, f"tiny.yaml: {field}", part)


def test_names_in_figures_are_text(recipe_dict, trees, tmp_path):
    """A dollar is no formula, and a leading underscore no wish to be left out of a legend: a warning fails the test."""
    root = renamed(
        renamed(trees, tmp_path / "1", "source/car", "source/$\\frac{$"), tmp_path / "t", "source/bus", "source/_x"
    )
    domain = {"dataset": "folder", "root": str(root / "source"), "name": "$x_{$"}
    data = {"source": domain, "target": copied(domain, tmp_path), "size": 32}
    recipe = own_recipe(recipe_dict, tmp_path, data=data)
    command("csg-train", "run", recipe, "--set", "train.steps=1", "--out", "$a_{$", cwd=tmp_path)
    for words in (("gradcam", "--per-class", 1), ("sphere",), ("sphere", "--out", "s.svg")):
        result = command("csg-analyze", *words, "$a_{$/ckpt.pt", cwd=tmp_path)
        assert (result.returncode, result.stderr) == (0, "")
    assert ">_x<" in (tmp_path / "s.svg").read_text().replace("> _x<", ">_x<")


def test_folders_whose_names_are_not_utf8(recipe_file, trees, tmp_path):
    """Files hold them as escapes; what other libraries cannot open is refused by its name."""
    name = "caf\udce9"
    for seed, run in enumerate((name, "other")):
        words = ("--set", "train.steps=1", "--set", f"seed={seed}", "--out", f"runs/{run}")
        assert command("csg-train", "run", recipe_file, *words, cwd=tmp_path).returncode == 0
    shutil.copytree(trees / "target", tmp_path / name)
    checkpoint = f"runs/{name}/ckpt.pt"
    for words in (
        ("csg-analyze", "features", checkpoint, "--out", f"f{name}"),
        ("csg-analyze", "gradcam", checkpoint, "--images", name),
        ("csg-report", "build", "runs"),
        ("csg-report", "verify", "report", "runs"),
    ):
        result = command(*words, cwd=tmp_path)
        assert result.returncode == 0, result.stderr
    assert "caf\\udce9" in (tmp_path / "report" / "report.md").read_text().replace("\\\\", "\\")
    assert (tmp_path / f"f{name}" / "caf\\udce9-layer4.npy").is_file()
    words = ("export", checkpoint, "--format", "safetensors", "--images", name)
    assert command("csg-train", *words, "--to", "e", cwd=tmp_path).returncode == 0
    assert_user_error(command("csg-train", *words, "--to", f"e{name}", cwd=tmp_path), "--to", "not UTF-8", "rename it")
    (tmp_path / "e" / "model.safetensors").rename(tmp_path / f"{name}.safetensors")
    result = command("csg-train", "predict", f"{name}.safetensors", name, cwd=tmp_path)
    assert_user_error(result, "is not UTF-8", "rename it")


def test_a_home_folder_that_no_shell_replaced(recipe_file, tmp_path):
    """An option takes the path as it is."""
    for seed in (0, 1):
        words = ("--set", f"seed={seed}", "--set", "data.validation={dataset: holdout, fraction: 0.3}")
        command("csg-train", "run", recipe_file, *words, "--out", f"{seed}", cwd=tmp_path)
    write_tree(tmp_path / "~" / "own")
    result = command("csg-analyze", "choose", "0/ckpt.pt", "1/ckpt.pt", "--target", "~/own", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
