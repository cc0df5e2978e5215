"""CSG's pieces against hand-computed cases, direct float64 loops and closed forms."""

import math

import pytest
import torch
import torch.nn.functional as F

from csg_train.engine.loop import _Run
from csg_train.errors import UserError
from csg_train.methods.contrastive import Queue, attention, attention_pool, attention_stability, info_nce
from csg_train.recipes.sections import Recipe
from tests.train.methods.test_methods import CPU, recipe_of


def test_attention_of_a_2x2_map_by_hand():
    """v = (1,0), (1,2), (0,0), (2,2): mean (1,1), scores 1, 3, 0, 4 of 8; pooled (1+3+8, 6+8) / 8."""
    v = torch.tensor([[[[1.0, 1.0], [0.0, 2.0]], [[0.0, 2.0], [0.0, 2.0]]]])
    weights = attention(v)
    assert weights.tolist() == [[[1 / 8, 3 / 8], [0.0, 4 / 8]]]
    assert attention_pool(v, weights).tolist() == [[12 / 8, 14 / 8]]


def test_attention_of_a_zero_map_pools_to_zero_with_a_finite_gradient():
    v = torch.zeros(2, 3, 2, 2, requires_grad=True)
    pooled = attention_pool(v, attention(v))
    assert torch.equal(pooled, torch.zeros(2, 3))
    pooled.sum().backward()
    assert torch.isfinite(v.grad).all()


def test_attention_of_a_constant_map_is_average_pooling_and_scale_does_not_matter():
    v = torch.rand(2, 5, 1, 1, dtype=torch.float64).expand(2, 5, 3, 4)
    torch.testing.assert_close(attention(v), torch.full((2, 3, 4), 1 / 12, dtype=torch.float64))
    w = torch.rand(2, 5, 3, 4, dtype=torch.float64)
    for scale in (1e6, 1e-6):
        torch.testing.assert_close(attention(w * scale), attention(w))
        torch.testing.assert_close(attention_stability(w * scale), attention_stability(w))
    torch.testing.assert_close(attention(w).sum(dim=(1, 2)), torch.ones(2, dtype=torch.float64))


def signed(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(8))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_attention_of_16_bits_sums_to_1_where_its_products_pass_their_range(dtype):
    """2048 channels of ResNet-101: 49 positions' scores add up to more than 65,504."""
    weights = attention(torch.ones(2, 2048, 7, 7, dtype=dtype))
    assert weights.dtype == dtype
    torch.testing.assert_close(weights.double().sum(dim=(1, 2)), torch.ones(2, dtype=torch.float64), rtol=4e-3, atol=0)
    features = 4 * torch.rand(2, 2048, 7, 7, generator=torch.Generator().manual_seed(0))
    with torch.autocast("cpu", dtype=dtype):
        within = attention(features)
    assert torch.equal(within, attention(features))


def test_attention_of_a_signed_map_by_hand():
    """v = (3,0), (-1,0), (0,1), (2,3): mean (1,1), scores 3, -1, 1, 5 of 8; pooled (9+1+0+10, 0+0+1+15) / 8."""
    v = torch.tensor([[[[3.0, -1.0], [0.0, 2.0]], [[0.0, 0.0], [1.0, 3.0]]]], dtype=torch.float64)
    weights = attention(v)
    assert weights.tolist() == [[[3 / 8, -1 / 8], [1 / 8, 5 / 8]]]
    assert attention_pool(v, weights).tolist() == [[20 / 8, 16 / 8]]
    assert attention_stability(v).tolist() == [2 / (24 / 4)]


def test_signed_attention_sums_to_1_and_pools_to_the_second_moment_on_the_mean():
    """Apool(v) = S vbar / |vbar|^2 with S the mean of v v^T; its product with vbar lies in [1, 1 / rho] |vbar|^2."""
    v = signed(6, 5, 3, 4)
    mean = v.mean(dim=(2, 3))
    squared = mean.square().sum(dim=1)
    moment = torch.einsum("nchw,ndhw->ncd", v, v) / 12
    pooled = attention_pool(v, attention(v))
    torch.testing.assert_close(attention(v).sum(dim=(1, 2)), torch.ones(6, dtype=torch.float64))
    torch.testing.assert_close(pooled, torch.einsum("ncd,nd->nc", moment, mean) / squared[:, None])
    product, stability = (pooled * mean).sum(dim=1), attention_stability(v)
    assert bool((product >= squared * (1 - 1e-12)).all())
    assert bool((product <= squared / stability * (1 + 1e-12)).all())
    assert bool((attention(v) < 0).any())
    torch.testing.assert_close(attention_stability(-3 * v), stability)


