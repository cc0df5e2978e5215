"""GradCAM on every family: against pytorch-grad-cam on tokens and channels last, batched against one by one."""

import numpy as np
import pytest
import timm
import torch
from pytorch_grad_cam import GradCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

from csg_analysis.attention.gradcam import grad_cam
from csg_train.errors import UserError
from csg_train.models.network import Network
from csg_train.models.weights import build_backbone
from tests.analysis.attention.test_gradcam import Logits
from tests.tiny_models import FAMILIES


def lively(family: str) -> tuple[Network, torch.Tensor]:
    """A network whose weights are far enough from nothing that attention and maps are, and three pictures."""
    network = Network(FAMILIES[family], classes=4, hidden=8, seed=3).eval()
    generator = torch.Generator().manual_seed(1)
    for weight in network.backbone.net.parameters():
        weight.data += 0.1 * torch.randn(weight.shape, generator=generator)
    return network, torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def of_tokens(prefix: int, side: int):
    """What the other implementation needs to be told of a row of tokens."""
    return lambda tokens: tokens[:, prefix:].reshape(len(tokens), side, side, -1).permute(0, 3, 1, 2)


def between_0_and_1(maps: np.ndarray) -> np.ndarray:
    low, high = maps.min(axis=(1, 2), keepdims=True), maps.max(axis=(1, 2), keepdims=True)
    return (maps - low) / (high - low)


CASES = {
    "vit": ("vit", "stage3", of_tokens(1, 4)),
    "vit, last": ("vit", "layer4", of_tokens(1, 4)),
    "registers": ("dinov2", "stage2", of_tokens(5, 8)),
    "swin": ("swin", "stage3", lambda grid: grid.permute(0, 3, 1, 2)),
}


@pytest.mark.parametrize("case", CASES)
def test_equal_to_pytorch_grad_cam_on_tokens_and_channels_last(case):
    family, stage, reshape = CASES[case]
    network, images = lively(family)
    classes = [0, 3, 1]
    with GradCAM(Logits(network), [network.backbone.stage(stage)], reshape_transform=reshape) as cam:
        theirs = cam(images, [ClassifierOutputTarget(label) for label in classes])
    ours = grad_cam(network, images, classes, layer=stage).numpy()
    shown = ours.max(axis=(1, 2)) > 0
    assert shown.any()
    np.testing.assert_allclose(between_0_and_1(ours[shown]), theirs[shown], atol=1e-4)
    np.testing.assert_array_equal(theirs[~shown], 0)


def test_a_module_around_a_network_changes_no_map():
    """It says nothing of channels last: maps were read with their axes exchanged."""
    network, images = lively("swin")
    net = network.backbone.net
    expected = grad_cam(net, images, [0, 3, 1], layer="layers.1")
    assert expected.any()
    for wrapped in (torch.nn.Sequential(net), torch.nn.DataParallel(net)):
        (name,) = dict(wrapped.named_children())
        ours = grad_cam(wrapped.eval(), images, [0, 3, 1], layer=f"{name}.layers.1")
        torch.testing.assert_close(ours, expected)


def test_a_convolution_before_blocks_that_are_channels_last():
    net, kept = timm.create_model(FAMILIES["swin"].removeprefix("timm/"), img_size=128).eval(), {}
    images = torch.rand(3, 3, 128, 128, generator=torch.Generator().manual_seed(0))
    hook = net.patch_embed.proj.register_forward_hook(lambda _module, _inputs, output: kept.update(map=output))
    logits = net(images)
    hook.remove()
    (gradient,) = torch.autograd.grad(logits[:, 3].sum(), kept["map"])
    coarse = (gradient.mean((2, 3), keepdim=True) * kept["map"]).sum(1, keepdim=True).relu()
    assert coarse.any()
    expected = torch.nn.functional.interpolate(coarse, images.shape[-2:], mode="bilinear")[:, 0]
    torch.testing.assert_close(grad_cam(net, images, [3, 3, 3], layer="patch_embed.proj"), expected)


def test_windows_are_no_maps_of_pictures():
    network, images = lively("swin")
    with pytest.raises(UserError, match="layer: it gives 48 maps for 3 pictures"):
        grad_cam(network.backbone.net, images, [0, 3, 1], layer="layers.0.blocks.0.attn")


@pytest.mark.parametrize("family", FAMILIES)
def test_batched_equals_one_by_one_and_no_hook_stays(family):
    network, images = lively(family)
    network.backbone.requires_grad_(False)  # as the oracle's
    for stage in ("stage2", "layer4"):
        together = grad_cam(network, images, [2, 2, 2], layer=stage)
        single = [grad_cam(network, image[None], [2], layer=stage) for image in images]
        torch.testing.assert_close(together, torch.cat(single), rtol=1e-3, atol=1e-6)
    assert not any(module._forward_hooks or module._backward_hooks for module in network.modules())


def test_a_class_token_is_explained_by_what_the_last_attention_reads():
    """No patch of the last block reaches the classifier, so the own logits are explained one layer earlier."""
    backbone, _ = build_backbone(FAMILIES["vit"])
    for weight in backbone.net.parameters():
        weight.data += 0.1 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(2))
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    plain = timm.create_model("test_vit", pretrained=False).eval()
    plain.load_state_dict(backbone.net.state_dict())
    normalised, classes = backbone.normalise(images), [7, 11]
    last = grad_cam(plain, normalised, classes, layer="blocks.5")
    assert not last.any()
    read = grad_cam(plain, normalised, classes, layer="blocks.5.norm1")
    assert read.any()
    torch.testing.assert_close(grad_cam(backbone, images, classes, layer="layer4"), read)
    with GradCAM(plain, [plain.blocks[5].norm1], reshape_transform=of_tokens(1, 4)) as cam:
        theirs = cam(normalised, [ClassifierOutputTarget(label) for label in classes])
    shown = (read.amax(dim=(1, 2)) > 0).numpy()
    np.testing.assert_allclose(between_0_and_1(read.numpy()[shown]), theirs[shown], atol=1e-4)


def test_what_has_no_classes_or_no_map_is_refused():
    backbone, _ = build_backbone(FAMILIES["dinov2"])
    with pytest.raises(UserError, match="the model has no classifier, so there is no class to explain"):
        grad_cam(backbone, torch.rand(1, 3, 64, 64), layer="stage3")
    plain = timm.create_model("test_vit", pretrained=False).eval()
    with pytest.raises(UserError, match=r"layer: it gives \(1, 64\) for pictures of 64 x 64, which is no map"):
        grad_cam(plain, torch.rand(1, 3, 64, 64), layer="fc_norm")
