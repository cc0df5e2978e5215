"""CSGLoss in a plain loop: equal to the method's own steps, whole after a restart, compiled the same."""

import copy
import dataclasses
import inspect

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from csg_train.engine.loop import _Run
from csg_train.errors import UserError
from csg_train.methods.csg import CSGConfig
from csg_train.methods.csg_loss import CSGLoss
from tests.nested import equal
from tests.train.methods.test_methods import CPU, recipe_of

LAYERS = {"low": 6, "high": 8}
SMALL = {"queue_size": 5, "dim": 4, "momentum": 0.9, "temperature": 0.5}


class TwoMaps(nn.Module):
    """Any network of the user's that gives a mapping."""

    def __init__(self):
        super().__init__()
        self.low, self.high = nn.Conv2d(3, 6, 3, stride=2), nn.Conv2d(6, 8, 3, stride=2)

    def forward(self, pictures):
        low = self.low(pictures).relu()
        return {"low": low, "high": self.high(low).relu(), "logits": low.mean(dim=(2, 3))}


@pytest.fixture
def backbone():
    torch.manual_seed(0)
    return TwoMaps()


def views(step: int, count: int = 3) -> list[torch.Tensor]:
    return list(torch.rand(2, count, 3, 16, 16, generator=torch.Generator().manual_seed(step)))


def train(backbone, csg, optimizer, steps, compiled=False) -> list[float]:
    def loss_of(query, key):
        return csg(backbone, backbone(query), key)

    if compiled:  # without code generation, which needs a compiler; fullgraph refuses any part that is left out
        loss_of = torch.compile(loss_of, backend="aot_eager", fullgraph=True)
    losses = []
    for step in steps:
        loss = loss_of(*views(step))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        csg.after_step()
        losses.append(loss.item())
    return losses


def sgd(*modules: nn.Module) -> torch.optim.SGD:
    return torch.optim.SGD([w for module in modules for w in module.parameters()], lr=0.1, momentum=0.9)


@pytest.mark.parametrize("case", ["csg", "csg-no-head", "csg-dense"])
def test_it_is_the_method_step_by_step(case, recipe_dict, masked_recipe_dict, tmp_path):
    """The real run beside a plain loop over its batches: the same terms, heads, averages and queues, bit for bit."""
    recipe = recipe_of(masked_recipe_dict if case == "csg-dense" else recipe_dict, case)
    run = _Run(recipe, tmp_path, CPU)
    config = run.method.config
    backbone = copy.deepcopy(run.network.backbone).eval()
    fields = {"temperature", "pool", "patches", "queue_size", "head", "dim", "momentum"}
    csg = CSGLoss(
        backbone,
        {name: backbone.widths[name] for name in config.layers},
        seed=recipe.seed,
        **{name: getattr(config, name) for name in fields},
    )
    for batch, _ in zip(run._batches(), range(3), strict=False):
        run._train_step(batch.to(CPU))
        logged = sum(run.unlogged[-1][f"nce_{name}"] for name in config.layers)
        loss = csg(backbone, backbone(batch.views[0]).stages, batch.views[1])
        assert config.weight * loss.item() == pytest.approx(float(logged), rel=1e-5)
        backbone.load_state_dict(run.network.backbone.state_dict())  # the run's step, with its cross-entropy
        csg.contrast.heads.load_state_dict(run.method.heads.state_dict())
        csg.after_step()
        assert equal(dict(csg.contrast.state_dict()), dict(run.method.state_dict()))


def test_the_defaults_are_the_methods():
    parameters = inspect.signature(CSGLoss).parameters.values()
    own = {one.name: one.default for one in parameters if one.kind is one.KEYWORD_ONLY and one.name != "seed"}
    theirs = {field.name: field.default for field in dataclasses.fields(CSGConfig)}
    assert own == {name: theirs[name] for name in own}


def test_the_teacher_stays_what_the_backbone_was(backbone):
    csg = CSGLoss(backbone.train(), LAYERS, **SMALL)
    before = copy.deepcopy(csg.teacher.state_dict())
    for _ in range(2):
        assert not any(module.training for module in csg.teacher.modules())
        csg.train()
    train(backbone, csg, sgd(backbone, csg), range(2))
    assert equal(dict(csg.teacher.state_dict()), dict(before))
    assert not equal(dict(backbone.state_dict()), dict(before))