def test_stability_is_1_of_a_constant_map_and_0_where_positions_cancel():
    constant = signed(2, 5, 1, 1).expand(2, 5, 3, 4)
    torch.testing.assert_close(attention_stability(constant), torch.ones(2, dtype=torch.float64))
    half = signed(2, 5, 3, 2)
    cancelling = torch.cat([half, -half], dim=3).requires_grad_(True)
    assert bool((attention_stability(cancelling) < 1e-30).all())
    assert attention_stability(torch.zeros(1, 5, 3, 4)).item() == 0
    opposite = torch.tensor([[[[1.0, -1.0]]]], requires_grad=True)
    pooled = attention_pool(opposite, attention(opposite))
    assert pooled.tolist() == [[0.0]]
    pooled.sum().backward()
    assert torch.isfinite(opposite.grad).all()
    non_negative = signed(4, 5, 3, 4).abs()
    assert bool((attention_stability(non_negative) >= 1 / 12).all())


def direct_info_nce(query, positive, negatives, temperature):
    total = 0.0
    for q, p in zip(query.tolist(), positive.tolist(), strict=True):

        def dot(a, b):
            return sum(x * y for x, y in zip(a, b, strict=True))

        pull = math.exp(dot(q, p) / temperature)
        push = sum(math.exp(dot(q, n) / temperature) for n in negatives.tolist())
        total += -math.log(pull / (pull + push))
    return total / len(query)


def unit(*shape: int, seed: int) -> torch.Tensor:
    return F.normalize(torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)), dim=1)


def test_info_nce_against_a_direct_loop_and_its_gradient():
    query, positive, negatives = unit(4, 6, seed=1), unit(4, 6, seed=2), unit(9, 6, seed=3)
    value = info_nce(query, positive, negatives, temperature=0.07)
    assert value.item() == pytest.approx(direct_info_nce(query, positive, negatives, 0.07), rel=1e-12)
    query.requires_grad_()
    assert torch.autograd.gradcheck(lambda q: info_nce(q, positive, negatives, temperature=0.5), query)


def test_info_nce_closed_forms():
    """K negatives equal to the positive: ln(K + 1). One opposite negative: ln(1 + exp(-2 / tau))."""
    q = unit(3, 4, seed=4)
    same = torch.cat([q[:1]] * 5)
    assert info_nce(q[:1], q[:1], same, temperature=0.07).item() == pytest.approx(math.log(6))
    assert info_nce(q[:1], q[:1], -q[:1], temperature=0.5).item() == pytest.approx(math.log1p(math.exp(-4)))


def test_queue_wraps_around_when_the_size_is_no_multiple_of_the_batch():
    queue = Queue(5, 1, torch.Generator().manual_seed(0))
    for first in (0.0, 3.0, 6.0):
        queue.push(torch.arange(first, first + 3)[:, None])
    assert queue.keys_KD[:, 0].tolist() == [5.0, 6.0, 7.0, 8.0, 4.0]
    assert queue.position.item() == 4


