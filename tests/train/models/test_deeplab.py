"""DeepLab heads against convolutions written out, their counts, and the modes of the segmentation network."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from csg_train.errors import UserError
from csg_train.models.deeplab import HEADS, AtrousSum, SegmentationNetwork
from csg_train.models.network import Network


def pictures(count: int = 2, side: int = 64) -> torch.Tensor:
    return torch.randint(0, 256, (count, 3, side, side), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def features(*shape: int) -> torch.Tensor:
    return torch.rand(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def count(module: nn.Module) -> int:
    return sum(weight.numel() for weight in module.parameters())


def test_v2_is_the_sum_of_four_atrous_convolutions():
    head = HEADS["deeplab-v2"](7, 3).double()
    v, total = features(2, 7, 30, 49), torch.zeros(2, 3, 30, 49, dtype=torch.float64)
    for branch, rate in zip(head.branches, (6, 12, 18, 24), strict=True):
        total += F.conv2d(v, branch.weight, branch.bias, padding=rate, dilation=rate)
    torch.testing.assert_close(head(v), total)


def test_v2_sees_the_centre_and_eight_neighbours_at_each_rate_and_nothing_else():
    head = AtrousSum(1, 1, rates=(6, 12, 18, 24)).requires_grad_(False)
    for branch in head.branches:
        branch.weight.fill_(1.0)
        branch.bias.zero_()
    impulse = torch.zeros(1, 1, 61, 61)
    impulse[0, 0, 30, 30] = 1
    expected = torch.zeros(61, 61)
    for rate in (6, 12, 18, 24):
        for dy in (-rate, 0, rate):
            for dx in (-rate, 0, rate):
                expected[30 + dy, 30 + dx] += 1
    assert torch.equal(head(impulse)[0, 0], expected)
    assert expected[30, 30] == 4


def test_parameters_of_both_heads_counted_by_hand():
    """v3: 1x1, three 3x3 and the pooled 1x1 to 256; 1x1 of 1280; 3x3 of 256; BatchNorm 2 x 256 for each; 1x1 + bias."""
    width, classes = 2048, 19
    assert count(HEADS["deeplab-v2"](width, classes)) == 4 * (9 * width * classes + classes)
    branches = (1 + 3 * 9 + 1) * width * 256 + 5 * 512
    rest = (1280 * 256 + 512) + (9 * 256 * 256 + 512) + (256 * classes + classes)
    assert count(HEADS["deeplab-v3"](width, classes)) == branches + rest


def test_v3_equals_its_definition_written_out():
    head = HEADS["deeplab-v3"](5, 3).double().eval()
    generator = torch.Generator().manual_seed(2)
    for module in head.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.weight, module.bias, module.running_mean, module.running_var):
                tensor.data.copy_(torch.rand(256, generator=generator) + 0.5)
    v = features(1, 5, 37, 38)

    def unit(x, conv, norm, **options):
        assert conv.bias is None
        x = F.conv2d(x, conv.weight, **options)
        scale = norm.weight / (norm.running_var + norm.eps).sqrt()
        return F.relu((x - norm.running_mean.view(-1, 1, 1)) * scale.view(-1, 1, 1) + norm.bias.view(-1, 1, 1))

    pyramid = head[0]
    parts = [unit(v, *list(pyramid.convs[0])[:2])]
    parts += [
        unit(v, *list(pyramid.convs[i])[:2], padding=rate, dilation=rate)
        for i, rate in enumerate((12, 24, 36), start=1)
    ]
    parts.append(unit(v.mean(dim=(2, 3), keepdim=True), *list(pyramid.convs[4])[1:3]).expand(-1, -1, 37, 38))
    torch.testing.assert_close(pyramid.convs[4](v), parts[-1].contiguous())  # the same at every position
    x = unit(torch.cat(parts, dim=1), *list(pyramid.project)[:2])
    assert pyramid.project[3].p == 0.5
    x = unit(x, *list(head)[1:3], padding=1)
    torch.testing.assert_close(head(v), F.conv2d(x, head[4].weight, head[4].bias))


@pytest.mark.parametrize(("backbone", "width"), [("resnet18", 512), ("tf_efficientnet_lite0", 1280)])
def test_logits_are_the_heads_stretched_from_corner_to_corner_of_the_picture(backbone, width):
    network = SegmentationNetwork(backbone, classes=4, head="deeplab-v2", seed=0).eval()
    with torch.no_grad():
        output = network(pictures(side=72))
        coarse = network.head(output.stages["layer4"])
    assert output.stages["layer4"].shape == (2, width, 9, 9)
    assert output.logits.shape == (2, 4, 72, 72)
    torch.testing.assert_close(output.logits[:, :, ::71, ::71], coarse[:, :, ::8, ::8])
    expected = np.interp(np.linspace(0, 8, 72), range(9), coarse[1, 2, 0].numpy())
    np.testing.assert_allclose(output.logits[1, 2, 0].numpy(), expected, rtol=1e-4, atol=1e-5)


def test_imagenet_logits_come_from_the_pooled_layer4_through_the_kept_classifier():
    network = SegmentationNetwork("resnet18", classes=4, head="deeplab-v2", seed=0).eval()
    with torch.no_grad():
        output = network(pictures())
        expected = network.backbone.net.fc(output.stages["layer4"].mean(dim=(2, 3)))
    torch.testing.assert_close(output.imagenet_logits, expected)
    assert not network.backbone.net.fc.weight.requires_grad


def test_frozen_batch_norm_keeps_the_backbone_and_trains_the_head():
    network = SegmentationNetwork("resnet18", classes=3, head="deeplab-v3", seed=0)
    network.set_training(batch_norm="frozen")
    before = {name: value.clone() for name, value in network.named_buffers()}
    network(pictures()).logits.square().mean().backward()
    moved = {name for name, value in network.named_buffers() if not torch.equal(value, before[name])}
    assert moved == {name for name in before if name.startswith("head.")}
    norms = [module for module in network.backbone.modules() if isinstance(module, nn.BatchNorm2d)]
    assert all(norm.weight.grad is None and norm.bias.grad is None for norm in norms)
    convolutions = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
    assert all(convolution.weight.grad is not None for convolution in convolutions)


@pytest.mark.parametrize("batch_norm", ["frozen", "train"])
def test_modes_are_those_of_training_whatever_they_were(batch_norm):
    """As a run leaves them: measured, in LP-FT's first stage, taken with the other choice."""
    network = SegmentationNetwork("resnet18", classes=3, head="deeplab-v3", seed=0)
    moving = {True, batch_norm == "train"}
    for before in (lambda: None, network.eval, network.train, network.backbone.eval, network.backbone.train):
        before()
        for _ in range(2):
            network.set_training(batch_norm=batch_norm)
            assert {module.training for module in network.modules()} == moving
            assert {module.training for module in network.backbone.modules()} == {batch_norm == "train"}
            assert all(module.training for module in network.head.modules())


