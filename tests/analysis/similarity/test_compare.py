"""A checkpoint beside its starting weights: which weights, which features, which record."""

import json
import shutil

import numpy as np
import pytest
import torch
import torchvision

from csg_analysis.features.pooled import extract
from csg_analysis.similarity.measure import similarity_record, starting_backbone
from csg_analysis.similarity.metrics.alignment import alignment
from csg_train.files import sha256_file
from csg_train.recipes.pictures import load_split
from csg_train.runs.checkpoint import load_checkpoint
from csg_train.runs.provenance import data_info
from tests.analysis.conftest import analyze, refused
from tests.conftest import write_tree

CPU = torch.device("cpu")


@pytest.fixture
def opened(trained):
    checkpoint = load_checkpoint(trained[0])
    recipe = checkpoint.resolved_recipe()
    return checkpoint, checkpoint.build_network(CPU), recipe, load_split(recipe.data, "target", checkpoint.classes)


def record_of(checkpoint, network, recipe, images, **options):
    data = data_info(images, split="target", recipe=recipe)
    return similarity_record(checkpoint, network, images, recipe=recipe, data=data, **options)


def test_the_start_is_the_file_of_starting_weights(opened, resnet_weights):
    checkpoint, _, recipe, _ = opened
    backbone, digest = starting_backbone(checkpoint, recipe, CPU)
    assert digest == sha256_file(resnet_weights) == checkpoint.weights
    expected = torch.load(resnet_weights, weights_only=True)
    assert all(torch.equal(value, expected[name]) for name, value in backbone.net.state_dict().items())
    assert not any(module.training for module in backbone.modules())


def test_random_starting_weights_are_drawn_again(opened):
    """Equal to what a network of the same seed starts with, whatever was drawn before."""
    checkpoint, _, _, _ = opened
    recipe = checkpoint.resolved_recipe(("model.weights=none",))
    torch.manual_seed(5)
    first, digest = starting_backbone(checkpoint, recipe, CPU)
    torch.rand(3)
    again, _ = starting_backbone(checkpoint, recipe, CPU)
    other, _ = starting_backbone(checkpoint, checkpoint.resolved_recipe(("model.weights=none", "seed=9")), CPU)
    assert digest == "none"
    assert torch.equal(first.net.conv1.weight, again.net.conv1.weight)
    assert not torch.equal(first.net.conv1.weight, other.net.conv1.weight)


def test_untrained_weights_have_a_cka_of_one_and_equal_measures(opened):
    checkpoint, network, recipe, images = opened
    network.backbone = starting_backbone(checkpoint, recipe, CPU)[0]
    record = record_of(checkpoint, network, recipe, images, layer="layer3", pool="attention")
    assert set(record.cka) == set(network.backbone.widths)
    assert list(record.cka.values()) == pytest.approx([1.0] * len(record.cka), rel=1e-12)
    assert record.measures == record.start_measures


def test_trained_weights_against_features_taken_by_hand(opened, resnet_weights):
    checkpoint, network, recipe, images = opened
    record = record_of(checkpoint, network, recipe, images, layer="layer4", pool="average")
    assert all(0 < value < 1 for value in record.cka.values())
    labels = np.array(images.labels)
    assert record.measures["alignment"] == alignment(extract(network, images, recipe), labels)
    resnet = torchvision.models.resnet18()
    resnet.load_state_dict(torch.load(resnet_weights, weights_only=True))
    network.backbone.net.load_state_dict(resnet.state_dict())
    assert record.start_measures["alignment"] == pytest.approx(alignment(extract(network, images, recipe), labels))
    assert list(record.spread_by_class) == list(images.classes)
    assert np.mean(list(record.spread_by_class.values())) == pytest.approx(record.measures["spread"], rel=1e-12)


def test_one_picture_of_each_class_leaves_out_what_needs_two(trained, tmp_path):
    write_tree(tmp_path / "few", per_class=1)
    run = shutil.copytree(trained[0].parent, tmp_path / "run")
    few = f"data.target.root={tmp_path / 'few'}"
    result = analyze("compare", run / "ckpt.pt", "--split", "target", "--set", few)
    assert result.exit_code == 0, result.output
    assert "alignment, spread left out" in result.output
    record = json.loads((run / "similarity-target.json").read_text())
    assert (record["data"]["count"], record["spread_by_class"]) == (3, {})
    assert set(record["measures"]) == set(record["start_measures"]) == {"uniformity", "effective rank"}


def test_command_writes_what_it_prints(trained, trees, tmp_path):
    result = analyze("compare", *trained, "--split", "target", "--json")
    assert result.exit_code == 0, result.output
    for path, printed in zip(trained, json.loads(result.stdout), strict=True):
        assert json.loads((path.parent / "similarity-target.json").read_text()) == printed
        assert printed["kind"] == "similarity"
        assert set(printed["definitions"]) == {"cka", *printed["measures"]}
    table = analyze("compare", trained[0], "--split", "target").stdout
    assert "starting weights" in table
    assert "trained from" not in table
    other = torchvision.models.resnet18().state_dict()
    torch.save(other, tmp_path / "other.pt")
    changed = analyze("compare", trained[0], "--split", "target", "--set", f"model.weights={tmp_path / 'other.pt'}")
    assert "trained from" in changed.stdout
    refused(analyze("compare", trained[0], "--layer", "layer9"), "layer9", "layer4")
    (tmp_path / "one").mkdir()
    shutil.copy(trees / "target" / "bus" / "0.png", tmp_path / "one")
    one = f"data.target={{dataset: pictures, root: {tmp_path / 'one'}}}"
    refused(analyze("compare", trained[0], "--split", "target", "--set", one), str(trained[0]), "1 feature rows")
    refused(analyze("compare", trained[0], "--set", "model.weights=gone.pt"), "gone.pt")
