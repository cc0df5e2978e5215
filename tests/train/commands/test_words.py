"""What recipes and lists get wrong, said in their words: what was found, what is meant, and the way out."""

import shutil

import pytest
import yaml

from tests.commands import assert_user_error, command
from tests.conftest import copied, write_tree


@pytest.mark.parametrize(
    ("more", "parts"),
    [
        ("train: {steps: 3}\n", ("train: written twice", "lines 1 and 3")),
        ("data:\n  size: 32\n  size: 16\n", ("size: written twice", "lines 4 and 5")),
        ("method: {name: csg, name: baseline}\n", ("name: written twice", "lines 3 and 3")),
    ],
)
def test_a_key_written_twice_is_named_with_both_lines(more, parts, tmp_path):
    (tmp_path / "t.yaml").write_text("train: {steps: 5, batch_size: 4}\nname: t\n" + more)
    for words in (("run",), ("data", "check"), ("sweep", "--out", "o")):
        result = command("csg-train", *words, "t.yaml", cwd=tmp_path)
        assert_user_error(result, "t.yaml", *parts)


@pytest.mark.parametrize(
    ("override", "parts"),
    [
        ("data.source.root=2024", ("data.source.root", "quotes", "2024")),
        ("data.source.root=2024-01-01", ("data.source.root", "quotes", "date 2024-01-01")),
        ("data.source.root=no", ("data.source.root", "quotes", "false")),
        ("data.source.root=null", ("data.source.root", "it should be a path", "null")),
        ("data.source.root=[a]", ("data.source.root", "it should be a path", "quotes")),
        ("data.source.name=1", ("data.source.name", "it should be text", "quotes")),
        ("model.weights=null", ("model.weights", "imagenet, none", "null")),
        ("model.weights=2024", ("model.weights", "imagenet, none", "2024")),
        ("name=2024", ("name", "it should be text", "quotes")),
        ("train=null", ("train", "a section", "null")),
        ("train.steps=true", ("train.steps", "true")),
        ("train.steps=null", ("train.steps", "a whole number", "null")),
        ("train.steps=1.5", ("train.steps", "a whole number", "1.5")),
        ("evaluate.flip=maybe", ("evaluate.flip", "true or false", "maybe")),
        ("data.source={root: x}", ("data.source", "dataset", "missing")),
        ("data.source.root=''", ("data.source.root", "empty")),
        ('data.source.name="a\\nb"', ("data.source.name", "control character")),
        ("data.source.classes={}", ("data.source.classes", "at least 1")),
        ("average={}", ("average", "key rule")),
        ("average={rule: best}", ("average", "unknown rule 'best'", "ema")),
        ("average={rule: null}", ("average", "unknown rule null")),
        ("train.workers=many", ("train.workers: it should be a whole number, or it should be 'auto'",)),
        ("train.steps=1.0e+99", ("train.steps", "fewer digits")),
        ("train.lr_head=1.0e+300", ("train.lr_head", "float32")),
        ("train.lr_head=1e-300", ("train.lr_head", "float32")),
        ("train.batch_size=4611686018427387904", ("train.batch_size", "65536")),
        ("train.snapshots=4611686018427387904", ("train.snapshots", "65536")),
        ("train.3=4", ("train.3: unknown key",)),
        ("train={3: 4, steps: 2}", ("train.3: a key is text", "quotes")),
        ("method={name: csg, weight: .inf}", ("method.weight", "finite")),
        ("method={name: csg, weight: 1.0e+300}", ("weight", "float32")),
        ("method={name: csg, dim: 4611686018427387904}", ("method.dim", "65536")),
        ("method={name: csg, layers: [true]}", ("layers", "true has no meaning")),
        ("method={name: csg, layers: []}", ("method.layers: it should have at least 1",)),
        ("method={name: miro, layers: 3}", ("method.layers: it should be 'all', or it should be a list",)),
    ],
)
def test_faults_are_said_in_the_recipes_words(override, parts, recipe_file, tmp_path):
    result = command("csg-train", "data", "check", recipe_file, "--set", override, cwd=tmp_path)
    assert_user_error(result, *parts)
    for word in ("Input should", "after validation", "literal[", "constrained", "Tuple", "Keys should"):
        assert word not in result.stderr