def test_a_seed_draws_the_heads_and_the_queues(backbone):
    one, two = (CSGLoss(backbone, LAYERS, **SMALL, seed=seed).state_dict() for seed in (0, 1))
    drawn = [name for name in one if name.endswith(("keys_KD", "0.weight", "2.weight"))]
    assert len(drawn) > 4
    assert not any(torch.equal(one[name], two[name]) for name in drawn)


def test_the_value_from_its_definition(backbone):
    """Student and teacher are equal at the start: the terms follow from the maps alone."""
    csg = CSGLoss(backbone, LAYERS, head="none", pool="average", queue_size=4, temperature=0.5)
    query, key = views(0)
    expected = 0.0
    for name in LAYERS:
        z, positive = (F.normalize(backbone(view)[name].mean(dim=(2, 3)), dim=1).double() for view in (query, key))
        logits = torch.cat([(z * positive).sum(1, keepdim=True), z @ csg.contrast.queues[name].keys_KD.double().T], 1)
        expected += F.cross_entropy(logits / 0.5, torch.zeros(3, dtype=torch.int64)).item()
    assert csg(backbone, backbone(query), key).item() == pytest.approx(expected, rel=1e-5)


def test_a_restart_from_state_dicts_goes_on_bit_for_bit(backbone):
    csg = CSGLoss(backbone, LAYERS, **SMALL)
    optimizer = sgd(backbone, csg)
    whole = train(backbone, csg, optimizer, range(2))
    saved = copy.deepcopy([backbone.state_dict(), csg.state_dict(), optimizer.state_dict()])
    whole += train(backbone, csg, optimizer, range(2, 4))
    again = TwoMaps()
    fresh = CSGLoss(again, LAYERS, **SMALL, seed=5)
    continued = sgd(again, fresh)
    for part, state in zip((again, fresh, continued), saved, strict=True):
        part.load_state_dict(state)
    assert train(again, fresh, continued, range(2, 4)) == whole[2:]
    assert equal(dict(fresh.state_dict()), dict(csg.state_dict()))


def test_compiled_it_is_one_graph_with_the_same_numbers(backbone):
    twin = copy.deepcopy(backbone)
    plain, csg = CSGLoss(backbone, LAYERS, **SMALL), CSGLoss(twin, LAYERS, **SMALL)
    expected = train(backbone, plain, sgd(backbone, plain), range(3))
    assert train(twin, csg, sgd(twin, csg), range(3), compiled=True) == pytest.approx(expected, rel=1e-5)
    for name in LAYERS:
        torch.testing.assert_close(csg.contrast.queues[name].keys_KD, plain.contrast.queues[name].keys_KD)


@pytest.mark.parametrize(
    ("layers", "fields", "message"),
    [
        ({}, {}, r"CSGLoss: layers=\(\)"),
        (LAYERS, {"queue_size": 0}, "CSGLoss: queue_size=0"),
        (LAYERS, {"pool": "max"}, "CSGLoss: pool='max'"),
        ({"layer4": 8}, {}, "no map 'layer4'; the backbone gives low, high, logits"),
        ({"high": 9}, {}, r"high is \(3, 8, 3, 3\), not \(N, 9, H, W\)"),
        ({"logits": 6}, {}, r"logits is \(3, 6\), not"),
    ],
)
def test_mistakes_name_the_field(backbone, layers, fields, message):
    query, key = views(0)
    with pytest.raises(UserError, match=message):
        CSGLoss(backbone, layers, **fields)(backbone, backbone(query), key)


def test_views_of_other_numbers_of_pictures_are_refused(backbone):
    query, key = views(0)
    with pytest.raises(UserError, match=rf"CSGLoss: {len(query)} pictures, and 1 in the other view; give two views"):
        CSGLoss(backbone, LAYERS, **SMALL)(backbone, backbone(query), key[:1])
