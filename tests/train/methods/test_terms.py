"""The terms that a run trains on, by arithmetic of their own, where student, teacher and heads have moved apart."""

import dataclasses

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from csg_train.engine.loop import _Run
from csg_train.methods.contrastive import attention, attention_pool
from csg_train.methods.csg_contrast import Contrast
from csg_train.methods.pyramid import pyramid_consistency
from csg_train.methods.table import METHODS
from csg_train.recipes.sections import Recipe
from csg_train.seeds import generator_for
from tests.train.methods.test_methods import CPU, recipe_of

SMALL = {"temperature": 0.5, "patches": 1, "pool": "attention", "head": "mlp", "queue_size": 9, "dim": 4}


def maps(seed: int, *shape: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(*(shape or (2, 3, 4, 4)), dtype=torch.float64, generator=generator) + 0.1


def contrast(seed: int = 3, **fields: object) -> Contrast:
    made = Contrast({"a": 3, "b": 3}, momentum=0.9, seed=seed, **(SMALL | fields)).double()
    for index, weight in enumerate(made.teacher_heads.parameters()):
        weight.copy_(torch.randn(weight.shape, generator=torch.Generator().manual_seed(index)))
    return made


def pooled(value: torch.Tensor, by: torch.Tensor, patches: int, pool: str) -> torch.Tensor:
    """Patch after patch of picture after picture, each by its own attention in ``by``."""
    side, rows = value.shape[2] // patches, []
    for n in range(len(value)):
        for i in range(patches):
            for j in range(patches):
                cut = (n, slice(None), slice(i * side, (i + 1) * side), slice(j * side, (j + 1) * side))
                share = (by[cut] * by[cut].mean(dim=(1, 2), keepdim=True)).sum(dim=0)
                if pool == "average":
                    share = torch.ones_like(share)
                rows.append((value[cut] * share / share.sum()).sum(dim=(1, 2)))
    return torch.stack(rows)


@pytest.mark.parametrize("patches", [1, 2])
@pytest.mark.parametrize("pool", ["attention", "average"])
def test_the_contrast_of_maps_and_heads_that_all_differ(patches, pool):
    """The teacher's map by the student's attention, through the heads' average (Eqs 3, 5 and 6)."""
    parts = contrast(pool=pool, patches=patches)
    query, attended, teacher = (maps(seed) for seed in range(3))
    z = F.normalize(parts.heads["a"](pooled(query, query, patches, pool)), dim=1)
    key = F.normalize(parts.teacher_heads["a"](pooled(teacher, attended, patches, pool)), dim=1)
    logits = torch.cat([(z * key).sum(dim=1, keepdim=True), z @ parts.queues["a"].keys_KD.T], dim=1) / 0.5
    expected = F.cross_entropy(logits, torch.zeros(len(z), dtype=torch.int64))
    both = [{"a": value, "b": value} for value in (query, attended, teacher)]
    torch.testing.assert_close(parts(*both)["a"], expected)


def test_gradients_pass_through_the_attention_of_the_query():
    query = maps(0, 2, 3, 2, 2).requires_grad_()
    assert torch.autograd.gradcheck(lambda v: attention_pool(v, attention(v)), query)
    parts, others = contrast(), [{"a": value, "b": value} for value in (maps(1, 2, 3, 2, 2), maps(2, 2, 3, 2, 2))]
    assert torch.autograd.gradcheck(lambda v: parts({"a": v, "b": v}, *others)["a"], query)


def test_gradients_pass_through_the_mean_of_the_styles():
    styles = maps(0, 3, 1, 2, 2, 2).requires_grad_()
    assert torch.autograd.gradcheck(lambda v: pyramid_consistency(v, (1, 2)), styles)


def test_heads_and_queues_start_from_the_seed_and_the_layer():
    one, other = contrast(), contrast(seed=4)
    first, between, last = one.heads["a"]
    assert (first.weight.shape, last.weight.shape, type(between)) == ((3, 3), (4, 3), nn.ReLU)
    assert first.bias is not None
    assert last.bias is not None
    assert not torch.equal(first.weight, other.heads["a"][0].weight)
    keys = [made.queues[name].keys_KD for made, name in ((one, "a"), (one, "b"), (other, "a"))]
    assert not torch.equal(keys[0], keys[1])
    assert not torch.equal(keys[0], keys[2])


def moved(plan: dict, tmp_path) -> tuple[dict[str, torch.Tensor], dict[str, tuple[np.ndarray, np.ndarray]]]:
    """The terms of a first batch with a student away from its teacher, and both's maps by stage."""
    run = _Run(Recipe.model_validate(plan), tmp_path, CPU)
    batch = next(run._batches())
    run.network.set_training(batch_norm="frozen")
    with torch.no_grad():
        for stage in (run.network.backbone.net.layer3, run.network.backbone.net.layer4):
            for weight in stage.parameters():
                weight.mul_(1.3)
        output = run.network(batch.views[0])
        teacher = run.method.teacher(batch.views[0])
        terms = run.method.loss(run.network, batch, output)
    pairs = {name: (output.stages[name], teacher.stages[name]) for name in output.stages}
    pairs["imagenet"] = (output.imagenet_logits.softmax(dim=1), teacher.imagenet_logits.softmax(dim=1))
    return terms, {name: tuple(map(np.float64, pair)) for name, pair in pairs.items()}


def _unit(value: np.ndarray) -> np.ndarray:
    return value / np.linalg.norm(value, axis=1, keepdims=True)


def _apool(value: np.ndarray) -> np.ndarray:
    share = (value * value.mean(axis=(2, 3), keepdims=True)).sum(axis=1, keepdims=True)
    return _unit((value * share / share.sum(axis=(2, 3), keepdims=True)).sum(axis=(2, 3)))


TERMS = {
    "feature-l2": lambda v, t: 0.3 * ((v - t) ** 2).mean(),
    "miro": lambda v, t: 0.3 * (((v - t) ** 2) / 0.1 + np.log(0.1)).mean() / 2,
    "ldifs": lambda v, t: 0.3 / 2 * ((_unit(v) - _unit(t)) ** 2).mean(),  # of two layers
    "gcisg": lambda v, t: 0.3 * np.linalg.norm(_apool(v) - _apool(t)),
}


@pytest.mark.parametrize("label", TERMS)
def test_distances_of_a_run(label, recipe_dict, tmp_path):
    name = {"ldifs": {"name": "miro", "distance": "ldifs"}}.get(label, {"name": label})
    recipe_dict["method"] = {**name, "weight": 0.3, "layers": ["layer3", "layer4"]}
    terms, pairs = moved(recipe_dict, tmp_path)
    expected = [TERMS[label](*pairs[layer]) for layer in ("layer3", "layer4")]
    assert all(abs(value) > 1e-6 for value in expected)
    assert [term.item() for term in terms.values()] == pytest.approx(expected, rel=1e-4)


def test_asg_is_the_divergence_from_the_teachers_classes_to_the_students(recipe_dict, tmp_path):
    recipe_dict["method"] = {"name": "asg", "weight": 0.3}
    terms, pairs = moved(recipe_dict, tmp_path)
    q, p = pairs["imagenet"]
    ours, other = ((one * np.log(one / two)).sum(axis=1).mean() for one, two in ((p, q), (q, p)))
    assert terms["asg_kl"].item() == pytest.approx(0.3 * ours, rel=1e-3)
    assert ours != pytest.approx(other, rel=1e-2)


def test_what_csg_logs_of_its_maps_stability(recipe_dict, tmp_path):
    recipe_dict["method"] = {"name": "csg", "queue_size": 7, "dim": 4, "patches": 2, "layers": ["layer3"]}
    recipe_dict["data"] |= {"size": 64}  # patches of four positions
    run = _Run(Recipe.model_validate(recipe_dict), tmp_path, CPU)
    batch = next(run._batches())
    run.network.backbone.spec = dataclasses.replace(run.network.backbone.spec, signed=True)
    output = run.network(batch.views[0])
    run.method.loss(run.network, batch, output)
    v = output.stages["layer3"].detach().double().numpy()
    n, c, h, w = v.shape
    v = v.reshape(n, c, 2, h // 2, 2, w // 2)
    shares = (v.mean(axis=(3, 5)) ** 2).sum(axis=1) / (v**2).sum(axis=1).mean(axis=(2, 4))
    assert run.method.figures["stability_layer3"].item() == pytest.approx(shares.mean(), rel=1e-4)
    assert shares.std() > 1e-3


@pytest.mark.parametrize(
    ("samples", "spread", "used"),
    [(5, True, [0, 2, 4, 7, 9]), (5, False, range(5)), (12, True, range(12)), (1000, True, range(12))],
)
@pytest.mark.parametrize("estimator", ["empirical", "sampled"])
def test_the_fisher_information_is_a_mean_over_pictures(estimator, samples, spread, used, recipe_dict, tmp_path):
    """Of squared gradients, each picture's by itself, of its likeliest class or of one drawn from its classes.

    Five of a list of three classes, four pictures each, are of all three: the first five had been taken, of two.
    """
    recipe_dict["method"] = {"name": "ewc", "samples": samples, "spread": spread, "estimator": estimator}
    recipe_dict["train"] |= {"batch_size": 4}
    run = _Run(Recipe.model_validate(recipe_dict | {"seed": 3}), tmp_path, CPU)
    backbone, generator = run.network.backbone.eval(), generator_for(3, "ewc-labels")
    every = torch.cat([batch.views[0] for batch in run._source_pass()])
    assert len(every) == 12
    images = every[list(used)]
    trained = [weight for weight in backbone.parameters() if weight.requires_grad]
    total = torch.zeros(sum(weight.numel() for weight in trained))
    for image in images:
        log_p = backbone(image[None]).imagenet_logits.log_softmax(dim=1)[0]
        label = int(log_p.argmax())
        if estimator == "sampled":
            drawn = torch.rand(1, generator=generator).item()
            label = int(np.searchsorted(np.cumsum(log_p.detach().exp().numpy()), drawn))
        gradients = torch.autograd.grad(log_p[label], trained, materialize_grads=True)
        total += torch.cat([gradient.square().flatten() for gradient in gradients])
    torch.testing.assert_close(run.method.fisher_K, total / len(used), rtol=1e-3, atol=1e-9)


@pytest.mark.parametrize("method", ["csg", "gcisg"])
def test_the_papers_augmentation_is_randaugment(method, recipe_dict, tmp_path):
    views = {}
    for augment in ("paper", "randaugment", "none"):
        recipe_dict["data"] |= {"augment": augment}
        views[augment] = next(_Run(recipe_of(recipe_dict, method), tmp_path, CPU)._batches()).views
    for paper, published, plain in zip(*views.values(), strict=True):
        assert torch.equal(paper, published)
        assert not torch.equal(paper, plain)


def test_styles_are_borrowed_as_the_recipe_says(masked_recipe_dict, trees):
    given = {"styles": str(trees / "target"), "transfer": "moments", "beta": 0.2}
    masked_recipe_dict["method"] = {"name": "domain-randomization", **given}
    styles = Recipe.model_validate(masked_recipe_dict).build_method().styles()
    assert (styles.kind, styles.beta) == ("moments", 0.2)
    assert sorted(styles.files) == sorted((trees / "target").rglob("*.png"))


PUBLISHED = {
    "asg": {"weight": 0.1, "rates": "recipe", "window": 10, "policy_rate": 0.1},
    "ewc": {"weight": 1000, "samples": 256, "spread": True, "estimator": "sampled", "update": "proximal"},
    "si": {"c": 0.1, "xi": 1e-3, "update": "proximal"},
    "weight-l2": {"weight": 0.01, "update": "proximal"},
    "gcisg": {"weight": 1, "layers": ("layer3", "layer4")},
    "domain-randomization": {"beta": 0.01, "count": 3, "weight": 0.1, "layer": "layer4", "levels": (1, 2, 4, 8)},
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_defaults_are_these(name):
    """Papers' where methods.md knows them, else ours: whoever changes one changes what a recipe means."""
    given = {"styles": "photos"} if name == "domain-randomization" else {}
    found = dataclasses.asdict(METHODS[name].Config(**given))
    assert {field: found[field] for field in PUBLISHED[name]} == PUBLISHED[name]
