"""Confusions against scikit-learn, IoU against sets of pixels, the bootstrap against drawing pictures one by one."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.metrics import confusion_matrix, jaccard_score

from csg_train.data.loaders.segmentation_loader import whole_pictures
from csg_train.data.readers.mask_folders import masked_folder
from csg_train.data.readers.masks import MaskedSet
from csg_train.evaluate.scores import iou_per_class, mean_iou
from csg_train.evaluate.segmentation import (
    PixelCounts,
    bootstrap_mean_iou,
    confusion_of_pixels,
    count_pixels,
    predicted_mask,
    predicted_masks,
)

C = 5


def random_pairs(number: int, seed: int = 0, right: float = 0.5) -> list[tuple[np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(seed)
    pairs = []
    for _ in range(number):
        shape = tuple(rng.integers(5, 20, 2))
        mask_HW = rng.choice([*range(C), 255], shape).astype(np.uint8)
        guess_HW = rng.integers(0, C, shape).astype(np.uint8)
        pairs.append((np.where((rng.random(shape) < right) & (mask_HW != 255), mask_HW, guess_HW), mask_HW))
    return pairs


def test_confusion_and_iou_equal_scikit_learns() -> None:
    pairs = random_pairs(7)
    counts = count_pixels(pairs, C)
    predicted, true = (np.concatenate([pair[side].ravel() for pair in pairs]) for side in (0, 1))
    known = true != 255
    assert counts.confusion.dtype == counts.pictures.dtype == np.int64
    assert (counts.confusion == confusion_matrix(true[known], predicted[known], labels=range(C))).all()
    each = jaccard_score(true[known], predicted[known], labels=range(C), average=None)
    assert iou_per_class(counts.confusion) == pytest.approx(each)
    assert mean_iou(counts.confusion) == pytest.approx(each.mean())


def test_iou_by_sets_of_pixels() -> None:
    for predicted_HW, mask_HW in random_pairs(5, seed=1):
        values = iou_per_class(confusion_of_pixels(predicted_HW, mask_HW, C))
        places = [place for place in np.ndindex(mask_HW.shape) if mask_HW[place] != 255]
        for label in range(C):
            said = {place for place in places if predicted_HW[place] == label}
            is_so = {place for place in places if mask_HW[place] == label}
            assert values[label] == pytest.approx(len(said & is_so) / len(said | is_so))


def test_absent_classes_by_hand() -> None:
    mask_HW = np.array([[0, 0, 0, 1], [1, 1, 255, 255]], dtype=np.uint8)
    predicted_HW = np.array([[0, 0, 2, 1], [1, 1, 3, 0]], dtype=np.uint8)
    values = iou_per_class(confusion_of_pixels(predicted_HW, mask_HW, C))
    assert values[:3].tolist() == [2 / 3, 1.0, 0.0], "class 2 is predicted but never true"
    assert np.isnan(values[3:]).all(), "class 3 is predicted on ignored pixels only, class 4 nowhere"
    assert mean_iou(confusion_of_pixels(predicted_HW, mask_HW, C)) == pytest.approx((2 / 3 + 1) / 3)


def test_tensors_are_counted_where_they_are_whatever_device_is_the_default() -> None:
    for predicted_HW, mask_HW in random_pairs(2):
        expected = confusion_of_pixels(predicted_HW, mask_HW, C)
        with torch.device("meta"):
            ours = confusion_of_pixels(torch.from_numpy(predicted_HW), torch.from_numpy(mask_HW), C)
            assert (ours == expected).all()
            assert (confusion_of_pixels(predicted_HW, mask_HW, C) == expected).all()


def test_nothing_known_is_nan() -> None:
    mask_HW = np.full((3, 3), 255, dtype=np.uint8)
    confusion = confusion_of_pixels(np.zeros((3, 3), dtype=np.uint8), mask_HW, C)
    assert confusion.sum() == 0
    assert np.isnan(mean_iou(confusion))


def test_counts_add_up_and_large_ones_do_not_overflow() -> None:
    counts = count_pixels(random_pairs(9), C)
    right, true, predicted = counts.pictures.sum(axis=0)
    assert (right == np.diagonal(counts.confusion)).all()
    assert (true == counts.confusion.sum(axis=1)).all()
    assert (predicted == counts.confusion.sum(axis=0)).all()
    huge = counts.confusion * 2**40
    assert iou_per_class(huge) == pytest.approx(iou_per_class(counts.confusion))


def test_order_and_grouping_of_pictures_do_not_matter() -> None:
    pairs = random_pairs(6)
    whole = count_pixels(pairs, C).confusion
    assert (count_pixels(pairs[::-1], C).confusion == whole).all()
    assert (count_pixels(pairs[:2], C).confusion + count_pixels(pairs[2:], C).confusion == whole).all()
    tiles = [(predicted[:, part], mask[:, part]) for predicted, mask in pairs for part in (slice(4), slice(4, None))]
    assert (count_pixels(tiles, C).confusion == whole).all()


def test_shapes_and_classes_that_do_not_fit_are_our_mistake() -> None:
    mask_HW = np.zeros((2, 3), dtype=np.uint8)
    with pytest.raises(AssertionError):
        confusion_of_pixels(mask_HW.T, mask_HW, C)
    with pytest.raises(AssertionError):
        confusion_of_pixels(mask_HW + C, mask_HW, C)


def test_one_picture_with_labels_has_no_interval() -> None:
    (one, other), ignored = random_pairs(2), np.full((3, 4), 255, dtype=np.uint8)
    nothing = np.zeros((3, 4), dtype=np.uint8), ignored
    assert bootstrap_mean_iou(count_pixels([one], C), seed=0) is None
    assert bootstrap_mean_iou(count_pixels([one, nothing], C), seed=0) is None
    assert bootstrap_mean_iou(count_pixels([one, nothing, other], C), seed=0) is not None


def test_bootstrap_equals_drawing_pictures_one_by_one() -> None:
    pairs = random_pairs(12, seed=2, right=0.3) + random_pairs(12, seed=3, right=0.9)
    counts = count_pixels(pairs, C)
    interval = bootstrap_mean_iou(counts, seed=1, resamples=20_000)
    rng = np.random.default_rng(77)
    confusions = [confusion_of_pixels(*pair, C) for pair in pairs]
    means = []
    for _ in range(10_000):
        chosen = rng.integers(0, len(pairs), len(pairs))
        means.append(mean_iou(sum(confusions[index] for index in chosen)))
    assert (interval.low, interval.high) == pytest.approx(tuple(np.quantile(means, [0.025, 0.975])), abs=0.01)
    assert interval.low < mean_iou(counts.confusion) < interval.high
    assert (interval.level, interval.kind) == (0.95, "percentile bootstrap, 20000 resamples of whole pictures")
    assert interval == bootstrap_mean_iou(counts, seed=1, resamples=20_000)


def test_bootstrap_limits() -> None:
    same = count_pixels(random_pairs(1) * 10, C)
    interval = bootstrap_mean_iou(same, seed=0, resamples=150)
    assert interval.low == pytest.approx(interval.high) == pytest.approx(mean_iou(same.confusion))
    # Class 1 lives in one picture of four: resamples without it average over class 0 alone, which is always right.
    pictures = np.array([[[4, 0], [4, 0], [4, 0]]] * 3 + [[[4, 0], [4, 4], [8, 0]]])
    seldom = PixelCounts(np.array([[16, 0], [4, 0]]), pictures)
    interval = bootstrap_mean_iou(seldom, seed=0, resamples=2000)
    assert interval.high == 1.0


def test_a_resample_has_as_many_pictures_as_the_split() -> None:
    """Two pictures of one pixel of class 0, right and wrong: IoU by the wrong one's share among two."""
    pictures = np.array([[[1, 0], [1, 0], [1, 0]], [[0, 0], [1, 0], [0, 1]]])
    counts = PixelCounts(np.array([[1, 1], [0, 0]]), pictures)
    found = {bootstrap_mean_iou(counts, seed=seed, resamples=1).low for seed in range(40)}
    assert found == {1, (1 / 2 + 0) / 2, 0}


