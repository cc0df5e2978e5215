"""The baselines' penalties against closed forms and hand-computed cases."""

import math

import pytest
import torch
from torch import nn

from csg_train.engine import loop as engine
from csg_train.errors import UserError
from csg_train.methods.anchored import quadratic_penalty
from csg_train.methods.base import Setup
from csg_train.methods.ewc import diagonal_fisher
from csg_train.methods.synaptic_intelligence import SynapticIntelligence, SynapticIntelligenceConfig, path_importance
from csg_train.methods.teacher import imagenet_kl
from csg_train.models.backbones import Backbone, BackboneSpec
from csg_train.recipes.sections import Recipe


def linear_backbone(pixels: int, classes: int) -> Backbone:
    """Softmax regression on raw pixels, its weights trained."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Linear(pixels, classes)
            self.unused = nn.Identity()

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return self.body(images.flatten(1))

    torch.manual_seed(0)
    zero, one = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    spec = BackboneSpec(build=Net, imagenet=dict, stages={}, classifiers=(), mean=zero, std=one)
    return Backbone(spec).eval()


@pytest.mark.parametrize("chunk", [1, 3, 5])
def test_fisher_of_softmax_regression_in_closed_form_whatever_the_chunk(chunk):
    """d log p(y|x) / dW = (e_y - p) x^T, so F = sum (e_y - p)^2 (x^2)^T: per sample, never a batch's mean squared."""
    backbone = linear_backbone(12, 4)
    images = torch.rand(5, 3, 2, 2, generator=torch.Generator().manual_seed(1))
    labels = torch.tensor([0, 1, 1, 3, 2])
    with torch.no_grad():
        error = nn.functional.one_hot(labels, 4) - backbone.net(images).softmax(dim=1)
    weight = torch.einsum("nc,np->cp", error.square(), images.flatten(1).square())
    expected = torch.cat([weight.flatten(), error.square().sum(dim=0)])
    torch.testing.assert_close(diagonal_fisher(backbone, images, labels, chunk=chunk), expected)


class OneWeight(nn.Module):
    """The part of a network that Synaptic Intelligence sees: a backbone of trained weights."""

    def __init__(self, start: list[float]) -> None:
        super().__init__()
        self.backbone = nn.Module()
        self.backbone.register_parameter("w", nn.Parameter(torch.tensor(start, dtype=torch.float64)))


def descend(update: str, c: float, steps: int, rate: float) -> tuple[SynapticIntelligence, OneWeight]:
    """Gradient descent on 1/2 sum a (w - b)^2 from w = 0 through the method's hooks."""
    model = OneWeight([0.0, 0.0])
    a, b = torch.tensor([1.0, 3.0], dtype=torch.float64), torch.tensor([2.0, -1.0], dtype=torch.float64)
    method = SynapticIntelligence(SynapticIntelligenceConfig(c=c, xi=0.1, update=update))
    method.prepare(model, Setup(seed=0, source=lambda _: iter(()), steps=3, weights="none"))
    optimizer = torch.optim.SGD(model.parameters(), lr=rate)
    for _ in range(steps):
        optimizer.zero_grad()
        (a * (model.backbone.w - b).square() / 2).sum().backward()
        method.before_step(model, optimizer)
        optimizer.step()
        method.after_step(model)
    return method, model


@pytest.mark.parametrize("update", ["proximal", "gradient"])
def test_path_integral_is_the_decrease_of_the_loss_by_weight(update):
    """In small steps omega_k tends to the part of the loss's decrease that weight k made: a_k b_k^2 / 2."""
    method, model = descend(update, c=0.0, steps=4_000, rate=5e-3)
    torch.testing.assert_close(method.path_K, torch.tensor([2.0, 1.5], dtype=torch.float64), rtol=1e-2, atol=0)
    torch.testing.assert_close(model.backbone.w.data, torch.tensor([2.0, -1.0], dtype=torch.float64))


