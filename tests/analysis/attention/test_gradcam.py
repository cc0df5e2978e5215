"""GradCAM against pytorch-grad-cam, batched against one by one, and what it leaves behind."""

import weakref
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torchvision
from pytorch_grad_cam import GradCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

from csg_analysis.attention.gradcam import attend, attend_batches, grad_cam
from csg_analysis.commands.gradcam import _pictures
from csg_analysis.drawing.pictures import overlay
from csg_train.errors import UserError
from csg_train.models.network import Network
from csg_train.recipes.pictures import load_split
from csg_train.runs.checkpoint import load_checkpoint
from tests.conftest import CLASSES


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


def test_a_map_without_numbers_is_refused():
    network, images, classes = small()
    with pytest.raises(UserError, match="a map with NaN or infinity"):
        grad_cam(network, images.fill_(torch.nan), classes, layer="layer4")


def test_flat_map_leaves_the_picture_grey():
    picture = np.full((4, 4, 3), 90, dtype=np.uint8)
    np.testing.assert_array_equal(overlay(picture, np.zeros((4, 4))), picture)


def test_any_model_and_any_layer_by_name():
    """A torchvision network whose weights are all frozen, explained class given or predicted."""
    torch.manual_seed(3)
    model = torchvision.models.mobilenet_v3_small(weights=None).eval().requires_grad_(False)
    model.classifier[3].weight *= 1000  # its maps are small, and the other's scaling adds 1e-7 to the largest
    images = torch.rand(2, 3, 64, 64)
    ours = grad_cam(model, images, [7, 3], layer="features.8").numpy()
    with GradCAM(model, [model.features[8]]) as cam:
        theirs = cam(images.requires_grad_(True), [ClassifierOutputTarget(7), ClassifierOutputTarget(3)])
    images = images.detach()
    for mine, other in zip(ours, theirs, strict=True):
        assert mine.max() > 0
        np.testing.assert_allclose((mine - mine.min()) / (mine.max() - mine.min()), other, atol=1e-4)
    predicted = model(images).argmax(dim=1)
    by_name = grad_cam(model, images, predicted, layer="features.8")
    assert torch.equal(grad_cam(model, images, layer=model.features[8]), by_name)


def test_a_model_in_training_mode_or_without_the_layer_is_refused():
    network, images, classes = small()
    with pytest.raises(UserError, match="layer conv9: not in this ResNet; it begins with one of conv1, bn1, relu"):
        grad_cam(torchvision.models.resnet18().eval(), images, classes, layer="conv9")
    with pytest.raises(UserError, match="layer: stem not in this backbone; allowed: layer1"):
        grad_cam(network, images, classes, layer="stem")
    with pytest.raises(UserError, match="training mode"):
        grad_cam(network.train(), images, classes, layer="layer4")


class Giving(torch.nn.Module):
    """A network whose logits come in something else."""

    def __init__(self, network, wrap):
        super().__init__()
        self.network, self.wrap = network, wrap

    def forward(self, images):
        return self.wrap(self.network(images))


def test_logits_in_a_dictionary_and_in_inference_mode_give_the_same_maps():
    """As torchvision's segmentations give them, and as Lightning validates."""
    torch.manual_seed(3)
    model, images = torchvision.models.resnet18(weights=None).eval(), torch.rand(2, 3, 64, 64)
    expected = grad_cam(model, images, [7, 3], layer="layer4")
    for name in ("logits", "out"):
        wrapped = Giving(model, lambda logits, name=name: {name: logits, "aux": logits * 2}).eval()
        assert torch.equal(grad_cam(wrapped, images, [7, 3], layer=model.layer4), expected)
    with torch.inference_mode():
        assert torch.equal(grad_cam(model, images.clone(), torch.tensor([7, 3]), layer="layer4"), expected)
        assert torch.equal(grad_cam(model, images, layer="layer4"), grad_cam(model, images.clone(), layer="layer4"))


@pytest.mark.parametrize(
    ("wrap", "images", "classes", "message"),
    [
        (None, torch.rand(2, 3, 64, 64), [1, 1000], r"classes \[1, 1000\]; the model's are 0 to 999"),
        (None, torch.rand(2, 3, 64, 64), [-1, 0], r"classes \[-1, 0\]; the model's are 0 to 999"),
        (None, torch.rand(2, 3, 64, 64), [1], "1 classes for 2 pictures; give one for each"),
        (None, torch.rand(2, 3, 64, 64), [1.5, 2.5], r"classes \[1\.5, 2\.5\]; give whole numbers"),
        (None, torch.rand(2, 3, 64, 64), torch.ones(2), r"classes \[1\.0, 1\.0\]; give whole numbers"),
        (None, torch.rand(2, 3, 64, 64), [True, False], r"classes \[True, False\]; give whole numbers"),
        (
            None,
            np.zeros((2, 3, 64, 64), dtype=np.float32),
            [1, 1],
            "pictures of ndarray; give ",
        ),
        (None, torch.zeros(2, 3, 64, 64, dtype=torch.uint8), [1, 1], r"pictures of torch\.uint8; give floating point"),
        (None, torch.rand(0, 3, 64, 64), [], r"pictures of shape \(0, 3, 64, 64\)"),
        (None, torch.rand(3, 64, 64), [1], r"pictures of shape \(3, 64, 64\); give \(N, 3, H, W\)"),
        (lambda logits: {"scores": logits}, torch.rand(1, 3, 64, 64), [1], "gives a dict; wrap it"),
        (lambda logits: (logits,), torch.rand(1, 3, 64, 64), [1], "gives a tuple; wrap it"),
        (lambda logits: logits[:, 0], torch.rand(1, 3, 64, 64), [1], r"gives logits \(1,\); wrap it"),
    ],
)
def test_what_grad_cam_cannot_take_is_said(wrap, images, classes, message):
    model = torchvision.models.resnet18(weights=None).eval()
    with pytest.raises(UserError, match=message):
        grad_cam(Giving(model, wrap).eval() if wrap else model, images, classes, layer=model.layer4)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16])
