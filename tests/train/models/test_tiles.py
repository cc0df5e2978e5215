"""Tiles against the whole picture, in float64: the same map at any size and place, whatever lies behind the margin."""

import pytest
import torch

import tests.narrow
from csg_train.errors import UserError
from csg_train.models.backbones import Backbone, backbone_spec
from csg_train.models.deeplab import SegmentationNetwork
from csg_train.models.ibn import rewrite_ibn
from csg_train.models.tiles import Tiles

assert tests.narrow


def pictures(height: int, width: int) -> torch.Tensor:
    return torch.rand(1, 3, height, width, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def network(name: str = "narrow", head: str = "deeplab-v3", stride: int = 8) -> SegmentationNetwork:
    net = SegmentationNetwork(name, classes=3, head=head, seed=0, output_stride=stride).eval()
    for module in net.modules():  # so that no path is silent, as zeroed or unit BatchNorm may leave it
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.uniform_(module.running_var, 0.5, 1.5)
    return net


@pytest.mark.parametrize("head", ["deeplab-v2", "deeplab-v3"])
@pytest.mark.parametrize(
    ("size", "side", "stride"),
    [((40, 520), 64, 8), ((300, 35), 40, 8), ((17, 301), 1, 16), ((40, 24), 64, 8)],
)
def test_logits_of_tiles_are_those_of_the_whole_picture(size, side, stride, head):
    """Global pooling and wide rates included, for the head sees the map as a whole; sizes that no stride divides."""
    net, images = network(head=head, stride=stride), pictures(*size)
    tiles = Tiles(net.backbone, side)
    net.double()
    with torch.no_grad():
        whole = net(images).logits
        found = net.classify(tiles(images), images)
    torch.testing.assert_close(found, whole, rtol=0, atol=1e-12 * float(whole.abs().max()))
    assert tiles.side % stride == tiles.margin % stride == 0
    assert 0 <= tiles.side - side < stride


@pytest.mark.parametrize(("name", "size"), [("tf_efficientnet_lite0", (35, 701)), ("timm/test_resnet", (67, 648))])
def test_tiles_of_other_families(name, size):
    """Paddings as TensorFlow's depend on the size of what they are given, by its remainder."""
    net, images = network(name, "deeplab-v2", 16), pictures(*size)
    tiles = Tiles(net.backbone, 320)
    net.double()
    with torch.no_grad():
        whole, found = net.backbone(images).stages["layer4"], tiles(images)
    torch.testing.assert_close(found, whole, rtol=0, atol=1e-12 * float(whole.abs().max()))


def test_the_margin_is_the_receptive_field_of_a_resnet_by_hand():
    """Two 3 x 3 in each of a stage's two blocks: layer2's first at stride 4, later ones dilated from the second."""
    reach = (3 + 2) + 4 * 4 + (4 + 3 * 8) + (8 + 3 * 16) + (16 + 3 * 32)
    assert reach + 8 == 225, "and a stride, for uneven padding"
    assert Tiles(network("resnet18").backbone, 1).margin == 232, "in whole strides"


def test_a_smaller_margin_is_not_the_whole_picture():
    """Or the tests above would show nothing."""
    net, images = network(), pictures(64, 400)
    tiles = Tiles(net.backbone, 64)
    tiles.margin = 64
    net.double()
    with torch.no_grad():
        whole, found = net.backbone(images).stages["layer4"], tiles(images)
    assert (found - whole).abs().max() > 1e-6 * whole.abs().max()


def test_backbones_that_see_the_whole_picture_are_refused():
    backbone = Backbone(backbone_spec("narrow"), output_stride=8).eval()
    rewrite_ibn(backbone.net, "a")
    with pytest.raises(UserError, match=r"segmentation\.tile: this network takes statistics of the whole picture"):
        Tiles(backbone, 64)


def test_a_tile_ends_as_far_from_a_stride_as_the_picture():
    """The margin of lite0 is 448, so that of 901 columns the first tile sees 773."""
    net, images = network("tf_efficientnet_lite0", "deeplab-v2", 16), pictures(35, 901)
    tiles = Tiles(net.backbone, 320)
    assert 320 + tiles.margin < 901
    net.double()
    with torch.no_grad():
        whole, found = net.backbone(images).stages["layer4"], tiles(images)
    torch.testing.assert_close(found, whole, rtol=0, atol=1e-12 * float(whole.abs().max()))