def test_queue_starts_with_unit_vectors_and_keeps_the_newest_of_a_large_batch():
    queue = Queue(4096, 8, torch.Generator().manual_seed(0))
    torch.testing.assert_close(queue.keys_KD.norm(dim=1), torch.ones(4096))
    assert queue.keys_KD.mean(dim=0).abs().max() < 0.05  # of all directions


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: attention(torch.ones(2, 3, 4)), r"of shape \(2, 3, 4\); give maps"),
        (lambda: attention_pool(torch.ones(2, 3, 4, 5), torch.ones(1, 4, 5)), r"weights \(1, 4, 5\)"),
        (lambda: info_nce(torch.ones(2, 3), torch.ones(1, 3), torch.ones(5, 3), temperature=1), r"\(1, 3\)"),
        (lambda: info_nce(torch.ones(2, 3), torch.ones(2, 3), torch.ones(5, 1), temperature=1), r"\(5, 1\)"),
        (lambda: info_nce(torch.ones(2, 3), torch.ones(2, 3), torch.ones(5, 3), temperature=0), "temperature=0; give"),
        (
            lambda: info_nce(torch.ones(2, 3), torch.ones(2, 3), torch.ones(5, 3).double(), temperature=1),
            r"rows of torch\.float32 and torch\.float64; give one type",
        ),
        (lambda: Queue(0, 3), "a queue of 0 keys of 3 numbers"),
        (lambda: Queue(4, 3).push(torch.ones(2, 1)), r"keys \(2, 1\) for a queue of \(4, 3\)"),
    ],
)
def test_shapes_that_would_broadcast_to_another_number_are_refused(call, message):
    with pytest.raises(UserError, match=message):
        call()


def test_average_of_the_heads_after_n_steps_in_closed_form(recipe_dict, tmp_path):
    """Heads set to a constant: average = m^n start + (1 - m^n) constant."""
    run = _Run(recipe_of(recipe_dict, "csg"), tmp_path, CPU)
    method, momentum, steps = run.method, 0.9, 4
    start = [weight.clone() for weight in method.teacher_heads.parameters()]
    for weight in method.heads.parameters():
        weight.data.fill_(0.25)
    for _ in range(steps):
        method.after_step(run.network)
    for now, before in zip(method.teacher_heads.parameters(), start, strict=True):
        torch.testing.assert_close(now, momentum**steps * before + (1 - momentum**steps) * 0.25)
        alone = before.clone()
        for _ in range(steps):
            alone.lerp_(torch.full_like(alone, 0.25), 1 - momentum)
        assert torch.equal(now, alone)  # all heads at once, as each alone


def test_first_step_loss_from_its_definition(recipe_dict, tmp_path):
    """At the start student and teacher are equal, so the term follows from the parts by the equation."""
    recipe_dict["method"] = {"name": "csg", "queue_size": 7, "dim": 4, "weight": 0.5, "temperature": 1}
    run = _Run(Recipe.model_validate(recipe_dict), tmp_path, CPU)
    batch = next(run._batches())
    run.network.set_training(batch_norm="frozen")
    terms = run.method.loss(run.network, batch, run.network(batch.views[0]))
    for layer in ("layer3", "layer4"):
        keys = [run.network.backbone(view).stages[layer] for view in batch.views]
        z = [F.normalize(run.method.heads[layer](attention_pool(v, attention(v))), dim=1).double() for v in keys]
        negatives = run.method.queues[layer].keys_KD.double()
        expected = 0.5 * direct_info_nce(z[0], z[1], negatives, 1)
        assert terms[f"nce_{layer}"].item() == pytest.approx(expected, rel=1e-4)


def test_no_gradient_reaches_the_teacher_side_or_comes_through_the_key_view(recipe_dict, tmp_path):
    run = _Run(recipe_of(recipe_dict, "csg"), tmp_path, CPU)
    batch = next(run._batches())
    output = run.network(batch.views[0])
    sum(run.method.loss(run.network, batch, output).values()).backward()
    assert all(weight.grad is None for weight in run.method.teacher_heads.parameters())
    assert all(weight.grad is None for weight in run.method._teacher[0].parameters())
    assert all(weight.grad is not None for weight in run.method.heads.parameters())
    assert all(weight.grad is None for weight in run.network.head.parameters())


def test_average_pool_ignores_attention(recipe_dict, tmp_path):
    recipe_dict["method"] = {"name": "csg", "queue_size": 8, "pool": "average"}
    run = _Run(Recipe.model_validate(recipe_dict), tmp_path, CPU)
    v, other = torch.rand(2, 3, 4, 4), torch.rand(2, 3, 4, 4)
    torch.testing.assert_close(run.method._contrast[0]._pool(v, other), v.mean(dim=(2, 3)))