def test_a_merge_key_would_write_twice_unseen(tmp_path):
    (tmp_path / "t.yaml").write_text("name: t\ntrain:\n  <<: {steps: 9}\n  steps: 5\n")
    assert_user_error(command("csg-train", "data", "check", "t.yaml", cwd=tmp_path), "t.yaml", "line 3", "merge key")


def test_a_resume_that_differs_shows_both_values(recipe_file, tmp_path):
    assert command("csg-train", "run", recipe_file, "--out", "o", cwd=tmp_path).returncode == 0
    sets = ("--set", "train.batch_size=3", "--set", "seed=4")
    result = command("csg-train", "run", recipe_file, "--out", "o", "--resume", *sets, cwd=tmp_path)
    assert_user_error(result, "train.batch_size (5 there, 3 here)", "seed (0 there, 4 here)")


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("path;label\nbus/0.png;bus\n", ("'path;label'", "comma")),
        ("Path,Label\nbus/0.png,bus\n", ("'Path,Label'", "lower case")),
        ("path, label\nbus/0.png,bus\n", ("'path, label'", "no space")),
        ("path,label\n{root}/bus/0.png,bus\n", ("absolute", "bus/0.png")),
        ("path,label\nbus\\0.png,bus\n", ("bus\\0.png", "backslashes")),
        ("path,label\nbus\0.png,bus\n", ("m.csv:2", "zero byte")),
        ("path,label\nbus/9.png,bus\n", ("bus/9.png", "no such")),
        ("<html>\n", ("m.csv", "web page")),
        ("version https://git-lfs.github.com/spec/v1\n", ("m.csv", "git-lfs")),
    ],
)
def test_lists(text, parts, recipe_dict, trees, tmp_path):
    root = trees / "source"
    (tmp_path / "m.csv").write_text(text.replace("{root}", str(root)))
    domain = {"dataset": "manifest", "root": str(root), "file": "m.csv"}
    data = {"source": domain, "target": copied(domain, tmp_path), "size": 32}
    (tmp_path / "t.yaml").write_text(yaml.safe_dump(recipe_dict | {"data": data}))
    assert_user_error(command("csg-train", "data", "check", "t.yaml", cwd=tmp_path), *parts)


def test_a_relative_root_says_where_it_starts(recipe_file, recipe_dict, tmp_path):
    for root in ("own", "real"):
        write_tree(tmp_path / root)
    data = {"source": {"dataset": "folder", "root": "own"}, "target": {"dataset": "folder", "root": "real"}, "size": 32}
    recipe_file.write_text(yaml.safe_dump(recipe_dict | {"data": data}))
    assert command("csg-train", "run", recipe_file, "--out", "o", "--quiet", cwd=tmp_path).returncode == 0
    (tmp_path / "away").mkdir()
    result = command("csg-analyze", "energy", tmp_path / "o" / "ckpt.pt", cwd=tmp_path / "away")
    where = ("working directory", str(tmp_path / "away"), "--set data.source.root=FOLDER")
    assert_user_error(result, "own", *where)


def test_a_picture_that_is_a_pointer_is_named(recipe_file, trees, tmp_path):
    shutil.copytree(trees / "source", tmp_path / "own")
    (tmp_path / "own" / "car" / "0.png").write_text("version https://git-lfs.github.com/spec/v1\n")
    result = command("csg-train", "data", "check", recipe_file, "--set", "data.source.root=own", cwd=tmp_path)
    assert_user_error(result, "car/0.png", "git lfs pull")


def test_what_an_identity_rests_on_is_said_where_it_is_compared(recipe_file, trees, tmp_path):
    shutil.copytree(trees / "source", tmp_path / "own")
    arguments = ("run", recipe_file, "--set", "data.source.root=own", "--out", "o", "--quiet")
    assert command("csg-train", *arguments, cwd=tmp_path).returncode == 0
    with (tmp_path / "own" / "car" / "0.png").open("ab") as stream:
        stream.write(b"0")
    result = command("csg-train", *arguments, "--resume", cwd=tmp_path)
    assert_user_error(result, "changed since, by names, labels or file sizes: identity (")
