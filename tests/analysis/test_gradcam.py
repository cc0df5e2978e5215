"""GradCAM against pytorch-grad-cam, batched against one by one, and what it leaves behind."""

import numpy as np
import torch
from pytorch_grad_cam import GradCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

from csg_analysis.gradcam import grad_cam, overlay
from csg_train.models.network import Network


def small() -> tuple[Network, torch.Tensor, torch.Tensor]:
    network = Network("resnet18", classes=4, hidden=8, seed=3).eval()
    images = torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    return network, images, torch.tensor([0, 3, 1])


class Logits(torch.nn.Module):
    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.network(images).logits


def test_equal_to_pytorch_grad_cam_up_to_its_scaling():
    network, images, classes = small()
    ours = grad_cam(network, images, classes, layer="layer3").numpy()
    with GradCAM(Logits(network), [network.backbone.stage("layer3")]) as cam:
        theirs = cam(images, [ClassifierOutputTarget(int(c)) for c in classes])
    for mine, other in zip(ours, theirs, strict=True):
        low, high = mine.min(), mine.max()
        scaled = (mine - low) / (high - low) if high > low else mine  # the first picture's map is flat in both
        np.testing.assert_allclose(scaled, other, atol=1e-5)


def test_batched_equals_one_by_one_and_nothing_is_left_behind():
    network, images, classes = small()
    network.backbone.requires_grad_(False)  # as the oracle's
    together = grad_cam(network, images, classes, layer="layer4")
    single = [grad_cam(network, images[i : i + 1], classes[i : i + 1], layer="layer4") for i in range(3)]
    torch.testing.assert_close(together, torch.cat(single), rtol=1e-4, atol=1e-7)
    assert all(weight.grad is None for weight in network.parameters())
    assert not any(module._forward_hooks or module._backward_hooks for module in network.modules())
    assert not any(weight.requires_grad for weight in network.backbone.parameters())


def test_flat_map_leaves_the_picture_grey():
    picture = np.full((4, 4, 3), 90, dtype=np.uint8)
    np.testing.assert_array_equal(overlay(picture, np.zeros((4, 4))), picture)
