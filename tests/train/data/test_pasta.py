"""PASTA against NumPy's transform, its grids and its statistics; AugMix's draws; both through a recipe."""

import random

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2

from csg_train.data.views.augmix import augmix
from csg_train.data.views.pasta import Pasta, pasta, perturbation, spread
from csg_train.data.views.segmentation_views import segmentation_views
from csg_train.data.views.transforms import randaugment, training_view
from csg_train.errors import UserError
from csg_train.recipes.reading import parse_recipe

LINEAR = {"k": 1, "grid": "exact"}


def picture(height: int = 12, width: int = 9) -> np.ndarray:
    return np.random.default_rng(0).integers(60, 190, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    ("length", "exact", "released"),
    [
        (8, [0, 1, 2, 3, 4, 3, 2, 1], [0, 1, 2, 3, 3, 2, 1, 0]),
        (5, [0, 1, 2, 2, 1], [1, 2, 2, 1, 0]),
    ],
)
def test_the_grids_by_hand(length, exact, released):
    """Along one axis s = r / r_max for alpha = k = 1; the released grid has zero at the wrong place, or twice."""
    for grid, expected in (("exact", exact), ("released", released)):
        found = spread(1, length, Pasta(alpha=1, beta=0, k=1, grid=grid))[0]
        np.testing.assert_allclose(found, np.array(expected) / max(expected))


def test_the_spread_by_hand():
    """4 x 6: at the frequency (2, 3) r is largest; at (1, -2) it is sqrt(5) of sqrt(13)."""
    found = spread(4, 6, Pasta(alpha=3, beta=0.25, k=2, grid="exact"))
    assert found[0, 0] == 0.25
    assert found[2, 3] == pytest.approx(9.25)
    assert found[1, -2] == pytest.approx(9 * 5 / 13 + 0.25)
    np.testing.assert_allclose(found[1:], found[:0:-1])  # as far at -f as at f
    assert spread(1, 1, Pasta(alpha=10, beta=0.5, **LINEAR)).tolist() == [[0.5]]


def test_the_picture_by_numpy_amplitude_and_phase():
    """One colour at a time, amplitude and phase apart, as the paper has it."""
    image, settings = picture(), Pasta(alpha=3, beta=0.25, k=2, grid="exact")
    factors = perturbation(image.shape, settings, np.random.default_rng(5))
    found = pasta(image, settings, np.random.default_rng(5))
    for colour in range(3):
        spectrum = np.fft.fft2(image[..., colour].astype(float))
        changed = np.abs(spectrum) * factors[..., colour] * np.exp(1j * np.angle(spectrum))
        expected = np.clip(np.rint(np.fft.ifft2(changed).real), 0, 255)
        assert np.array_equal(found[..., colour], expected)
    assert not np.array_equal(found, image)


def test_no_noise_is_the_picture_and_a_constant_one_stays_without_beta():
    image = picture()
    assert np.array_equal(pasta(image, Pasta(alpha=0, beta=0, **LINEAR), np.random.default_rng(0)), image)
    grey = np.full((8, 6, 3), 77, dtype=np.uint8)
    assert np.array_equal(pasta(grey, Pasta(alpha=10, beta=0, **LINEAR), np.random.default_rng(0)), grey)
    assert not np.array_equal(pasta(grey, Pasta(alpha=0, beta=0.5, **LINEAR), np.random.default_rng(0)), grey)


def test_the_factors_have_mean_one_and_the_deviation_of_their_band():
    settings, rng = Pasta(alpha=3, beta=0.25, k=2, grid="exact"), np.random.default_rng(1)
    draws = np.stack([perturbation((4, 6, 3), settings, rng) for _ in range(4000)])
    s = spread(4, 6, settings)[..., None]
    assert (np.abs(draws.mean(axis=0) - 1) < 5 * s / np.sqrt(4000)).all()
    np.testing.assert_allclose(draws.std(axis=0), np.broadcast_to(s, (4, 6, 3)), rtol=0.07)
    colours = np.corrcoef((draws[..., 0].ravel() - 1), draws[..., 1].ravel() - 1)[0, 1]
    assert abs(colours) < 0.02  # each colour has draws of its own


