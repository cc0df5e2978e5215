"""Accuracy against scikit-learn, the bootstrap against its exact variance, the schedule and order of samples."""

import collections
import dataclasses
import functools
import math
import types

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.metrics import balanced_accuracy_score
from sklearn.metrics import confusion_matrix as sklearn_confusion

from csg_train.data.loaders import loader
from csg_train.data.loaders.batch import Batch
from csg_train.data.loaders.loader import Key, balanced_order, step_keys, training_batches, uniform_order
from csg_train.data.readers.images import image_folder
from csg_train.engine.loop import learning_rate_factor
from csg_train.errors import UserError
from csg_train.evaluate.accuracy import (
    Predictions,
    accuracy_record,
    bootstrap_mean_per_class,
    by_true_class,
    confusion_matrix,
    mean_scores,
    predict,
)
from csg_train.evaluate.scores import mean_per_class
from csg_train.evaluate.unlabelled import unlabelled_record
from csg_train.recipes.pictures import load_split
from csg_train.recipes.sections import Recipe, Train
from csg_train.recipes.shown import shown_batches
from csg_train.runs.checkpoint import load_checkpoint
from tests.train.methods.test_methods import CPU, run


def test_confusion_and_mean_per_class_equal_scikit_learn():
    rng = np.random.default_rng(0)
    labels, predicted = rng.integers(0, 5, 200), rng.integers(0, 5, 200)
    ours = confusion_matrix(Predictions(torch.from_numpy(predicted), torch.from_numpy(labels)), 5)
    np.testing.assert_array_equal(ours, sklearn_confusion(labels, predicted))
    assert mean_per_class(ours) == pytest.approx(balanced_accuracy_score(labels, predicted))


def test_single_predictions_stand_below_their_true_class_in_file_order():
    predictions = Predictions(torch.tensor([1, 0, 2, 1, 11]), torch.tensor([0, 2, 0, 2, 0]))
    assert by_true_class(predictions, 12) == ["1 2 11", "", "0 1", *[""] * 9]


def test_mean_per_class_leaves_out_a_class_without_pictures():
    assert mean_per_class(np.array([[3, 1, 0], [0, 0, 0], [1, 0, 1]])) == pytest.approx((0.75 + 0.5) / 2)


def test_bootstrap_width_follows_from_the_binomial_variance():
    confusion = np.array([[300, 100], [80, 320]])
    assert bootstrap_mean_per_class(np.eye(3, dtype=np.int64), seed=1) is None, (
        "each resample is the pictures themselves"
    )
    interval = bootstrap_mean_per_class(confusion, seed=1, resamples=20_000)
    sigma = np.sqrt(0.75 * 0.25 / 400 + 0.8 * 0.2 / 400) / 2
    assert interval.low == pytest.approx(0.775 - 1.96 * sigma, abs=2e-3)
    assert interval.high == pytest.approx(0.775 + 1.96 * sigma, abs=2e-3)


@pytest.mark.parametrize(
    "confusion", [[[70, 30, 0], [30, 70, 0], [0, 0, 1]], [[20, 0], [0, 30]], [[1, 0], [0, 1]], [[0]]]
)
def test_no_interval_where_resamples_say_nothing(confusion):
    """With ten classes of one picture beside two of 100 the 95 % held the true accuracy in 27 % of simulated cases."""
    assert bootstrap_mean_per_class(np.array(confusion), seed=0) is None


def test_bootstrap_of_a_thousand_classes():
    """Whole rows were drawn, 2000 matrices at once: 32 GB, after a run had been trained."""
    confusion = 3 * np.eye(1000, dtype=np.int64) + np.roll(np.eye(1000, dtype=np.int64), 1, axis=1)
    interval = bootstrap_mean_per_class(confusion, seed=0)
    sigma = np.sqrt(0.75 * 0.25 / 4 / 1000)
    assert interval.low == pytest.approx(0.75 - 1.96 * sigma, abs=1e-3)
    assert interval.high == pytest.approx(0.75 + 1.96 * sigma, abs=1e-3)


def test_a_resample_has_as_many_pictures_of_each_class_as_the_split():
    confusion = np.array([[1, 1], [0, 0]])
    assert {bootstrap_mean_per_class(confusion, seed=seed, resamples=1).low for seed in range(40)} == {0, 1 / 2, 1}


