"""Runs, checkpoints and a report that several test files read."""

from pathlib import Path

import pytest
import torch
import torchvision
from click.testing import CliRunner, Result

from csg_analysis.cli import main
from csg_analysis.report.build import build_report
from csg_train.engine.loop import train
from csg_train.recipes.reading import parse_recipe
from tests.analysis.report.cases import NO_DIFFERENCE, write_all
from tests.sketched import render


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three methods, three seeds, no difference; read only."""
    return write_all(tmp_path_factory.mktemp("report") / "runs", NO_DIFFERENCE)


@pytest.fixture(scope="session")
def report(runs: Path) -> Path:
    """The report of ``runs``, rendered whatever module asks first; read only."""
    with pytest.MonkeyPatch.context() as patch:
        render(patch.setattr)
        build_report([runs], runs.parent / "out", allow_mixed=False)
    return runs.parent / "out"


@pytest.fixture(scope="session")
def resnet_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random state dict of ResNet-18, which the checkpoints of ``trained`` started from; read only."""
    path = tmp_path_factory.mktemp("weights") / "resnet18.pt"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        torch.save(torchvision.models.resnet18().state_dict(), path)
    return path


@pytest.fixture(scope="session")
def trained(trees: Path, resnet_weights: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Checkpoints of two steps, seeds 0 and 1, on the tiny trees (9 target pictures); do not change them."""
    out = tmp_path_factory.mktemp("trained")
    paths = []
    for seed in (0, 1):
        recipe = {
            "name": "tiny",
            "seed": seed,
            "data": {
                "source": {"dataset": "folder", "root": str(trees / "source")},
                "target": {"dataset": "folder", "root": str(trees / "target")},
                "size": 64,
            },
            "model": {"backbone": "resnet18", "weights": str(resnet_weights), "hidden": 8},
            "method": {"name": "baseline"},
            "train": {"steps": 2, "batch_size": 4, "lr_head": 0.01, "lr_backbone": 0.01, "warmup": 0},
        }
        options = {"device": torch.device("cpu"), "resume": False, "overwrite": False}
        parsed = parse_recipe(recipe, overrides=(), origin="tests")
        paths.append(train(parsed, out / f"seed{seed}", report=lambda _done, _values: None, **options))
    return paths[0], paths[1]


def analyze(*arguments: object) -> Result:
    """``csg-analyze`` in this process."""
    return CliRunner().invoke(main, [*map(str, arguments)], catch_exceptions=False)


def refused(result: Result, *parts: str) -> None:
    """Exit code 2 and one line on standard error with these parts."""
    assert result.exit_code == 2, result.output
    (line,) = result.stderr.strip().splitlines()
    for part in parts:
        assert part in line, line
