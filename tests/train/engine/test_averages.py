"""Averages through the commands: of a run, of finished runs, their provenance, and what is refused."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import yaml

from csg_train.data.readers.images import decode
from csg_train.data.views.transforms import evaluation_view
from csg_train.engine import loop as engine
from csg_train.engine.averages import average_runs, build_average
from csg_train.engine.selection import is_due
from csg_train.errors import UserError
from csg_train.evaluate.either import held_out_loss
from csg_train.recipes.pictures import load_split
from csg_train.recipes.reading import parse_recipe
from csg_train.recipes.sections import Recipe
from csg_train.recipes.shown import shown_batches
from csg_train.runs.checkpoint import load_checkpoint, rule_title, save_checkpoint
from csg_train.runs.provenance import run_info
from csg_train.runs.records import read_record
from csg_train.runs.snapshots import snapshot_folder
from tests.commands import assert_user_error, command
from tests.nested import equal
from tests.train.methods.test_methods import CPU, run

SWAD = {"rule": "swad", "every": 2, "n_converge": 2, "n_tolerance": 2, "tolerance_ratio": 0.05}


@pytest.fixture
def averaging(recipe_dict):
    """Seven steps, every one kept, half of the source held out."""
    recipe_dict["data"]["validation"] = {"dataset": "holdout", "fraction": 0.5}
    recipe_dict["train"] |= {"steps": 7, "lr_head": 0.1, "lr_backbone": 0.01, "snapshots": 7}
    return recipe_dict


def steps_of(out: Path, name: str) -> dict[int, torch.Tensor]:
    return {step: load_checkpoint(snapshot_folder(out, step) / "ckpt.pt").model[name] for step in range(8)}


def test_a_moving_average_through_a_run(averaging, tmp_path):
    """By hand from the weights of every step; the run itself is that without an average."""
    out = tmp_path / "run"
    made = load_checkpoint(run(Recipe.model_validate(averaging | {"average": {"rule": "ema", "decay": 0.5}}), out))
    assert made.path == out / "average.pt"
    for name in ("head.0.weight", "backbone.net.layer4.0.conv2.weight", "backbone.net.bn1.bias"):
        steps = steps_of(out, name)
        expected = steps[0]
        for step in range(1, 8):
            expected = 0.5 * expected + 0.5 * steps[step]
        torch.testing.assert_close(made.model[name], expected)
    plain = load_checkpoint(run(Recipe.model_validate(averaging), tmp_path / "plain"))
    last = load_checkpoint(out / "ckpt.pt")
    for part in ("model", "method", "optimizer", "rng"):
        assert equal(getattr(last, part), getattr(plain, part)), part
    for name in ("backbone.net.bn1.running_mean", "backbone.net.fc.weight"):
        assert torch.equal(made.model[name], last.model[name])
    assert made.averaged == {"rule": "ema", "decay": 0.5, "first_step": 0, "last_step": 7, "count": 8}
    assert (made.step, made.selection, made.optimizer, made.average) == (7, "last", {}, {})
    assert run_info(made).options == {"average": "ema", "decay": 0.5}
    snapshot = load_checkpoint(snapshot_folder(out, 0) / "ckpt.pt")
    for single in (last, snapshot):  # of one step, though the run averages: they were called averages
        assert run_info(single).options == {}
    average_runs([snapshot.path, last.path], tmp_path / "ends", alpha=0.5, device=CPU)
    ends = run_info(load_checkpoint(tmp_path / "ends" / "average.pt"))
    assert ends.options == {"average": "wise-ft", "average_alpha": 0.5}


def test_a_moving_average_begins_behind_the_probe(averaging, tmp_path):
    averaging["train"] |= {"probe": 2}
    out = tmp_path / "run"
    made = load_checkpoint(run(Recipe.model_validate(averaging | {"average": {"rule": "ema", "decay": 0.5}}), out))
    steps = steps_of(out, "head.0.weight")
    expected = steps[2]
    for step in range(3, 8):
        expected = 0.5 * expected + 0.5 * steps[step]
    torch.testing.assert_close(made.model["head.0.weight"], expected)
    assert (made.averaged["first_step"], made.averaged["count"]) == (2, 6)


def test_swad_has_its_rule_and_measures_nothing_of_a_probe(averaging):
    averaging["train"] |= {"steps": 9, "probe": 4}
    recipe = Recipe.model_validate(averaging | {"average": SWAD | {"n_tolerance": 4, "tolerance_ratio": 0.25}})
    assert build_average(recipe, [torch.zeros(2)]).rule == (2, 4, 0.25)
    assert [step for step in range(1, 10) if is_due(step, recipe)] == [6, 8, 9]


def test_the_held_out_loss_of_masks_is_that_of_their_known_pixels(masked_recipe_dict, tmp_path):
    """By NumPy, whole pictures one by one, shown smaller than their masks; some of their pixels are ignored."""
    masked_recipe_dict["segmentation"] |= {"longest_side": 24}
    recipe = Recipe.model_validate(masked_recipe_dict)
    images, network = load_split(recipe.data, "target"), engine._Run(recipe, tmp_path, CPU).network.eval()
    total, known = 0.0, 0
    for batch in shown_batches(images, recipe, CPU):
        with torch.no_grad():
            logits = F.interpolate(
                network(batch.views[0]).logits, batch.labels.shape[1:], mode="bilinear", align_corners=True
            )
        scores, labels = logits[0].double().numpy(), batch.labels[0].numpy()
        for y, x in np.argwhere(labels != 255):
            total += np.log(np.exp(scores[:, y, x]).sum()) - scores[labels[y, x], y, x]
            known += 1
    assert 0 < known < sum(batch.labels.numel() for batch in shown_batches(images, recipe, CPU))
    assert held_out_loss(network, images, recipe) == pytest.approx(total / known, rel=1e-5)


def test_no_class_of_a_classification_is_ignored(recipe_dict, tmp_path, monkeypatch):
    """The id that masks ignore is a class like any other where there are 256."""
    recipe = Recipe.model_validate(recipe_dict)
    images, network = load_split(recipe.data, "target"), engine._Run(recipe, tmp_path, CPU).network.eval()
    expected = held_out_loss(network, images, recipe)
    monkeypatch.setattr("csg_train.evaluate.either.IGNORE", 1)
    assert held_out_loss(network, images, recipe) == expected


def held_out_losses(recipe: Recipe, out: Path) -> list[float]:
    """Of the steps that SWAD measures, picture by picture with NumPy."""
    last = load_checkpoint(out / "ckpt.pt")
    images = load_split(recipe.data, "validation", last.classes)
    network, losses = last.build_network(CPU), []
    for step in (2, 4, 6, 7):
        network.load_state_dict(load_checkpoint(snapshot_folder(out, step) / "ckpt.pt").model)
        found = []
        for index in range(len(images)):
            view = evaluation_view(decode(images.path(index)), size=recipe.data.size, fit="crop")
            with torch.no_grad():
                logits = network(view[None]).logits[0].double().numpy()
            found.append(np.log(np.exp(logits).sum()) - logits[images.labels[index]])
        losses.append(float(np.mean(found)))
    return losses


def test_swad_through_a_run(averaging, tmp_path, monkeypatch):
    """The logged losses are those of the steps' weights; the window is theirs, and its mean that of the steps in it."""
    out, recipe = tmp_path / "run", Recipe.model_validate(averaging | {"average": SWAD})
    made = load_checkpoint(run(recipe, out))
    logged = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    found = [row["loss_validation"] for row in logged if "loss_validation" in row]
    assert found == pytest.approx(held_out_losses(recipe, out), rel=1e-5)
    assert [row["step"] for row in logged if "loss_validation" in row] == [2, 4, 6, 7]
    scripted = iter([2.0, 1.0, 1.05, 9.0])
    monkeypatch.setattr(engine, "held_out_loss", lambda network, images, recipe: next(scripted))
    made = load_checkpoint(run(recipe, tmp_path / "scripted"))
    said = {name: made.averaged[name] for name in ("first_step", "last_step", "count", "converged", "n_converge")}
    assert said == {"first_step": 4, "last_step": 6, "count": 3, "converged": True, "n_converge": 2}
    name = "backbone.net.layer3.0.conv1.weight"
    steps = steps_of(tmp_path / "scripted", name)
    torch.testing.assert_close(made.model[name], (steps[4] + steps[5] + steps[6]) / 3)