def test_an_unknown_layer_is_named_with_the_allowed_ones(recipe_dict, tmp_path):
    recipe_dict["method"] = {"name": "csg", "layers": ["layer4", "layer9"]}
    with pytest.raises(UserError, match=r"method\.layers: layer9 not in this backbone; allowed: layer1, layer2"):
        _Run(Recipe.model_validate(recipe_dict), tmp_path, CPU)


def test_more_keys_than_the_queue_holds_leave_the_newest():
    queue = Queue(3, 1, torch.Generator().manual_seed(0))
    queue.push(torch.arange(1.0)[:, None])
    queue.push(torch.arange(10.0, 18.0)[:, None])
    assert sorted(queue.keys_KD[:, 0].tolist()) == [15, 16, 17]
    queue.push(torch.tensor([[99.0]]))
    assert sorted(queue.keys_KD[:, 0].tolist()) == [16, 17, 99]


def test_a_fixed_head_stays_at_its_start_and_passes_gradients_on(recipe_dict, tmp_path):
    """The released code for segmentation: no optimiser has the projection heads, so their average rests too."""
    recipe_dict["method"] = {"name": "csg", "queue_size": 8, "head": "fixed", "dim": 4}
    run = _Run(Recipe.model_validate(recipe_dict), tmp_path, CPU)
    trained = _Run(
        Recipe.model_validate(recipe_dict | {"method": recipe_dict["method"] | {"head": "mlp"}}), tmp_path, CPU
    )
    start = {name: value.clone() for name, value in trained.method.state_dict().items()}
    assert all(torch.equal(value, start[name]) for name, value in run.method.state_dict().items())
    batch = next(run._batches())
    terms = run.method.loss(run.network, batch, run.network(batch.views[0]))
    sum(terms.values()).backward()
    assert run.network.backbone.net.layer3[0].conv1.weight.grad.abs().sum() > 0
    before = run.network.backbone.net.layer3[0].conv1.weight.clone()
    run.optimizer.step()
    run.method.after_step(run.network)
    for name, value in run.method.state_dict().items():
        if "heads" in name:
            assert torch.equal(value, start[name]), name
    assert not torch.equal(run.network.backbone.net.layer3[0].conv1.weight, before)


@pytest.mark.parametrize("pool", ["attention", "average"])
def test_without_a_head_the_pooled_features_themselves_are_compared(recipe_dict, tmp_path, pool):
    recipe_dict["method"] = {"name": "csg", "queue_size": 8, "head": "none", "pool": pool, "temperature": 1}
    run = _Run(Recipe.model_validate(recipe_dict), tmp_path, CPU)
    assert not list(run.method.parameters())
    batch = next(run._batches())
    run.network.set_training(batch_norm="frozen")
    terms = run.method.loss(run.network, batch, run.network(batch.views[0]))
    for layer, width in (("layer3", 32), ("layer4", 64)):
        maps = [run.network.backbone(view).stages[layer] for view in batch.views]
        pooled = [attention_pool(v, attention(v)) if pool == "attention" else v.mean(dim=(2, 3)) for v in maps]
        z = [F.normalize(value, dim=1).double() for value in pooled]
        negatives = run.method.queues[layer].keys_KD.double()
        assert negatives.shape == (8, width)
        expected = 0.1 * direct_info_nce(z[0], z[1], negatives, 1)
        assert terms[f"nce_{layer}"].item() == pytest.approx(expected, rel=1e-4)


def test_csg_with_asg_adds_the_weighted_divergence_on_the_students_view(recipe_dict, tmp_path):
    recipe_dict["method"] = {"name": "csg", "queue_size": 8, "asg_weight": 0.3}
    run = _Run(Recipe.model_validate(recipe_dict), tmp_path, CPU)
    batch = next(run._batches())
    run.network.set_training(batch_norm="frozen")
    with torch.no_grad():
        for weight in run.network.backbone.net.layer4.parameters():
            weight.mul_(1.2)
        output = run.network(batch.views[0])
        p = run.method.teacher(batch.views[0]).imagenet_logits.double().softmax(dim=1)
        q = output.imagenet_logits.double().softmax(dim=1)
        terms = run.method.loss(run.network, batch, output)
    assert terms["asg_kl"].item() == pytest.approx(0.3 * (p * (p / q).log()).sum(dim=1).mean().item(), rel=1e-4)
    assert terms["asg_kl"] > 0
