"""GradCAM beside pytorch-grad-cam and torchcam: time, and how far the maps differ.

All three see the same network, layer, pictures and classes. Ours and torchcam's keep the gradient's scale; for the
comparison torchcam's coarse maps are upsampled as ours, and pytorch-grad-cam's, which it scales to [0, 1] one by one,
meet ours scaled likewise.
"""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.ways import OURS
from csg_analysis.attention.gradcam import grad_cam
from csg_train.models.network import Network

_CLASSES = 12


class _Logits(nn.Module):
    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, images_NCHW: Tensor) -> Tensor:
        return self.network(images_NCHW).logits


def _pytorch_grad_cam(network: Network, images_NCHW: Tensor, classes: list[int], layer: str) -> Tensor:
    from pytorch_grad_cam import GradCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    with GradCAM(_Logits(network), [network.backbone.stage(layer)]) as cam:
        return torch.from_numpy(cam(images_NCHW, [ClassifierOutputTarget(label) for label in classes]))


def _torchcam(network: Network, images_NCHW: Tensor, classes: list[int], layer: str) -> Tensor:
    methods = pytest.importorskip("torchcam.methods")
    model = _Logits(network)
    with methods.GradCAM(model, network.backbone.stage(layer)) as cam:
        (coarse_NHW,) = cam(classes, model(images_NCHW), normalized=False)
    return F.interpolate(coarse_NHW[:, None], images_NCHW.shape[-2:], mode="bilinear", align_corners=False)[:, 0]


def _ours(network: Network, images_NCHW: Tensor, classes: list[int], layer: str) -> Tensor:
    return grad_cam(network, images_NCHW, torch.tensor(classes), layer=layer)


_TOOLS: dict[str, Callable[[Network, Tensor, list[int], str], Tensor]] = {
    OURS: _ours,
    "pytorch-grad-cam": _pytorch_grad_cam,
    "torchcam": _torchcam,
}


def _scaled(maps_NHW: Tensor) -> Tensor:
    """Each map shifted and divided to [0, 1]; a flat one becomes 0."""
    maps_NHW = maps_NHW - maps_NHW.amin(dim=(1, 2), keepdim=True)
    return maps_NHW / maps_NHW.amax(dim=(1, 2), keepdim=True).clamp_min(torch.finfo(maps_NHW.dtype).tiny)


def _difference(name: str, ours_NHW: Tensor, other_NHW: Tensor) -> str:
    if name == "pytorch-grad-cam":
        ours_NHW = _scaled(ours_NHW)
    return f"{float((ours_NHW - other_NHW).abs().max() / ours_NHW.max()):.0e}"


@pytest.mark.parametrize("program", _TOOLS)
@pytest.mark.parametrize(
    ("backbone", "layer", "pictures", "side", "rounds"),
    [
        pytest.param("resnet18", "layer4", 2, 64, 1, marks=pytest.mark.quick),
        ("resnet18", "layer4", 16, 224, 5),
        ("resnet50", "layer3", 8, 224, 5),
    ],
)
def test_grad_cam(benchmark, program, backbone, layer, pictures, side, rounds):
    """All pictures at once, and the largest difference of a map from ours relative to the largest value."""
    benchmark.group = f"{backbone}, {layer}, {pictures} pictures of {side} px"
    network = Network(backbone, classes=_CLASSES, hidden=64, seed=0).eval()
    images_NCHW = torch.rand(pictures, 3, side, side, generator=torch.Generator().manual_seed(0))
    arguments = (network, images_NCHW, [index % _CLASSES for index in range(pictures)], layer)
    maps_NHW = _TOOLS[program](*arguments)
    benchmark.pedantic(_TOOLS[program], arguments, rounds=rounds)
    difference = "-" if program == OURS else _difference(program, _ours(*arguments), maps_NHW)
    benchmark.extra_info["difference"] = difference