def test_affine_can_be_trained_as_in_classification():
    network = SegmentationNetwork("resnet18", classes=3, head="deeplab-v2", affine="trained", seed=0)
    assert all(m.weight.requires_grad for m in network.backbone.modules() if isinstance(m, nn.BatchNorm2d))


def test_dropout_follows_torchs_global_generator_in_training_and_sleeps_in_evaluation():
    network = SegmentationNetwork("resnet18", classes=3, head="deeplab-v3", seed=0)
    network.set_training(batch_norm="frozen")
    with torch.no_grad():
        torch.manual_seed(1)
        one, two = network(pictures()).logits, network(pictures()).logits
        torch.manual_seed(1)
        again = network(pictures()).logits
        assert torch.equal(one, again)
        assert not torch.equal(one, two)
        network.eval()
        assert torch.equal(network(pictures()).logits, network(pictures()).logits)


def test_start_depends_on_the_seed_alone_and_the_backbones_is_the_classifiers():
    torch.manual_seed(1)
    one = SegmentationNetwork("resnet18", classes=3, head="deeplab-v3", seed=5).state_dict()
    torch.manual_seed(2)
    two = SegmentationNetwork("resnet18", classes=3, head="deeplab-v3", seed=5).state_dict()
    other = SegmentationNetwork("resnet18", classes=3, head="deeplab-v3", seed=6).state_dict()
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert not torch.equal(one["head.4.weight"], other["head.4.weight"])
    classifier = Network("resnet18", classes=3, hidden=4, seed=5).backbone.state_dict()
    assert all(torch.equal(one[f"backbone.{name}"], value) for name, value in classifier.items())


def test_v3_refuses_to_train_on_one_picture_but_evaluates_it():
    network = SegmentationNetwork("resnet18", classes=3, head="deeplab-v3", seed=0)
    network.set_training(batch_norm="frozen")
    with pytest.raises(UserError, match=r"train\.batch_size: deeplab-v3"):
        network(pictures(1))
    assert network.eval()(pictures(1)).logits.shape == (1, 3, 64, 64)
