"""CSGLoss in a plain loop: equal to the method's own steps, whole after a restart, compiled the same."""

import copy
import dataclasses
import inspect

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torchvision.models import resnet18
from torchvision.models.feature_extraction import create_feature_extractor

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


def test_the_keys_of_accumulated_gradients_are_all_enqueued_and_those_without_gradients_not(backbone):
    """Parts of a batch, and a validation between them: the queue of the whole batch. The last part alone was kept."""
    whole, parts = (CSGLoss(backbone, LAYERS, **SMALL) for _ in range(2))
    (query, key), (other, held_out) = views(0, count=4), views(1)
    whole(backbone, backbone(query), key)
    for part in (slice(0, 2), slice(2, 4)):
        parts(backbone, backbone(query[part]), key[part]).backward()
        with torch.no_grad():
            parts(backbone, backbone(other), held_out)
    whole.after_step()
    parts.after_step()
    for name in LAYERS:
        one, joined = whole.contrast.queues[name], parts.contrast.queues[name]
        torch.testing.assert_close(one.keys_KD, joined.keys_KD)
        assert one.position == joined.position == 4


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
        (["high"], {}, r"layers: \['high'\]: None; give names and channels"),
        ({"high": 8.0}, {}, "layers: 'high': 8.0; give names and channels"),
        ({"high": -1}, {}, "layers: 'high': -1; give names and channels"),
        ({"net.high": 8}, {}, r"layers: 'net\.high' cannot name a submodule; name the map otherwise"),
        ({"keys": 8}, {}, "layers: 'keys' cannot name a submodule"),
        ({"training": 8}, {}, "layers: 'training' cannot name a submodule"),
        ({4: 8}, {}, "layers: 4 cannot name a submodule"),
        ({"4": 8}, {}, "no map '4'; the backbone gives low, high, logits"),
    ],
)
def test_mistakes_name_the_field(backbone, layers, fields, message):
    query, key = views(0)
    with pytest.raises(UserError, match=message):
        CSGLoss(backbone, layers, **fields)(backbone, backbone(query), key)


@pytest.mark.parametrize(("wrap", "kind"), [(list, "list"), (lambda maps: maps["high"], "Tensor")])
def test_maps_without_names_are_refused(backbone, wrap, kind):
    query, key = views(0)
    with pytest.raises(UserError, match=f"CSGLoss: the backbone gives a {kind}; let it give names and maps$"):
        CSGLoss(backbone, LAYERS, **SMALL)(backbone, wrap(backbone(query)), key)


class OneDictionary(TwoMaps):
    """Gives the same dictionary each time."""

    def __init__(self):
        super().__init__()
        self.maps = {}

    def forward(self, pictures):
        self.maps.update(super().forward(pictures))
        return self.maps


class Hooked(TwoMaps):
    """Hooks that hold the network itself: those of its copy write into it."""

    def __init__(self):
        super().__init__()
        self.maps = {}
        for name in LAYERS:
            hook = lambda _module, _inputs, output, name=name: self.maps.update({name: output})  # noqa: E731
            getattr(self, name).register_forward_hook(hook)

    def forward(self, pictures):
        super().forward(pictures)
        return self.maps


def test_a_backbone_that_gives_one_dictionary_is_trained_as_another(backbone):
    torch.manual_seed(0)
    twin = OneDictionary()
    plain, csg = CSGLoss(backbone, LAYERS, **SMALL), CSGLoss(twin, LAYERS, **SMALL)
    assert train(twin, csg, sgd(twin, csg), range(3)) == train(backbone, plain, sgd(backbone, plain), range(3))


@pytest.mark.parametrize(
    ("seen", "message"), [(False, "no map 'low'"), (True, "the teacher writes into the student's maps")]
)
def test_a_teacher_whose_hooks_hold_the_student_is_refused(seen, message):
    hooked, (query, key) = Hooked(), views(0)
    if seen:
        with torch.no_grad():
            hooked(query)
    csg = CSGLoss(hooked, LAYERS, **SMALL)
    with pytest.raises(UserError, match=message):
        csg(hooked, hooked(query), key)


def test_the_teacher_of_a_copy_is_frozen_too():
    """torch.fx makes a copy of what create_feature_extractor gives anew, in training mode."""
    torch.manual_seed(0)
    student = create_feature_extractor(resnet18(weights=None), {"layer4": "layer4"}).eval()
    csg = CSGLoss(student, {"layer4": 512}, **SMALL)
    twin, key = copy.deepcopy(csg), torch.rand(2, 3, 32, 32)
    statistics = twin.teacher.bn1.running_mean.clone()
    assert torch.equal(twin(student, student(key), key), csg(student, student(key), key))
    assert torch.equal(twin.teacher.bn1.running_mean, statistics)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_a_student_of_another_type_has_the_loss_of_its_maps_in_float32(backbone, dtype):
    student, (query, key) = copy.deepcopy(backbone).to(dtype), [view.to(dtype) for view in views(0)]
    csg = CSGLoss(student, LAYERS, **SMALL)
    maps, key_maps, taught = student(query), student(key), csg.teacher(key)
    loss = csg(student, maps, key)
    wide = ({name: given[name].float() for name in LAYERS} for given in (maps, key_maps, taught))
    assert loss.item() == pytest.approx(sum(term.item() for term in csg.contrast(*wide).values()), rel=1e-6)
    loss.backward()
    assert all(weight.grad.any() and weight.grad.dtype == dtype for weight in student.parameters())


def test_the_loss_of_maps_made_under_autocast_is_in_float32(backbone):
    csg, (query, key) = CSGLoss(backbone, LAYERS, **SMALL), views(0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        maps = backbone(query)
        within = csg(backbone, maps, key)
    assert maps["high"].dtype == torch.bfloat16
    assert within.dtype == torch.float32
    assert csg(backbone, maps, key).item() == pytest.approx(within.item(), rel=1e-2)  # the key's maps differ


def test_views_of_other_numbers_of_pictures_are_refused(backbone):
    query, key = views(0)
    with pytest.raises(UserError, match=rf"CSGLoss: {len(query)} pictures, and 1 in the other view; give two views"):
        CSGLoss(backbone, LAYERS, **SMALL)(backbone, backbone(query), key[:1])
