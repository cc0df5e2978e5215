"""Dilated backbones: the atrous identity, torchvision's own dilation, and unchanged weights."""

import pytest
import torch
import torchvision

from csg_train.models.backbones import BACKBONES, Backbone


def pictures(side: int) -> torch.Tensor:
    return torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(0))


def pair(name: str, output_stride: int) -> tuple[Backbone, Backbone]:
    """A strided and a dilated backbone with the same weights, in float64."""
    strided, dilated = Backbone(BACKBONES[name]).eval(), Backbone(BACKBONES[name], output_stride=output_stride).eval()
    assert list(strided.state_dict()) == list(dilated.state_dict())
    dilated.load_state_dict(strided.state_dict())
    return strided.double(), dilated.double()


@pytest.mark.parametrize("output_stride", [8, 16])
@pytest.mark.parametrize("name", ["resnet18", "resnet50", "tf_efficientnet_lite0"])
def test_a_dilated_map_at_every_nth_position_is_the_strided_map(name, output_stride):
    """Odd sides keep the positions of every stride aligned (TensorFlow's padding shifts even ones by one)."""
    strided, dilated = pair(name, output_stride)
    with torch.no_grad():
        coarse, fine = strided(pictures(65).double()).stages, dilated(pictures(65).double()).stages
    for stage, stride in {"layer3": 16, "layer4": 32}.items():
        step = max(stride // output_stride, 1)
        assert fine[stage].shape[-2:] == (-(-65 // min(stride, output_stride)),) * 2
        torch.testing.assert_close(fine[stage][:, :, ::step, ::step], coarse[stage])
    for stage in set(coarse) - {"layer3", "layer4"}:
        assert torch.equal(fine[stage], coarse[stage])


def test_bottleneck_networks_are_dilated_as_torchvision_does():
    ours = Backbone(BACKBONES["resnet50"], output_stride=8).net.eval()
    theirs = torchvision.models.resnet50(weights=None, replace_stride_with_dilation=[False, True, True]).eval()
    theirs.load_state_dict(ours.state_dict())
    for (name, our), their in zip(ours.named_modules(), theirs.modules(), strict=True):
        if isinstance(our, torch.nn.Conv2d):
            assert (our.stride, our.dilation, our.padding) == (their.stride, their.dilation, their.padding), name
    with torch.no_grad():
        assert torch.equal(ours(pictures(64)), theirs(pictures(64)))


def test_torchvision_itself_refuses_basic_blocks():
    with pytest.raises(NotImplementedError):
        torchvision.models.resnet18(weights=None, replace_stride_with_dilation=[False, True, True])


def test_rates_of_the_first_and_the_later_blocks():
    """Stride 8: layer3 1 then 2, layer4 2 then 4; a basic block's second convolution already follows the stride."""
    bottleneck = Backbone(BACKBONES["resnet50"], output_stride=8).net
    assert [block.conv2.dilation[0] for block in (*bottleneck.layer3, *bottleneck.layer4)] == [1, *[2] * 6, 4, 4]
    basic = Backbone(BACKBONES["resnet18"], output_stride=8).net
    rates = [(block.conv1.dilation[0], block.conv2.dilation[0]) for block in (*basic.layer3, *basic.layer4)]
    assert rates == [(1, 2), (2, 2), (2, 4), (4, 4)]
    assert basic.layer3[0].downsample[0].stride == (1, 1)


def test_without_an_output_stride_nothing_is_dilated():
    strided = Backbone(BACKBONES["resnet34"]).net
    theirs = torchvision.models.resnet34(weights=None)
    assert [(m.stride, m.dilation) for m in strided.modules() if isinstance(m, torch.nn.Conv2d)] == [
        (m.stride, m.dilation) for m in theirs.modules() if isinstance(m, torch.nn.Conv2d)
    ]