def test_an_average_of_chosen_steps_says_who_chose_them(recipe_dict, tmp_path):
    """Once it said ``last``, as if no label of the target had been seen."""
    made = {}
    for rule in ("last", "source-val", "oracle"):
        own = recipe_dict | {"evaluate": {"select": rule, "select_every": 2}}
        own["data"] = recipe_dict["data"] | {"validation": {"dataset": "holdout", "fraction": 0.4}}
        made[rule] = run(Recipe.model_validate(own), tmp_path / rule)
    for rules in (("last", "last"), ("source-val", "last"), ("source-val", "oracle"), ("oracle", "last")):
        out = tmp_path / "-".join(rules)
        average_runs([made[rule] for rule in rules], out, device=CPU)
        average = load_checkpoint(out / "average.pt")
        chosen = max(rules, key=("last", "source-val", "oracle").index)
        assert average.selection == run_info(average).selection == chosen
        assert ("CHOSEN ON THE TARGET" in rule_title(average)) == (chosen == "oracle")
        assert ("chosen by source-val" in rule_title(average)) == (chosen == "source-val")
        save_checkpoint(out / "average.pt", replace(average, selection="last"))  # as an earlier version did
        assert load_checkpoint(out / "average.pt").selection == chosen
    average_runs([made["oracle"], made["last"]], tmp_path / "end", alpha=1, device=CPU)
    assert load_checkpoint(tmp_path / "end" / "average.pt").selection == "last"  # nothing of the chosen one is in it


