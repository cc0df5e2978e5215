"""What is measured on a GPU is what a CPU measures, although the process has turned TF32 on."""

import copy

import numpy as np
import pytest
import torch

from csg_analysis.attention.gradcam import grad_cam
from csg_analysis.energy.energy import hyperspherical_energy, sampled_energy
from csg_analysis.features.pooled import extract
from csg_train.devices import arithmetic
from csg_train.engine import loop as engine
from csg_train.evaluate.accuracy import confusion_of
from csg_train.evaluate.segmentation import count_masks
from csg_train.models.network import Network
from tests.analysis.energy.cases import brute_force, clusters, values
from tests.cuda.card import CARD
from tests.train.methods.test_methods import CPU, recipe_of

pytestmark = pytest.mark.cuda


@pytest.fixture(autouse=True)
def rough():
    """What a process may have set before it measures."""
    with arithmetic(tf32=True, benchmark=True):
        yield


@pytest.mark.parametrize("spread", [1.0, 1e-1, 1e-3, 1e-5])
def test_energies_are_those_of_float64_as_features_collapse(spread):
    """Distances as small as the spread, where a float32 product has lost every digit."""
    rows = clusters(1500, 128, spread, 12)
    expected = [brute_force(rows, s) for s in (0, 1, 2)]
    for features in (torch.from_numpy(rows).to(CARD), rows):
        ours = values(hyperspherical_energy(features, s=(0, 1, 2), device=CARD))
        assert ours == pytest.approx(expected, rel=1e-6, abs=1e-6)


def test_energies_of_copies_and_of_a_sample_are_those_of_a_cpu():
    rows = clusters(600, 64, 1e-2, 3)
    rows[-50:] = rows[:50]
    ours, theirs = (hyperspherical_energy(rows, s=(0, 1, 2), device=device) for device in (CARD, CPU))
    assert ours.coincident_pairs == theirs.coincident_pairs == 50
    assert values(ours) == pytest.approx(values(theirs), rel=1e-6)
    drawn = [sampled_energy(rows, s=(0, 1), pairs=5000, seed=0, device=device) for device in (CARD, CPU)]
    assert values(drawn[0]) == pytest.approx(values(drawn[1]), rel=1e-6)


def test_features_are_those_of_float64(recipe_dict, tmp_path):
    """To 1e-5 of their norm; TF32 changes them by 1e-3."""
    ours = engine._Run(recipe_of(recipe_dict, "baseline"), tmp_path, CPU)
    network = ours.network.eval()
    expected = extract(copy.deepcopy(network).double(), ours.images, ours.recipe)
    found = extract(network.to(CARD), ours.images, ours.recipe)
    assert np.linalg.norm(found - expected) < 1e-5 * np.linalg.norm(expected)


@pytest.mark.parametrize("task", ["classification", "segmentation"])
def test_counts_are_those_of_a_cpu(task, recipe_dict, masked_recipe_dict, tmp_path):
    base = recipe_dict if task == "classification" else masked_recipe_dict
    ours = engine._Run(recipe_of(base, "baseline"), tmp_path, CPU)
    network, images, recipe = ours.network.eval(), ours.images, ours.recipe

    def counts() -> np.ndarray:
        if task == "classification":
            return confusion_of(network, images, recipe)
        return count_masks(network, images, recipe).confusion

    expected = counts()
    network.to(CARD)
    assert abs(counts() - expected).sum() <= 2  # pixels whose two largest logits are equal to rounding


def test_gradcam_batched_equals_one_by_one_and_the_cpu():
    network = Network("resnet18", classes=4, hidden=8, seed=3).eval()
    pictures = torch.rand(6, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    classes = torch.tensor([0, 3, 1, 2, 2, 0])
    expected = grad_cam(network, pictures, classes, layer="layer3")
    network.to(CARD, memory_format=torch.channels_last)
    pictures, classes = pictures.to(CARD), classes.to(CARD)
    together = grad_cam(network, pictures, classes, layer="layer3")
    single = [grad_cam(network, pictures[i : i + 1], classes[i : i + 1], layer="layer3") for i in range(6)]
    near = 1e-4 * float(expected.max())
    torch.testing.assert_close(together, torch.cat(single), rtol=1e-4, atol=near)
    torch.testing.assert_close(together.cpu(), expected, rtol=1e-3, atol=near)
