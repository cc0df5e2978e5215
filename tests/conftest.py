"""A tiny data set in the real layout and its recipe; and, at the end, what was not run."""

import gc
import os
import shutil
import signal
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from csg_train.data.loaders import loader
from csg_train.recipes import ready
from tests.narrow import Narrow

torch.set_num_threads(1)
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # under nohup it is ignored, in every program that a test starts too

CLASSES = ("bus", "car", "truck")


def write_tree(root: Path, *, per_class: int = 4, side: int = 40, seed: int = 0) -> None:
    """Random pictures in ``root/CLASS/N.png``; each class has its own mean colour."""
    rng = np.random.default_rng(seed)
    for label, name in enumerate(CLASSES):
        for index in range(per_class):
            pixels = rng.integers(0, 120, (side, side + 8, 3), dtype=np.uint8)
            pixels[..., label] += 100
            path = root / name / f"{index}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)


def look_at_one_picture_of_each_split() -> None:
    """Before a command: a run looks at so few before its first step that it meets a broken one later."""
    ready._FEW_PIXELS = 1


def keep_no_pictures() -> None:
    """Before a command: a run that keeps its few pictures never meets those that break."""
    loader.KEPT_PIXELS = 0


@pytest.fixture(scope="session")
def trees(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``source`` and ``target`` trees; read only."""
    root = tmp_path_factory.mktemp("trees")
    write_tree(root / "source", seed=1)
    write_tree(root / "target", per_class=3, seed=2)
    return root


@pytest.fixture(scope="session")
def masked_tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures of 36 x 40 pixels with masks of three classes, some ignored; read only, copies in held-out and real."""
    root = tmp_path_factory.mktemp("masked")
    rng = np.random.default_rng(3)
    for index in range(6):
        mask = np.repeat(np.repeat(rng.integers(0, 3, (3, 4), dtype=np.uint8), 12, axis=0), 10, axis=1)
        pixels = rng.integers(0, 120, (36, 40, 3), dtype=np.uint8) + 60 * mask[..., None]
        mask[0] = 255
        for folder, array in (("images", pixels), ("masks", mask)):
            (root / folder).mkdir(exist_ok=True)
            Image.fromarray(array).save(root / folder / f"{index}.png")
    (root / "classes.txt").write_text("\n".join(CLASSES))
    for name in ("held-out", "real"):
        shutil.copytree(root, root.with_name(name))
    return root


def copied(domain: dict, folder: Path) -> dict:
    """The same domain as files of its own, in ``folder/target``: what is trained on is no target."""
    root = shutil.copytree(domain["root"], folder / "target")
    return domain | {"root": str(root)}


@pytest.fixture
def masked_recipe_dict(recipe_dict: dict, masked_tree: Path) -> dict:
    """The tiny recipe as one of segmentation."""
    domain = {"dataset": "masked-folder", "root": str(masked_tree)}
    real = {"dataset": "masked-folder", "root": str(masked_tree.with_name("real"))}
    data = {"source": domain, "target": real, "size": 32, "augment": "none"}
    segmentation = {"head": "deeplab-v2", "output_stride": 8}
    return recipe_dict | {"name": "tiny-masked", "data": data, "segmentation": segmentation}


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state dict of the narrow ResNet-18, random: what stands for ImageNet's; read only."""
    path = tmp_path_factory.mktemp("weights") / "narrow.pt"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        torch.save(Narrow().state_dict(), path)
    return path


@pytest.fixture
def recipe_dict(trees: Path, weights: Path) -> dict:
    """A recipe of a few quick steps on the tiny trees."""
    return {
        "name": "tiny",
        "data": {
            "source": {"dataset": "folder", "root": str(trees / "source")},
            "target": {"dataset": "folder", "root": str(trees / "target")},
            "size": 32,
        },
        "model": {"backbone": "narrow", "weights": str(weights), "hidden": 8},
        "method": {"name": "baseline"},
        "train": {
            "steps": 5,
            "batch_size": 5,
            "lr_head": 0.01,
            "lr_backbone": 0.001,
            "warmup": 2,
            "log_every": 2,
            "save_every": 2,
        },
    }


@pytest.fixture
def recipe_file(recipe_dict: dict, tmp_path: Path) -> Path:
    """The tiny recipe as a file."""
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(recipe_dict))
    return path


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Where there is no GPU its tests say so; ``CUDA_TESTS_ON=cpu`` tries most of them on the CPU."""
    if item.get_closest_marker("cuda") and "CUDA_TESTS_ON" not in os.environ and not torch.cuda.is_available():
        pytest.skip("they need a GPU: python -m pytest -m cuda")


def pytest_collection_finish() -> None:
    """What was imported stays: a full collection takes half a second to look through it, and there are many."""
    gc.collect()
    gc.freeze()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """One plain block: how many tests were not run, and what each waits for, as a rule a command."""
    reasons = Counter(
        report.longrepr[2].removeprefix("Skipped: ") for report in terminalreporter.stats.get("skipped", [])
    )
    if reasons:
        terminalreporter.section("NOT RUN")
        for reason, count in reasons.most_common():
            terminalreporter.line(f"{count} tests: {reason}")


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """CI has what its tests need, but for a GPU: there another skipped test is a failure."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    skipped = [] if reporter is None else reporter.stats.get("skipped", [])
    if os.environ.get("CI") and session.exitstatus == 0 and any("cuda" not in one.keywords for one in skipped):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