def test_a_lost_average_is_written_again_and_a_lost_picture_is_owed(averaging, tmp_path, trees):
    """The loss of the last step could not be measured: the resumed run measures it, and only then averages."""
    out = tmp_path / "run"
    shutil.copytree(trees / "target", tmp_path / "held")
    averaging["data"]["validation"] = {"dataset": "folder", "root": str(tmp_path / "held")}
    recipe = Recipe.model_validate(averaging | {"average": SWAD | {"every": 7}})
    picture = tmp_path / "held" / "bus" / "1.png"
    kept = picture.read_bytes()
    original = engine._Run._train_step

    def spoil(self, batch):
        original(self, batch)
        if self.step == 7:
            picture.write_bytes(b"")

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(engine._Run, "_train_step", spoil)
        with pytest.raises(UserError, match=r"1\.png"):
            run(recipe, out)
    assert not (out / "average.pt").exists()
    picture.write_bytes(kept)
    made = load_checkpoint(run(recipe, out, resume=True))
    whole = load_checkpoint(run(recipe, tmp_path / "whole"))
    assert equal(made.model, whole.model)
    assert made.averaged == whole.averaged
    made.path.unlink()
    assert equal(load_checkpoint(run(recipe, out, resume=True)).model, whole.model)


def test_statistics_that_training_moves_are_measured_again(averaging, tmp_path):
    """Means of the batches' means over the first three batches; by hand for the first layer."""
    averaging["model"]["batch_norm"] = "train"
    averaging["train"]["frozen"] = ["layer4"]
    recipe = Recipe.model_validate(averaging | {"average": {"rule": "ema", "decay": 0.5}})
    out = tmp_path / "run"
    made = load_checkpoint(run(recipe, out))
    assert made.averaged["statistics_batches"] == 2  # six pictures, five a step
    network = made.build_network(CPU)
    one = engine._Run(recipe, tmp_path / "again", CPU)
    means = []
    for _, batch in zip(range(2), one._batches(), strict=False):
        with torch.no_grad():
            first = network.backbone.net.conv1(network.backbone.normalise(batch.views[0]))
        means.append(first.mean(dim=(0, 2, 3)))
    torch.testing.assert_close(made.model["backbone.net.bn1.running_mean"], torch.stack(means).mean(dim=0))
    last = load_checkpoint(out / "ckpt.pt").model
    for name in ("backbone.net.layer4.0.bn1.running_mean", "backbone.net.layer4.0.bn2.weight"):
        assert torch.equal(made.model[name], last[name])
    one = average_runs([snapshot_folder(out, step) / "ckpt.pt" for step in (3, 5)], tmp_path / "soup", device=CPU)[0]
    assert one.averaged["statistics_batches"] == 2