def test_learning_rate_at_named_steps():
    train = Train(steps=1000, warmup=100, power=0.9)
    assert learning_rate_factor(0, train) == pytest.approx(0.01)
    assert learning_rate_factor(50, train) == pytest.approx((0.01 + 0.99 / 4) * 0.95**0.9)
    assert learning_rate_factor(100, train) == pytest.approx(0.9**0.9)
    assert learning_rate_factor(999, train) == pytest.approx(0.001**0.9)


def test_the_decay_stands_still_where_it_is_told_to_and_by_default_never():
    """ASG's public code: 1 - min(it / max_it, 0.8), to the power of 0.9."""
    usual, stops = (Train(steps=1000, warmup=100, power=0.9, decay_until=until) for until in (1.0, 0.8))
    factors = [learning_rate_factor(step, stops) for step in range(1000)]
    assert factors[:801] == [learning_rate_factor(step, usual) for step in range(801)]
    assert factors[799] == pytest.approx(0.201**0.9)
    assert factors[800] == pytest.approx(0.2**0.9) == pytest.approx(0.235, abs=5e-4)
    assert set(factors[800:]) == {factors[800]}
    warm = [min(0.01 + 0.99 * (step / 100) ** 2, 1.0) for step in range(1000)]
    before = [warm[step] * (1 - step / 1000) ** 0.9 for step in range(1000)]
    assert [learning_rate_factor(step, Train(steps=1000, warmup=100, power=0.9)) for step in range(1000)] == before


def test_every_epoch_uses_every_picture_once_and_a_later_start_gives_the_same_keys(trees):
    images = image_folder(trees / "source", name="s")

    def order(epoch: int) -> list[Key]:
        return uniform_order(images, 0, epoch)

    keys = list(step_keys(order, 5, start=0, stop=12))
    flat = [key for step in keys for key in step]
    assert collections.Counter(flat) == {(epoch, i): 1 for epoch in range(5) for i in range(12)}
    assert list(step_keys(order, 5, start=7, stop=12)) == keys[7:]


def test_balanced_order_draws_every_class_equally_often(trees):
    images = image_folder(trees / "source", name="s")
    drawn = collections.Counter(images.labels[i] for epoch in range(3) for _, i in balanced_order(images, 0, epoch))
    assert drawn == {0: 12, 1: 12, 2: 12}


def test_a_small_class_is_seen_anew_each_time_it_is_drawn(trees):
    """Its pictures come again within an epoch; they came with the same crop, and as negatives of themselves."""
    images = image_folder(trees / "source", name="s")
    uneven = dataclasses.replace(images.part([0, 4, 5, 6, 7, 8, 9, 10, 11]), classes=("bus", "car", "truck", "none"))
    steps = step_keys(functools.partial(balanced_order, uneven, 0), 6, start=0, stop=12)
    keys = [key for step in steps for key in step]
    assert collections.Counter(uneven.labels[i] for _, i in keys) == {0: 24, 1: 24, 2: 24}, "none has no pictures"
    assert max(collections.Counter(keys).values()) == 1
    options = {"size": 16, "fit": "crop", "augment": "randaugment", "background": "plain"}
    common = {"views": ("student",), "batch_size": 6, "sampling": "balanced", "seed": 0, "start": 0, "stop": 3}
    batches = list(training_batches(uneven, **common, workers=0, options=options))
    rare = [view for batch in batches for view, label in zip(batch.views[0], batch.labels, strict=True) if label == 0]
    assert len(rare) == 6
    assert len({view.numpy().tobytes() for view in rare}) >= 5, "one in each of the two epochs, before"


def test_a_prediction_is_the_largest_logit_however_large_or_small():
    """Float32 makes a sigmoid 1 from 17 on and 0 below -104: all such classes were equal, and the first one won."""
    logits_NC = torch.tensor([[17.5, 25, 3], [-120, -110, -130], [17, 40, 0], [0.1, 0.2, -0.3]])
    assert mean_scores(logits_NC[None]).argmax(dim=1).tolist() == [1, 1, 1, 1]
    torch.testing.assert_close(mean_scores(logits_NC.expand(2, -1, -1)), logits_NC.double())