def test_resamples_of_an_ignored_picture_alone_are_left_out() -> None:
    """They were NaN, which no record holds: a small set with one such mask was trained on, and then not measured."""
    counts = count_pixels([*random_pairs(2), (np.zeros((4, 4), np.uint8), np.full((4, 4), 255, np.uint8))], C)
    interval = bootstrap_mean_iou(counts, seed=0)
    assert 0 < interval.low < mean_iou(counts.confusion) < interval.high < 1


def test_predictions_have_the_masks_size_and_one_picture_is_asked_at_a_time(tmp_path: Path) -> None:
    images = blocks(tmp_path)
    asked = []

    def logits(batch: torch.Tensor) -> torch.Tensor:
        """Class k where red is 50 k: right by construction, at the picture's own size."""
        asked.append(tuple(batch.shape))
        return -(batch[:, :1].float() - 50 * torch.arange(3).view(1, 3, 1, 1)).abs()

    counts = count_pixels(predicted_masks(logits, whole_pictures(images, longest_side=None), torch.device("cpu")), 3)
    assert mean_iou(counts.confusion) == 1.0
    assert asked == [(1, 3, 16, 24), (1, 3, 12, 8)]
    assert counts.pictures[:, 1].sum(axis=1).tolist() == [16 * 24, 12 * 8]
    asked.clear()
    counts = count_pixels(predicted_masks(logits, whole_pictures(images, longest_side=10), torch.device("cpu")), 3)
    assert asked == [(1, 3, 7, 10), (1, 3, 10, 7)]
    assert counts.pictures[:, 1].sum(axis=1).tolist() == [16 * 24, 12 * 8], "the truth keeps every pixel"
    assert mean_iou(counts.confusion) > 0.9


def test_smaller_logits_are_enlarged_from_corner_to_corner() -> None:
    """Of 2 x 2 logits to 3 x 5 the middle is the mean of all, and an edge is its corners' line."""
    corners = torch.tensor([[[[1.0, 0.0], [0.0, 0.0]], [[0.0, 0.0], [0.0, 0.9]], [[0.4, 0.4], [0.4, 0.4]]]])
    found = predicted_mask(lambda _: corners, torch.zeros(1, 3, 3, 5), size=(3, 5), device=torch.device("cpu"))
    rows, columns = np.arange(3)[:, None] / 2, np.arange(5) / 4
    scores = np.stack([(1 - rows) * (1 - columns), 0.9 * rows * columns, np.full((3, 5), 0.4)])
    assert found.tolist() == scores.argmax(axis=0).tolist()


def blocks(root: Path) -> MaskedSet:
    for number, (height, width) in enumerate(((16, 24), (12, 8))):
        mask_HW = np.kron(np.arange(6).reshape(2, 3) % 3, np.ones((8, 8)))[:height, :width].astype(np.uint8)
        for folder, pixels in (("images", np.repeat(50 * mask_HW[..., None], 3, axis=2)), ("masks", mask_HW)):
            (root / folder).mkdir(exist_ok=True)
            Image.fromarray(pixels).save(root / folder / f"{number}.png")
    (root / "classes.txt").write_text("a\nb\nc\n")
    return masked_folder(root)
