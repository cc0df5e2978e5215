"""Losses on maps (patches, pixels, pyramid) against direct loops, closed forms and hand-computed cases."""

import math

import pytest
import torch
import torch.nn.functional as F

from csg_train.errors import UserError
from csg_train.methods.contrastive import attention, attention_pool, info_nce
from csg_train.methods.patches import patch_pool, patches
from csg_train.methods.pixels import pixel_cross_entropy
from csg_train.methods.pyramid import pyramid_consistency


def maps(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_patches_of_a_4x6_map_by_hand():
    """Row r, column c holds 10 r + c; two pictures, the second 100 more; 2 x 2 patches of 2 x 3."""
    one = torch.tensor([[10 * r + c for c in range(6)] for r in range(4)])
    found = patches(torch.stack([one, one + 100])[:, None], 2)
    assert found.shape == (8, 1, 2, 3)
    assert found[0, 0].tolist() == [[0, 1, 2], [10, 11, 12]]
    assert found[1, 0].tolist() == [[3, 4, 5], [13, 14, 15]]
    assert found[2, 0].tolist() == [[20, 21, 22], [30, 31, 32]]
    assert found[3, 0].tolist() == [[23, 24, 25], [33, 34, 35]]
    assert torch.equal(found[4:], found[:4] + 100)


def test_patches_keep_channels_whatever_the_memory_format():
    v = maps(2, 3, 8, 8)
    expected = [v[n, :, 2 * r : 2 * r + 2, 2 * c : 2 * c + 2] for n in range(2) for r in range(4) for c in range(4)]
    assert torch.equal(patches(v, 4), torch.stack(expected))
    assert torch.equal(patches(v.contiguous(memory_format=torch.channels_last), 4), torch.stack(expected))


def test_a_map_that_does_not_divide_is_refused_with_its_size():
    with pytest.raises(UserError, match=r"8 x 8 patches: a map of 64 x 65 positions"):
        patches(torch.zeros(1, 1, 64, 65), 8)


def direct_dense_nce(query, key, attended, negatives, k, temperature):
    """Eq 6 with plain loops: pool each patch, normalise, exponentiate."""

    def pooled(v_CHW, a_CHW):
        c, h, w = v_CHW.shape
        mean = [sum(a_CHW[i, y, x] for y in range(h) for x in range(w)) / (h * w) for i in range(c)]
        score = {(y, x): sum(a_CHW[i, y, x] * mean[i] for i in range(c)) for y in range(h) for x in range(w)}
        total = sum(score.values())
        vector = [sum(score[y, x] / total * v_CHW[i, y, x] for y, x in score) for i in range(c)]
        length = math.sqrt(sum(value * value for value in vector))
        return [float(value / length) for value in vector]

    def dot(a, b):
        return sum(x * y for x, y in zip(a, b, strict=True))

    n, _, height, width = query.shape
    h, w, terms = height // k, width // k, []
    for i in range(n):
        for y in range(0, height, h):
            for x in range(0, width, w):
                part = (i, slice(None), slice(y, y + h), slice(x, x + w))
                z, positive = pooled(query[part], query[part]), pooled(key[part], attended[part])
                pull = math.exp(dot(z, positive) / temperature)
                push = sum(math.exp(dot(z, row) / temperature) for row in negatives.tolist())
                terms.append(-math.log(pull / (pull + push)))
    return sum(terms) / len(terms)


def dense_nce(query, key, attended, negatives, k, temperature=0.07):
    z = F.normalize(patch_pool(query, query, k), dim=1)
    positive = F.normalize(patch_pool(key, attended, k), dim=1)
    return info_nce(z, positive, negatives, temperature=temperature)


@pytest.mark.parametrize("k", [1, 2, 4])
def test_dense_contrast_against_a_direct_loop(k):
    query, key, attended = maps(2, 3, 4, 8, seed=1), maps(2, 3, 4, 8, seed=2), maps(2, 3, 4, 8, seed=3)
    negatives = F.normalize(maps(5, 3, seed=4), dim=1)
    value = dense_nce(query, key, attended, negatives, k)
    assert value.item() == pytest.approx(direct_dense_nce(query, key, attended, negatives, k, 0.07), rel=1e-12)


def test_one_patch_is_the_classification_loss():
    v, attended = maps(3, 4, 6, 6, seed=1), maps(3, 4, 6, 6, seed=2)
    assert torch.equal(patch_pool(v, attended, 1), attention_pool(v, attention(attended)))


def test_patches_of_one_position_are_the_map_itself():
    v = maps(2, 3, 4, 4)
    torch.testing.assert_close(patch_pool(v, v, 4), v.permute(0, 2, 3, 1).reshape(32, 3))


def test_same_flip_of_both_views_changes_nothing_and_of_one_view_does():
    """The student's patch meets the teacher's of the same place, so both may move together, never alone."""
    query, key, negatives = maps(2, 3, 8, 8, seed=1), maps(2, 3, 8, 8, seed=2), F.normalize(maps(5, 3, seed=3), dim=1)
    value = dense_nce(query, key, key, negatives, 4)
    flipped = dense_nce(query.flip(3), key.flip(3), key.flip(3), negatives, 4)
    torch.testing.assert_close(flipped, value)
    alone = dense_nce(query.flip(3), key, key, negatives, 4)
    assert abs(alone - value) > 1e-3
    order = torch.arange(2 * 16).view(2, 4, 4).flip(2).flatten()
    torch.testing.assert_close(patch_pool(query.flip(3), query.flip(3), 4), patch_pool(query, query, 4)[order])


def test_patches_of_a_crop_are_those_of_the_whole_at_its_place():
    """A crop that starts at a patch's border: rows 2.., columns 4.. of an 8 x 8 map in 4 x 4 patches of 2 x 2."""
    v = maps(1, 3, 8, 8)
    whole = patch_pool(v, v, 4).view(4, 4, 3)
    crop = v[:, :, 2:6, 4:8]
    torch.testing.assert_close(patch_pool(crop, crop, 2).view(2, 2, 3), whole[1:3, 2:4])


def test_pixel_cross_entropy_equals_the_librarys_with_its_gradient():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 5, 4, 3, dtype=torch.float64, generator=generator, requires_grad=True)
    labels = torch.randint(0, 5, (2, 4, 3), generator=generator)
    labels[0, :2] = labels[1, 3, 2] = 255
    ours, theirs = pixel_cross_entropy(logits, labels), F.cross_entropy(logits, labels, ignore_index=255)
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(*(torch.autograd.grad(loss, logits)[0] for loss in (ours, theirs)))


