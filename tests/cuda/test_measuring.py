"""What is measured on a GPU is what a CPU measures, although the process has turned TF32 on."""

import copy
import gc

import numpy as np
import pytest
import torch
import torch.distributed as dist

from csg_analysis.attention.gradcam import grad_cam
from csg_analysis.energy.energy import hyperspherical_energy, sampled_energy
from csg_analysis.features.pooled import extract
from csg_analysis.similarity.metrics.effective_rank import effective_rank
from csg_train.devices import arithmetic
from csg_train.engine import loop as engine
from csg_train.evaluate.accuracy import confusion_of
from csg_train.evaluate.segmentation import count_masks
from csg_train.models.network import Network
from tests.analysis.energy.cases import brute_force, clusters, values
from tests.cuda.card import CARD, ON_CARD
from tests.train.methods.test_methods import CPU, recipe_of

pytestmark = pytest.mark.cuda


@pytest.fixture(autouse=True)
def rough(monkeypatch):
    """What a process may have set before it measures; a CPU in the card's place computes energies as the card does."""
    monkeypatch.setattr("csg_analysis.energy.pairs._TILED", CARD.type)
    with arithmetic(tf32=True, benchmark=True):
        yield


@pytest.mark.parametrize("count", [1, 12])
@pytest.mark.parametrize("spread", [1.0, 1e-1, 1e-3, 1e-5])
def test_energies_are_those_of_float64_as_features_collapse(spread, count):
    """Distances as small as the spread, where a float32 product has lost every digit; more rows than a tile has."""
    rows = clusters(2300, 128, spread, count)
    expected = [brute_force(rows, s) for s in (0, 1, 2)]
    for features in (torch.from_numpy(rows).to(CARD), rows):
        ours = values(hyperspherical_energy(features, s=(0, 1, 2), device=CARD))
        assert ours == pytest.approx(expected, rel=1e-6, abs=1e-6)


def test_energies_of_rows_on_a_card_that_is_the_default_device():
    """Rows of numbers were made on the CPU, into memory of the card; a metric took its rows to NumPy from there."""
    metrics = pytest.importorskip("csg_analysis.energy.metric")  # torchmetrics imports what a machine may have old
    rows = torch.from_numpy(clusters(2300, 128, 1e-2, 3))
    expected = values(hyperspherical_energy(rows, device=CPU))
    torch.set_default_device(CARD)
    try:
        assert values(hyperspherical_energy(rows.to(CARD))) == pytest.approx(expected, rel=1e-6, abs=1e-6)
        metric = metrics.HypersphericalEnergy(s=1.0).to(CARD)
        metric.update(rows.to(CARD, torch.float32), torch.arange(2300, device=CPU))
        assert float(metric.compute()) == pytest.approx(expected[1], rel=1e-5)
        assert effective_rank(rows.to(CARD)) == pytest.approx(effective_rank(rows.numpy()), rel=1e-9)
    finally:
        torch.set_default_device(None)


def test_energies_of_copies_and_of_a_sample_are_those_of_a_cpu():
    rows = clusters(600, 64, 1e-2, 3)
    rows[-50:] = rows[:50]
    ours, theirs = (hyperspherical_energy(rows, s=(0, 1, 2), device=device) for device in (CARD, CPU))
    assert ours.coincident_pairs == theirs.coincident_pairs == 50
    assert values(ours) == pytest.approx(values(theirs), rel=1e-6)
    drawn = [sampled_energy(rows, s=(0, 1), pairs=5000, seed=0, device=device) for device in (CARD, CPU)]
    assert values(drawn[0]) == pytest.approx(values(drawn[1]), rel=1e-6)


def test_energies_with_labels_shared_by_a_group_are_those_of_a_cpu(tmp_path):
    rows = clusters(1500, 128, 1e-2, 5)
    labels = np.arange(1500) % 7
    expected = hyperspherical_energy(rows, labels=labels, device=CPU)
    backend = "cpu:gloo,cuda:nccl" if ON_CARD else "gloo"
    dist.init_process_group(backend, init_method=f"file://{tmp_path}/meet", rank=0, world_size=1)
    try:
        shared = hyperspherical_energy(rows, labels=labels, device=CARD, block_rows=200, distributed=True)
    finally:
        dist.destroy_process_group()
    for s, estimate in expected.paper.items():
        for name in ("value", "standard_error", "within", "between"):
            assert getattr(shared.paper[s], name) == pytest.approx(getattr(estimate, name), rel=1e-6), name


@pytest.mark.skipif(not ON_CARD, reason="CUDA_TESTS_ON: not of a CPU")
def test_energies_leave_nothing_on_the_card_and_take_what_the_docs_say():
    """2 GB beside the features, whatever their number (docs/scale.md)."""
    features = torch.from_numpy(clusters(20_000, 512, 1e-3, 12)).to(CARD)
    hyperspherical_energy(features[:1100])  # what the libraries keep
    gc.collect()  # what other tests left in cycles
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    hyperspherical_energy(features)
    assert torch.cuda.memory_allocated() == before
    assert torch.cuda.max_memory_allocated() - before < 2 * 2**30


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
