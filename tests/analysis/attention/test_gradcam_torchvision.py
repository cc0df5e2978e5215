"""GradCAM of torchvision's networks by name, where the map is not the plain output of a module."""

import pytest
import torch
from captum.attr import LayerGradCam
from torch import nn

from csg_analysis.attention.gradcam import grad_cam
from csg_train.models.weights import build_backbone


def pictures(side: int, count: int) -> torch.Tensor:
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", ["swin_t", "densenet121"])
def test_gradcam_is_captums_of_the_network_behind_the_map(name):
    """Channels last, and a network that activates in place: both against what lies behind the map, built by hand."""
    torch.manual_seed(0)  # of its weights: some draws explain nothing
    backbone, _ = build_backbone(name)
    tail = (
        nn.Sequential(backbone.net.norm, backbone.net.permute, backbone.net.avgpool, nn.Flatten(), backbone.net.head)
        if name == "swin_t"
        else nn.Sequential(
            backbone.net.features.norm5, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), backbone.net.classifier
        )
    )
    images, classes = pictures(64, 2), [3, 5]
    with torch.no_grad():
        last = backbone(images).stages["stage4"].clone()
    start = nn.Identity()

    def rest(map_NCHW):
        given = start(map_NCHW)
        return tail(given.permute(0, 2, 3, 1) if name == "swin_t" else given)

    coarse = LayerGradCam(rest, start).attribute(
        last.requires_grad_(), target=torch.tensor(classes), relu_attributions=True
    )
    expected = nn.functional.interpolate(coarse.detach(), (64, 64), mode="bilinear")[:, 0]
    assert expected.any()
    found = grad_cam(backbone, images, classes, layer="layer4")
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3 * float(expected.max()))


def test_gradcam_of_a_vit_explains_what_the_last_attention_reads():
    backbone, _ = build_backbone("vit_b_16")
    nn.init.normal_(backbone.net.heads.head.weight, generator=torch.Generator().manual_seed(0))  # zeros otherwise
    assert backbone.explained("layer4") is backbone.net.encoder.layers.encoder_layer_11.ln_1
    assert grad_cam(backbone, pictures(224, 1), [3], layer="layer4").any()