def test_finished_runs_through_the_command(recipe_dict, recipe_file, tmp_path):
    """A probe and the run from it: both ends exact, the middle; records of csg-analyze with the provenance."""
    recipe_dict["train"] |= {"probe": 3}
    recipe_dict["data"] |= {"augment": "pasta", "pasta": {"alpha": 2.0}}  # whose alpha is another one
    recipe_file.write_text(yaml.safe_dump(recipe_dict))
    assert command("csg-train", "run", recipe_file, "--out", "run", "--quiet", cwd=tmp_path).returncode == 0
    ends = [Path("run/along/000003/ckpt.pt"), Path("run/ckpt.pt")]
    start, end = (load_checkpoint(tmp_path / path) for path in ends)
    for alpha, one in ((0.0, start), (1.0, end)):
        made = average_runs([tmp_path / path for path in ends], tmp_path / f"wise-{alpha}", alpha=alpha, device=CPU)[0]
        assert equal(load_checkpoint(tmp_path / f"wise-{alpha}" / "average.pt").model, one.model)
    done = command("csg-train", "average", *ends, "--alpha", "0.5", "--out", "wise", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "average of 2 checkpoints (wise-ft, alpha 0.5)" in done.stdout
    made = load_checkpoint(tmp_path / "wise" / "average.pt")
    name = "backbone.net.layer4.0.conv1.weight"
    assert torch.equal(made.model[name], ((start.model[name].double() + end.model[name]) / 2).float())
    done = command("csg-analyze", "energy", "wise/average.pt", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "WiSE-FT" in done.stdout
    record = read_record(tmp_path / "wise" / "energy-target.json").run
    assert record.checkpoint_sha256 == made.sha256
    own = {"probe": 3, "augment": "pasta", "alpha": 2.0}
    assert record.options == own | {"average": "wise-ft", "average_alpha": 0.5}
    assert [(of["sha256"], of["step"], of["share"]) for of in record.averaged["of"]] == [
        (start.sha256, 3, 0.5),
        (end.sha256, 5, 0.5),
    ]
    assert read_record(tmp_path / "run" / "accuracy-target.json").run.options == own
    again = command("csg-train", "average", *ends, "--out", "wise", cwd=tmp_path)
    assert_user_error(again, "wise: not an empty folder; choose another --out")
    assert_user_error(command("csg-train", "run", recipe_file, "--out", "wise", cwd=tmp_path), "holds a run")


def test_a_soup_of_heads_with_dropout_is_the_same_each_time(masked_recipe_dict, masked_tree, tmp_path):
    """Its statistics were measured under whatever torch's generator drew, and on whatever pictures there were."""
    shutil.copytree(masked_tree, tmp_path / "source")
    masked_recipe_dict["data"]["source"]["root"] = str(tmp_path / "source")
    masked_recipe_dict["segmentation"] |= {"head": "deeplab-v3"}
    ends = []
    for rate in (0.1, 0.2):
        masked_recipe_dict["train"] |= {"steps": 2, "lr_head": rate}
        ends.append(run(Recipe.model_validate(masked_recipe_dict), tmp_path / str(rate)))
    made = []
    for draws in (0, 3):
        torch.rand(draws)
        state = torch.get_rng_state()
        made.append(average_runs(ends, tmp_path / f"soup-{draws}", device=CPU)[0].model)
        assert torch.equal(torch.get_rng_state(), state)
    assert equal(*made)
    (tmp_path / "source").rename(tmp_path / "moved")
    with pytest.raises(UserError, match=r"--set data\.source\.root=FOLDER, where it lies elsewhere"):
        average_runs(ends, tmp_path / "lost", device=CPU)
    elsewhere = ("average", *ends, "--out", "elsewhere", "--set", f"data.source.root={tmp_path / 'moved'}")
    assert command("csg-train", *elsewhere, cwd=tmp_path).returncode == 0
    assert equal(load_checkpoint(tmp_path / "elsewhere" / "average.pt").model, made[0])
    other = command("csg-train", "average", *ends, "--out", "other", "--set", "train.batch_size=2", cwd=tmp_path)
    assert_user_error(other, "--set train.batch_size: a checkpoint keeps what it was trained with; change data.source")
    (tmp_path / "moved").rename(tmp_path / "source")
    for folder in ("images", "masks"):
        (tmp_path / "source" / folder / "5.png").unlink()
    with pytest.raises(UserError, match=r"source: other pictures than .*ckpt\.pt was trained on"):
        average_runs(ends, tmp_path / "late", device=CPU)


def test_a_soup_of_frozen_backbones_is_that_backbone(recipe_dict, tmp_path):
    """Its statistics were measured again, on training views: another network than the report calls it."""
    recipe_dict["model"] |= {"batch_norm": "train"}
    own = {
        name: run(parse_recipe(recipe_dict | {"method": {"name": method}}, origin=name), tmp_path / name)
        for name, method in {"a": "oracle", "b": "oracle", "c": "baseline"}.items()
    }
    head = load_checkpoint(own["b"])
    save_checkpoint(own["b"], replace(head, model={n: v + 0.5 * n.startswith("head") for n, v in head.model.items()}))
    start = load_checkpoint(own["a"]).model
    frozen = average_runs([own["a"], own["b"]], tmp_path / "frozen", device=CPU)[0]
    assert "statistics_batches" not in frozen.averaged
    assert all(torch.equal(v, start[n]) for n, v in frozen.model.items() if n.startswith("backbone."))
    assert not torch.equal(frozen.model["head.2.weight"], start["head.2.weight"])
    mixed = average_runs([own["c"], own["a"]], tmp_path / "mixed", device=CPU)[0]
    assert mixed.averaged["statistics_batches"] > 0


def test_a_soup_and_what_no_average_is_made_of(recipe_dict, tmp_path):
    paths = []
    for name, changes in {
        "a": {},
        "b": {"method": {"name": "feature-l2"}},
        "c": {"seed": 1},
        "strong": {"method": {"name": "feature-l2", "weight": 9.0}},
        "wide": {"model": recipe_dict["model"] | {"hidden": 9}},
        "none": {"model": recipe_dict["model"] | {"weights": "none"}},
        "none1": {"model": recipe_dict["model"] | {"weights": "none"}, "seed": 1},
    }.items():
        paths.append(run(parse_recipe(recipe_dict | changes, origin=name), tmp_path / name))
    a, b, c, strong, wide, none, none1 = paths
    made, doubts = average_runs([a, b, a], tmp_path / "soup", device=CPU)
    one, two = load_checkpoint(a).model, load_checkpoint(b).model
    name = "head.2.weight"
    expected = ((2 * one[name].double() + two[name].double()) / 3).float()
    torch.testing.assert_close(made.model[name], expected, rtol=1e-7, atol=0)
    twice, mixed = doubts
    assert twice == f"{a}: given 2 times, so it counts 2 times"
    assert mixed.startswith("of several methods (baseline, feature-l2): tables call it by the last one's")
    assert [of["method"] for of in made.averaged["of"]] == ["baseline", "feature-l2", "baseline"]
    assert run_info(made).options == {
        "average": "soup",
        "runs": 3,
        "of": ["baseline", "feature-l2 layers=['layer4'] weight=1.0"],
    }
    alike, _ = average_runs([a, a, a], tmp_path / "alike", device=CPU)
    assert run_info(alike).options == {"average": "soup", "runs": 3}
    of_means, _ = average_runs([tmp_path / "alike" / "average.pt", a], tmp_path / "means", alpha=0.5, device=CPU)
    assert run_info(of_means).options["of"] == ["baseline", "baseline runs=3 (soup)"]
    swept, doubts = average_runs([b, strong], tmp_path / "swept", device=CPU)
    assert run_info(swept).options["of"] == ["feature-l2", "feature-l2 weight=1.0"]
    assert doubts == ["of several settings of feature-l2: tables show the last's, its records all"]
    assert [of["method_config"]["weight"] for of in swept.averaged["of"]] == [1.0, 9.0]
    old = [{key: value for key, value in of.items() if key != "method_config"} for of in made.averaged["of"]]
    assert run_info(replace(made, averaged=made.averaged | {"of": old})).options["of"] == ["baseline", "feature-l2"]
    assert "different seeds (0, 1)" in average_runs([a, c], tmp_path / "seeds", device=CPU)[1][0]
    moved = shutil.copytree(recipe_dict["data"]["source"]["root"], tmp_path / "moved")
    with pytest.raises(UserError, match=r"moved/soup: in .*, from which data\.source reads"):
        average_runs([a, b], moved / "soup", overrides=(f"data.source.root={moved}",), device=CPU)
    for given, alpha, message in (
        ([a], None, "1 checkpoints given; give two checkpoints or more"),
        ([a, b, c], 0.5, "a start and an end"),
        ([a, b], float("nan"), "--alpha nan: give a number from 0"),
        ([a, wide], None, r"differs from .*wide.* in model\.hidden \(8 there, 9 here\)"),
        ([a, none], None, "differs from .*none.* in starting weights"),
        ([none, none1], None, r"in starting weights \('drawn with seed 0' there, 'drawn with seed 1' here\)"),
        ([a, tmp_path / "gone.pt"], None, "no such checkpoint"),
        ([a, tmp_path / "soup"], None, r"soup: a folder; give the checkpoint in it, .*soup/average\.pt"),
    ):
        with pytest.raises(UserError, match=message):
            average_runs(given, tmp_path / "no", alpha=alpha, device=CPU)
    assert not (tmp_path / "no").exists()


def test_an_average_is_written_with_its_recipe_or_not_at_all(recipe_dict, tmp_path, monkeypatch):
    path = run(parse_recipe(recipe_dict, origin="a"), tmp_path / "a")

    def full(*_: object) -> None:
        raise UserError("recipe.yaml: cannot write (No space left on device)")

    with monkeypatch.context() as changed:
        changed.setattr("csg_train.engine.averages.write_text", full)
        with pytest.raises(UserError, match="No space"):
            average_runs([path, path], tmp_path / "soup", device=CPU)
    assert not (tmp_path / "soup").exists()
    average_runs([path, path], tmp_path / "soup", device=CPU)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"average": {"rule": "swa"}}, "x: average: .*'ema', 'swad'"),
        ({"average": {"rule": "swad"}}, r"x: average: swad measures its loss on data\.validation"),
        ({"average": {"rule": "ema", "every": 3}}, r"x: average\.every: unknown key; allowed: rule, decay"),
        ({"average": {"rule": "ema", "decay": True}}, r"x: average\.decay: true has no meaning"),
        ({"average": {"rule": "ema"}, "evaluate": {"select": "oracle"}}, r"x: average: .*evaluate\.select to last"),
        ({"method": {"name": "oracle"}, "train": {"steps": 5, "probe": 2}}, r"x: train\.probe: method oracle"),
        ({"train": {"steps": 5, "probe": 5}}, r"x: train\.probe: 5 of 5 steps leave none"),
        ({"train": {"steps": 5, "cuda_graphs": True}}, r"x: train\.cuda_graphs: .*set train\.compile to true"),
    ],
)
def test_what_does_not_go_together_is_one_line(changes, message, recipe_dict):
    with pytest.raises(UserError, match=message) as caught:
        parse_recipe(recipe_dict | changes, origin="x")
    assert "'source'" not in str(caught.value)  # of the whole recipe nothing is shown