def test_pixel_cross_entropy_closed_form_and_one_ignored_picture():
    """Equal logits of C classes: ln C. A picture that is ignored throughout has no part and no gradient."""
    logits = torch.zeros(2, 19, 3, 3, dtype=torch.float64, requires_grad=True)
    labels = torch.full((2, 3, 3), 7)
    labels[1] = 255
    loss = pixel_cross_entropy(logits, labels)
    assert loss.item() == pytest.approx(math.log(19))
    loss.backward()
    assert not logits.grad[1].any()
    assert logits.grad[0, 7, 0, 0].item() == pytest.approx((1 / 19 - 1) / 9)


def test_ignored_pixels_with_infinite_logits_leave_a_finite_loss_and_gradient():
    logits = torch.zeros(1, 2, 1, 2)
    logits[0, 1, 0, 1] = -math.inf
    logits.requires_grad_()
    loss = pixel_cross_entropy(logits, torch.tensor([[[1, 255]]]))
    assert loss.item() == pytest.approx(math.log(2))
    loss.backward()
    assert torch.isfinite(logits.grad).all()


def test_a_batch_whose_every_pixel_is_ignored_teaches_nothing():
    logits = torch.zeros(2, 3, 4, 4, requires_grad=True)
    loss = pixel_cross_entropy(logits, torch.full((2, 4, 4), 255))
    loss.backward()
    assert loss.item() == 0
    assert not logits.grad.any()


def test_pyramid_of_a_2x2_map_by_hand():
    """Styles [[1, -1], [2, -2]] and 0. Level 1: means 0 and 0. Level 2: half of each entry, (1 + 1 + 2 + 2) / 8."""
    v = torch.tensor([[[[[1.0, -1.0], [2.0, -2.0]]]], [[[[0.0, 0.0], [0.0, 0.0]]]]])
    assert pyramid_consistency(v, levels=(1,)).item() == 0
    assert pyramid_consistency(v, levels=(2,)).item() == 6 / 8
    assert pyramid_consistency(v, levels=(1, 2)).item() == 3 / 8


def test_pyramid_of_equal_styles_is_zero_and_of_a_shift_is_the_mean_deviation():
    """Styles v, v + 1, v + 5 deviate by 2, 1 and 3 at every level, whatever v is."""
    v = maps(2, 3, 8, 8)
    assert pyramid_consistency(v.expand(3, 2, 3, 8, 8)).item() == pytest.approx(0, abs=1e-15)
    assert pyramid_consistency(torch.stack([v, v + 1, v + 5])).item() == pytest.approx(2)


def test_pyramid_against_adaptive_pooling_in_a_loop_and_invariance_to_the_order_of_styles():
    v = maps(4, 2, 3, 8, 16, seed=1)
    total = 0.0
    for p in (1, 2, 4, 8):
        pooled = [F.adaptive_avg_pool2d(style, p) for style in v]
        mean = sum(pooled) / 4
        total += sum(float((one - mean).abs().mean()) for one in pooled) / 4
    assert pyramid_consistency(v).item() == pytest.approx(total / 4, rel=1e-12)
    torch.testing.assert_close(pyramid_consistency(v[[2, 0, 3, 1]]), pyramid_consistency(v))


def test_pyramid_is_differentiable():
    v = maps(2, 1, 2, 4, 4).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: pyramid_consistency(x, levels=(1, 2)), v)