def test_augmix_is_torchvision_s_and_leaves_the_global_generators(monkeypatch):
    """A GPU's too, from which a head with dropout draws: batches may be made in the process that trains."""
    monkeypatch.setattr(torch.cuda, "manual_seed_all", lambda seed: pytest.fail("seeds GPUs"))
    image = Image.fromarray(picture(20, 20))
    state = torch.get_rng_state()
    found = augmix(image, random.Random(3))
    assert torch.equal(torch.get_rng_state(), state)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(random.Random(3).getrandbits(63))
        expected = v2.AugMix(severity=3, mixture_width=3, chain_depth=-1, alpha=1.0, all_ops=False)(image)
    assert np.array_equal(np.array(found), np.array(expected))
    assert not np.array_equal(np.array(found), np.array(augmix(image, random.Random(4))))


def test_pasta_comes_before_randaugment_and_draws_nothing_where_it_is_not_asked_for():
    image = Image.fromarray(picture(40, 40))
    options = {"size": 32, "fit": "pad", "background": "plain"}
    none = Pasta(alpha=0, beta=0, **LINEAR)
    both = training_view(image, augment="pasta+randaugment", rng=random.Random(8), settings=none, **options)
    rng = random.Random(8)
    rng.getrandbits(63)  # PASTA's seed
    expected = training_view(randaugment(image, rng), augment="none", rng=rng, **options)
    assert torch.equal(both, expected)
    plain = training_view(image, augment="none", rng=random.Random(8), **options)
    assert torch.equal(training_view(image, augment="pasta", rng=random.Random(8), settings=none, **options), plain)


def test_masks_stay_under_their_pictures_and_each_view_has_noise_of_its_own():
    image, mask = Image.fromarray(picture(24, 24)), np.arange(24 * 24, dtype=np.uint8).reshape(24, 24)
    common = {"size": 24, "scale": (1.0, 1.0), "views": ("student", "styled1", "styled2")}
    common["views"] = ("student", "student2")
    (one, two), labels = segmentation_views(
        image, mask, rng=random.Random(2), settings=Pasta(alpha=10, beta=0.5, **LINEAR), **common
    )
    (plain, same), kept = segmentation_views(image, mask, rng=random.Random(2), **common)
    assert torch.equal(labels, kept)
    assert torch.equal(plain, same)
    assert not torch.equal(one, two)
    (first, _), _ = segmentation_views(
        image, mask, rng=random.Random(2), settings=Pasta(alpha=0, beta=0, **LINEAR), **common
    )
    assert torch.equal(first, plain)


def test_the_published_strengths_are_those_of_the_task(recipe_dict, masked_recipe_dict):
    def strength(recipe: dict, **data: object) -> dict:
        return parse_recipe(recipe | {"data": recipe["data"] | data}, origin="x").as_dict()["data"]["pasta"]

    assert strength(recipe_dict, augment="pasta") == {"alpha": 10.0, "beta": 0.5, "k": 1.0, "grid": "exact"}
    assert strength(masked_recipe_dict, augment="pasta") == {"alpha": 3.0, "beta": 0.25, "k": 2.0, "grid": "exact"}
    assert strength(masked_recipe_dict, augment="pasta", pasta={"k": 1, "grid": "released"})["alpha"] == 3.0
    assert strength(recipe_dict, augment="randaugment") is None


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"augment": "augmix"}, r"^x: data\.augment: augmix moves pixels away from their masks; use pasta or none$"),
        ({"augment": "pasta+randaugment"}, "moves pixels away"),
        ({"pasta": {"alpha": 3}}, r"data\.pasta: without use, since data\.augment is none; set that to pasta"),
        ({"augment": "pasta", "pasta": 3}, r"data\.pasta: it should be a section of keys"),
        ({"augment": "pasta", "pasta": {"k": 0}}, r"data\.pasta\.k"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(data, message, masked_recipe_dict):
    with pytest.raises(UserError, match=message):
        parse_recipe(masked_recipe_dict | {"data": masked_recipe_dict["data"] | data}, origin="x")


def test_training_views_have_the_noise_that_was_asked_for():
    image, settings = Image.fromarray(picture(40, 40)), Pasta(alpha=10, beta=0.5, k=1, grid="exact")
    found = training_view(
        image, size=40, fit="pad", augment="pasta", background="plain", rng=random.Random(8), settings=settings
    )
    noisy = pasta(np.array(image), settings, np.random.default_rng(random.Random(8).getrandbits(63)))
    assert np.array_equal(found.permute(1, 2, 0).numpy(), noisy)