@pytest.mark.parametrize("update", ["proximal", "gradient"])
def test_path_integral_uses_the_gradient_without_the_penalty_and_the_whole_movement(update):
    """Two steps of rate 0.1 by hand, first weight: w = 0, 0.2; the second step's penalty is c Omega w^2."""
    method, model = descend(update, c=0.5, steps=2, rate=0.1)
    omega_1 = 2.0 * 0.2
    importance = omega_1 / (0.2**2 + 0.1)
    second = 0.2 - 0.1 * (-1.8 + 2 * 0.5 * importance * 0.2)
    if update == "proximal":
        second = (0.2 + 0.1 * 1.8) / (1 + 2 * 0.1 * 0.5 * importance)
    assert model.backbone.w[0].item() == pytest.approx(second)
    assert method.path_K[0].item() == pytest.approx(omega_1 + 1.8 * (second - 0.2))


def test_importance_and_distance_by_hand():
    path, moved = torch.tensor([0.4, -1.0]), torch.tensor([0.2, 3.0])
    torch.testing.assert_close(path_importance(path, moved, 0.1), torch.tensor([0.4 / 0.14, 0.0]))
    one, zero = torch.tensor([1.0, 3.0]), torch.tensor([0.0, 1.0])
    assert quadratic_penalty(one, zero, torch.tensor([2.0, 0.5])).item() == 4.0
    assert quadratic_penalty(one, zero, 1.0).item() == 5.0


def test_divergence_of_two_classes_by_hand_and_its_direction():
    """KL(p || q) for p = (3/4, 1/4) and q = (1/2, 1/2), averaged with a zero."""
    p, q = torch.tensor([[math.log(3.0), 0.0], [0.0, 0.0]]), torch.zeros(2, 2)
    expected = (0.75 * math.log(1.5) + 0.25 * math.log(0.5)) / 2
    assert imagenet_kl(p, q).item() == pytest.approx(expected, rel=1e-5)
    assert imagenet_kl(q, p).item() != pytest.approx(expected, rel=1e-2)


@pytest.mark.parametrize(("method", "field"), [("asg", "method asg"), ("ewc", "method ewc")])
def test_random_weights_have_no_imagenet_classifier(recipe_dict, tmp_path, method, field):
    recipe_dict["model"]["weights"] = "none"
    recipe_dict["method"] = {"name": method}
    with pytest.raises(UserError, match=f"{field}: needs the ImageNet classifier; set model.weights"):
        engine._Run(Recipe.model_validate(recipe_dict), tmp_path, torch.device("cpu"))


def without_classifier(weights, path) -> str:
    state = torch.load(weights, weights_only=True)
    torch.save({name: value for name, value in state.items() if not name.startswith("fc.")}, path)
    return str(path)


@pytest.mark.parametrize(
    ("method", "field"), [("asg", "method asg"), ("ewc", "method ewc"), ("csg", r"method\.asg_weight")]
)
def test_a_file_may_have_no_imagenet_classifier(recipe_dict, weights, tmp_path, method, field):
    recipe_dict["model"]["weights"] = without_classifier(weights, tmp_path / "trunk.pt")
    recipe_dict["method"] = {"name": method} | ({"queue_size": 8, "asg_weight": 0.1} if method == "csg" else {})
    with pytest.raises(UserError, match=f"{field}: needs the ImageNet classifier, .* no classifier; .* or weights"):
        engine._Run(Recipe.model_validate(recipe_dict), tmp_path, torch.device("cpu"))


def test_what_needs_no_classifier_trains_the_same_from_a_file_without_one(recipe_dict, weights, tmp_path):
    recipe_dict["method"] = {"name": "csg", "queue_size": 8}
    for name, path in (("whole", str(weights)), ("trunk", without_classifier(weights, tmp_path / "trunk.pt"))):
        recipe_dict["model"]["weights"] = path
        engine.train(Recipe.model_validate(recipe_dict), tmp_path / name, device="cpu")
    assert (tmp_path / "whole/log.jsonl").read_bytes() == (tmp_path / "trunk/log.jsonl").read_bytes()
