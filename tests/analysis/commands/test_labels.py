"""Console tables and sheets name runs as the rows of a report do, so that no two read alike."""

import json
from pathlib import Path
from typing import Any

import torch

from csg_analysis.commands.labels import Named, labelled
from csg_train.engine.loop import train
from csg_train.recipes.sections import Recipe
from csg_train.runs.records import OutsideInfo, RunInfo
from tests.analysis.conftest import analyze
from tests.analysis.report.cases import rows_of, sha, write_run


def named(path: str, method: str = "asg", rest: str = "s0", **changes: Any) -> Named:
    facts: dict[str, Any] = {"recipe": "tiny", "method": method, "method_config": {}, "seed": 0, "step": 1}
    facts |= {"backbone": "resnet18", "weights": sha("w"), "source": "clean", "source_identity": sha("s")}
    facts |= {"checkpoint_sha256": sha(path), "versions": {}}
    return Named(RunInfo.model_validate(facts | changes), rest, Path(path))


def names(*shown: Named) -> list[str]:
    return [label for label, _ in labelled([(one, None) for one in shown])]


def test_strengths_options_and_sources_set_runs_apart():
    weak, strong = ({"method_config": {"weight": weight}} for weight in (0.1, 1.0))
    assert names(named("a", **weak)) == ["asg s0"], "alone nothing has to be set apart"
    assert names(named("a", **weak), named("b", **weak, rest="s1")) == ["asg s0", "asg s1"]
    assert names(named("a", **weak), named("b", **strong), named("c", "csg")) == [
        "asg weight=0.1 s0",
        "asg weight=1.0 s0",
        "csg s0",
    ]
    swad = {"options": {"average": "swad", "every": 5}}
    assert names(named("a"), named("b", **swad)) == ["asg s0", "asg + SWAD s0"]
    assert names(named("a"), named("b", source="noisy")) == ["asg s0, clean", "asg s0, noisy"]


def test_what_is_still_alike_shows_its_file_and_two_splits_of_one_do_not():
    assert names(named("a/ckpt.pt"), named("a/ckpt.pt")) == ["asg s0", "asg s0"]
    assert names(named("a/ckpt.pt"), named("b/ckpt.pt"), named("c/ckpt.pt", rest="s1")) == [
        "asg s0 (a/ckpt.pt)",
        "asg s0 (b/ckpt.pt)",
        "asg s1",
    ]
    outside = Named(OutsideInfo(model="timm/x", sha256=sha("x"), versions={}), "timm/x", Path("x"))
    assert names(outside, named("a")) == ["timm/x", "asg s0"]


def test_they_are_the_labels_of_the_reports_rows(tmp_path):
    for seed, weight in enumerate((0.1, 1.0)):
        write_run(tmp_path, "csg", seed, method_config={"weight": weight, "asg_weight": seed})
    runs = [run for row in rows_of(tmp_path) for run in row.runs]
    found = names(*(Named(run.info, f"s{run.info.seed}", run.folder) for run in runs))
    assert found == [f"{row.label} s{run.info.seed}" for row in rows_of(tmp_path) for run in row.runs]
    assert found == ["csg weight=0.1 s0", "csg + ASG weight=1.0 s1"]


def test_the_commands_tables_tell_two_strengths_apart(recipe_dict: dict[str, Any], tmp_path: Path):
    recipe_dict["train"] |= {"steps": 1}
    paths = []
    for weight in (0.25, 0.5):
        recipe = Recipe.model_validate(recipe_dict | {"method": {"name": "weight-l2", "weight": weight}})
        paths.append(train(recipe, tmp_path / f"{weight}", device=torch.device("cpu")))
    for command in ("energy", "accuracy"):
        result = analyze(command, *paths, "--split", "target")
        assert result.exit_code == 0, result.output
        for weight in (0.25, 0.5):
            assert f"weight-l2 weight={weight} s0" in result.output
    labels = {json.loads((path.parent / "energy-target.json").read_text())["run"]["method"] for path in paths}
    assert labels == {"weight-l2"}