def test_classes_of_any_whole_type_and_shape(dtype):
    model, images = torchvision.models.resnet18(weights=None).eval(), torch.rand(2, 3, 64, 64)
    ours = grad_cam(model, images, torch.tensor([[7], [3]], dtype=dtype), layer="layer4")
    assert torch.equal(ours, grad_cam(model, images, [7, 3], layer="layer4"))


def test_a_part_in_training_mode_a_layer_at_rest_and_a_model_without_gradient_are_refused():
    model, images = torchvision.models.resnet18(weights=None).eval(), torch.rand(2, 3, 64, 64)
    statistics = model.layer4[0].bn1.running_mean.clone()
    model.layer4.train()
    with pytest.raises(UserError, match=r"training mode \(layer4\)"):
        grad_cam(model, images, [7, 3], layer="layer4")
    assert torch.equal(model.layer4[0].bn1.running_mean, statistics)
    model.unused = torch.nn.ReLU().eval()
    with pytest.raises(UserError, match="layer: unused does not run in this model's evaluation mode"):
        grad_cam(model.eval(), images, [7, 3], layer="unused")
    with torch.inference_mode():
        model = torchvision.models.resnet18(weights=None).eval()
    with pytest.raises(UserError, match="the model was built in torch"):
        grad_cam(model, images, [7, 3], layer="layer4")


def test_a_segmentation_wants_regions_of_its_size():
    model, images = torch.nn.Conv2d(3, 4, 1).eval(), torch.rand(2, 3, 8, 8)
    with pytest.raises(UserError, match=r"logits \(2, 4, 8, 8\); regions_NHW of a segmentation are \(2, 8, 8\)"):
        grad_cam(model, images, [1, 2], layer=model)
    with pytest.raises(UserError, match=r"regions_NHW of a segmentation are \(2, 8, 8\)"):
        grad_cam(model, images, [1, 2], layer=model, regions_NHW=torch.ones(2, 4, 4, dtype=torch.bool))


class Broken(torch.nn.Module):
    def forward(self, _features: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("no memory")


def test_hooks_go_even_when_the_network_fails():
    network, images, classes = small()
    network.head = Broken().eval()
    with pytest.raises(RuntimeError, match="no memory"):
        grad_cam(network, images, classes, layer="layer4")
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())
    assert not any(module._backward_hooks for module in network.modules())


@pytest.fixture
def opened(trained):
    checkpoint = load_checkpoint(trained[0])
    recipe = checkpoint.resolved_recipe()
    images = load_split(recipe.data, "target", checkpoint.classes)
    return checkpoint, checkpoint.build_network(torch.device("cpu")), recipe, images


EXPLAIN = ("predicted", "label", "truck")


def test_every_way_to_name_the_class(opened):
    _, network, recipe, images = opened
    by = {explain: attend(network, images, recipe, layer="layer4", explain=explain) for explain in EXPLAIN}
    assert by["predicted"].explained == by["predicted"].predicted
    assert by["label"].explained == list(images.labels)
    assert by["truck"].explained == [2] * 9
    for maps in by.values():
        assert maps.predicted == by["predicted"].predicted
    trucks = [index for index, label in enumerate(images.labels) if label == 2]
    np.testing.assert_array_equal(by["label"].maps_NHW[trucks], by["truck"].maps_NHW[trucks])
    with pytest.raises(UserError, match="--explain tram: allowed: predicted, label, bus, car, truck"):
        attend(network, images, recipe, layer="layer4", explain="tram")


def test_batches_of_any_size_give_the_same_maps_and_none_is_kept(opened):
    checkpoint, network, _, images = opened
    recipes = [checkpoint.resolved_recipe((f"train.batch_size={size}",)) for size in (1, 4, 9)]
    whole = [attend(network, images, recipe, layer="layer3", explain="car") for recipe in recipes]
    for maps in whole[1:]:
        np.testing.assert_allclose(maps.maps_NHW, whole[0].maps_NHW, rtol=1e-3, atol=1e-7)
        np.testing.assert_array_equal(maps.images_NHWC, whole[0].images_NHWC)
    stream = attend_batches(network, images, recipes[1], layer="layer3", explain="car")
    first = next(stream)
    assert len(first.maps_NHW) == 4
    gone = weakref.ref(first)
    del first
    next(stream)
    assert gone() is None


def test_own_pictures_are_reduced_as_the_splits_are(trees):
    subject = SimpleNamespace(
        checkpoint=SimpleNamespace(classes=CLASSES), recipe=SimpleNamespace(data=SimpleNamespace(shorter_side=16))
    )
    images = _pictures(subject, str(trees / "target"), 2)
    assert {min(images.picture(index).size) for index in range(len(images))} == {16}