def test_predictions_of_two_views_are_those_of_the_mean_sigmoid():
    """By hand where it saturates: 1 - m is (e^-20 + e^-30) / 2 or e^-22, and m is e^-90 / 2 or e^-100."""
    views_VNC = torch.tensor([[[20.0, 22.0], [-120.0, -100.0]], [[30.0, 22.0], [-90.0, -100.0]]])
    assert mean_scores(views_VNC).argmax(dim=1).tolist() == [1, 0]
    expected = [[math.log(2) + 20, 22], [-90 - math.log(2), -100]]
    torch.testing.assert_close(mean_scores(views_VNC), torch.tensor(expected).double(), rtol=0, atol=1e-4)
    moderate_VNC = torch.randn(2, 1000, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 3
    mean_NC = moderate_VNC.sigmoid().mean(dim=0)
    torch.testing.assert_close(mean_scores(moderate_VNC).sigmoid(), mean_NC, rtol=1e-12, atol=1e-14)
    assert torch.equal(mean_scores(moderate_VNC).argmax(dim=1), mean_NC.argmax(dim=1))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_logits_that_are_no_numbers_are_no_prediction(value):
    logits = torch.tensor([[3.0, 1.0], [value, 1.0]])
    answers = iter([logits, torch.zeros(2, 2)])  # of the mirror image they are numbers
    network = torch.nn.Linear(1, 1)
    network.forward = lambda _views: types.SimpleNamespace(logits=next(answers))
    with pytest.raises(UserError, match="logits of 1 of 2 pictures are not finite"):
        predict(network, [Batch((torch.zeros(2, 3, 1, 1),), torch.zeros(2).long())], flip=True)


class Sided(torch.nn.Module):
    """Class 0 where the left half is brighter, class 1 a little above both views' mean; whatever the picture else."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def forward(self, view: torch.Tensor) -> types.SimpleNamespace:
        left, right = (half.float().mean(dim=(1, 2, 3)) for half in view.chunk(2, dim=3))
        logits = torch.stack([left - right, torch.full_like(left, 1e-3)], dim=1)
        return types.SimpleNamespace(logits=F.pad(logits, (0, 1), value=-9))


def test_records_are_of_these_pictures_one_by_one(recipe_dict, tmp_path):
    """Of unequal classes; seen once or with the mirror image, which turns the sides around."""
    recipe = Recipe.model_validate(recipe_dict)
    checkpoint = load_checkpoint(run(recipe, tmp_path / "run"))
    images = load_split(recipe.data, "target", checkpoint.classes)
    images = images.part([index for index in range(len(images)) if images.labels[index] != 1 or index % 3 == 0])
    sided = Sided()
    views = [sided(batch.views[0]).logits.argmax(dim=1) for batch in shown_batches(images, recipe, CPU)]
    seen, labels = torch.cat(views).numpy(), np.array(images.labels)
    assert set(seen) == {0, 1}
    for flip, predicted in ((False, seen), (True, np.ones_like(seen))):
        recipe_dict["evaluate"] = {"flip": flip}
        own = Recipe.model_validate(recipe_dict)
        found = accuracy_record(checkpoint, sided, images, split="target", recipe=own)
        assert found.overall == pytest.approx((predicted == labels).mean())
        assert found.mean_per_class == pytest.approx(balanced_accuracy_score(labels, predicted))
        counted = unlabelled_record(checkpoint, sided, images, split="target", recipe=own).predicted
        assert [*counted.values()] == np.bincount(predicted, minlength=len(images.classes)).tolist()


@pytest.mark.parametrize(("workers", "kept"), [(0, 12), (1, 12), (4, 0)])
def test_loader_processes_share_the_pictures_that_they_keep(workers, kept, trees, monkeypatch):
    """Each kept as many as one alone: 15 of them took some 15 GB."""
    images = image_folder(trees / "source", name="s")
    pixels = sum(math.prod(images.picture(index).size) for index in range(len(images)))
    monkeypatch.setattr(loader, "KEPT_PIXELS", pixels)
    monkeypatch.setattr(loader, "load_batches", lambda dataset, *_: dataset)
    common = {"batch_size": 4, "sampling": "uniform", "seed": 0, "start": 0, "stop": 1, "options": {}}
    views = training_batches(images, views=("student",), workers=workers, **common)
    for index in range(len(images)):
        views.picture(index)
    assert len(views.kept) == kept
