"""Checkpoints of segmentation under every command: against loops by hand, pytorch-grad-cam and the true masks."""

import csv
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from pytorch_grad_cam import GradCAM
from pytorch_grad_cam.utils.model_targets import SemanticSegmentationTarget

from csg_analysis.attention import gradcam as cams
from csg_analysis.attention.overlap import class_pixels, overlap
from csg_analysis.attention.regions import explained_region
from csg_analysis.commands.subject import Subject
from csg_analysis.drawing.pictures import side_by_side
from csg_analysis.features.files import open_features
from csg_analysis.features.pooled import extract
from csg_analysis.similarity.metrics.effective_rank import effective_rank
from csg_analysis.similarity.metrics.uniformity import uniformity
from csg_train.data.check.colours import class_colours
from csg_train.data.readers.sets import pick, sample, unlabelled
from csg_train.engine.loop import train
from csg_train.files import sha256_file
from csg_train.models.deeplab import SegmentationNetwork
from csg_train.recipes.reading import parse_recipe
from csg_train.runs.records import (
    AttentionRecord,
    AttentionScores,
    EnergyRecord,
    PredictionsRecord,
    SegmentationRecord,
    SimilarityRecord,
)
from tests.analysis.conftest import analyze, refused

CPU = torch.device("cpu")
CLASSES = ("background", "car", "truck")
SIZES = ((36, 40), (44, 32))  # rows, columns


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """Six pictures of two sizes in turn, brighter where the class is higher; the last two rows are ignored."""
    root = tmp_path_factory.mktemp("sizes")
    rng = np.random.default_rng(4)
    for folder in ("images", "masks"):
        (root / folder).mkdir()
    for index in range(6):
        rows, columns = SIZES[index % 2]
        mask = rng.integers(0, 3, (4, 4), dtype=np.uint8).repeat(rows // 4, axis=0).repeat(columns // 4, axis=1)
        pixels = rng.integers(0, 120, (rows, columns, 3), dtype=np.uint8) + 60 * mask[..., None]
        mask[-2:] = 255
        Image.fromarray(pixels).save(root / "images" / f"{index}.png")
        Image.fromarray(mask).save(root / "masks" / f"{index}.png")
    (root / "classes.txt").write_text("\n".join(CLASSES))
    return root


@pytest.fixture(scope="module")
def checkpoints(tree, resnet_weights, tmp_path_factory):
    """Checkpoints of two steps, seeds 0 and 1."""
    out = tmp_path_factory.mktemp("segmented")
    source = shutil.copytree(tree, out / "sizes")
    domain = {"dataset": "masked-folder", "root": str(tree)}
    paths = []
    for seed in (0, 1):
        recipe = {
            "name": "tiny-masked",
            "seed": seed,
            "data": {"source": domain | {"root": str(source)}, "target": domain, "size": 32, "augment": "none"},
            "segmentation": {"head": "deeplab-v2", "output_stride": 8},
            "model": {"backbone": "resnet18", "weights": str(resnet_weights)},
            "method": {"name": "baseline"},
            "train": {"steps": 2, "batch_size": 4, "lr_head": 0.01, "lr_backbone": 0.01, "warmup": 0},
        }
        options = {"device": CPU, "resume": False, "overwrite": False, "report": lambda _done, _values: None}
        paths.append(train(parse_recipe(recipe, overrides=(), origin="tests"), out / f"seed{seed}", **options))
    return paths


@pytest.fixture
def subject(checkpoints):
    return Subject.open(checkpoints[0], (), CPU)


def read(checkpoint, name, kind):
    return kind.model_validate_json((checkpoint.parent / name).read_text())


def view_of(tree, index):
    with Image.open(tree / "images" / f"{index}.png") as image:
        return torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float() / 255


def true_mask(tree, index):
    with Image.open(tree / "masks" / f"{index}.png") as image:
        return np.array(image)


# Classes, regions and maps


@pytest.mark.parametrize(
    ("prediction", "explain", "predicted", "explained", "missing"),
    [
        ([[0, 0, 0], [0, 2, 1], [2, 1, 1]], "predicted", 1, 1, ""),  # background is larger
        ([[0, 0, 0], [0, 2, 1], [2, 1, 1]], "background", 1, 0, ""),
        ([[0, 2, 0], [0, 2, 2]], "car", 2, 1, "predicted nowhere"),
        ([[0, 0, 1], [0, 0, 2]], "predicted", 1, 1, ""),  # equal areas: the first class
        ([[0, 0]], "predicted", 0, 0, "nothing but background predicted"),
        ([[0, 0]], "background", 0, 0, ""),
    ],
)
def test_the_explained_class_by_hand(prediction, explain, predicted, explained, missing):
    prediction = torch.tensor(prediction)
    region = explained_region(prediction, CLASSES, explain)
    assert (region.predicted, region.explained, region.missing) == (predicted, explained, missing)
    expected = torch.zeros_like(prediction, dtype=torch.bool) if missing else prediction == explained
    assert torch.equal(region.where_HW, expected)


def test_without_a_background_the_largest_class_is_explained():
    region = explained_region(torch.tensor([[0, 0, 1]]), ("road", "car", "sky"), "predicted")
    assert (region.predicted, region.explained, region.where_HW.tolist()) == (0, 0, [[True, True, False]])


class Logits(torch.nn.Module):
    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, images):
        return self.network(images).logits


@pytest.mark.parametrize("head", ["deeplab-v2", "deeplab-v3"])
@pytest.mark.parametrize("layer", ["layer3", "layer4"])
def test_maps_are_those_of_pytorch_grad_cam_up_to_its_scaling(head, layer):
    network = SegmentationNetwork("resnet18", classes=4, head=head, seed=3).eval()
    image = torch.rand(1, 3, 72, 96, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        prediction = network(image).logits.argmax(1)[0]
    compared = 0
    for label in prediction.unique().tolist():
        region = prediction == label
        ours = cams.grad_cam(network, image, torch.tensor([label]), layer=layer, regions_NHW=region[None])[0].numpy()
        with GradCAM(Logits(network), [network.backbone.stage(layer)]) as cam:
            (theirs,) = cam(image, [SemanticSegmentationTarget(label, region.float().numpy())])
        low, high = ours.min(), ours.max()
        if high > low:
            np.testing.assert_allclose((ours - low) / (high - low), theirs, atol=1e-4)
            compared += 1
        else:
            assert not theirs.any()
    assert compared
    nowhere = cams.grad_cam(network, image, torch.tensor([1]), layer=layer, regions_NHW=torch.zeros(1, 72, 96) > 0)
    assert not nowhere.any()


def test_pictures_of_different_size_keep_their_own_maps(subject, tree):
    images = subject.masked("target")
    maps = cams.attend(subject.network, images, subject.recipe, layer="layer3", explain="predicted")
    assert maps.sizes == [*SIZES] * 3
    assert maps.maps_NHW.shape == (6, 44, 40)
    for index in range(6):
        image, cam = maps.pair(index)
        view = view_of(tree, index)
        with torch.no_grad():
            prediction = subject.network(view).logits.argmax(1)
        region = explained_region(prediction[0], CLASSES, "predicted")
        alone = cams.grad_cam(
            subject.network,
            view,
            torch.tensor([region.explained]),
            layer="layer3",
            regions_NHW=region.where_HW[None],
        )
        np.testing.assert_allclose(cam, alone[0].numpy(), rtol=1e-5, atol=1e-8)
        np.testing.assert_array_equal(image / np.float32(255), view[0].permute(1, 2, 0).numpy())
        assert bool(maps.flat[index]) == (not cam.any())
        rows, columns = maps.sizes[index]
        for array, fill in ((maps.maps_NHW[index], 0), (maps.images_NHWC[index], 255)):
            assert (array[rows:] == fill).all()
            assert (array[:, columns:] == fill).all()


def test_own_pictures_are_shown_as_those_with_masks(subject, tree):
    own = unlabelled(tree / "images", CLASSES)
    options = {"layer": "layer3", "explain": "truck"}
    ours = cams.attend(subject.network, own, subject.recipe, **options)
    masked = cams.attend(subject.network, subject.masked("target"), subject.recipe, **options)
    np.testing.assert_array_equal(ours.images_NHWC, masked.images_NHWC)
    np.testing.assert_array_equal(ours.maps_NHW, masked.maps_NHW)
    assert ours.explained == [2] * 6


def test_a_sample_is_fixed_and_keeps_each_picture_with_its_mask(subject):
    images = subject.masked("target")
    chosen = sample(images, 4)
    assert chosen.files == sample(images, 4).files
    assert len(set(chosen.files)) == 4
    assert list(chosen.files) == sorted(chosen.files)
    assert [file.replace("images", "masks") for file in chosen.files] == list(chosen.masks)
    assert sample(images, 99).files == images.files
    assert pick(images, 1).files == sample(images, 3).files


def test_command_gradcam(checkpoints, tree, tmp_path):
    result = analyze("gradcam", *checkpoints, "--explain", "truck", "--per-class", 1, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    for seed, path in enumerate(checkpoints):
        record = read(path, "attention.json", AttentionRecord)
        arrays = np.load(path.parent / "attention.npz")
        assert record.arrays_sha256 == sha256_file(path.parent / record.arrays)
        assert arrays["images"].shape == (*arrays["maps"].shape, 3)
        assert [picture.target for picture in record.pictures] == ["truck"] * 3
        assert {picture.label for picture in record.pictures} == {None}
        assert [picture.flat for picture in record.pictures] == [not cam.any() for cam in arrays["maps"]]
        flat = sum(picture.flat for picture in record.pictures)
        assert sum(f"s{seed}: flat map of truck" in line for line in result.output.splitlines()) == flat
        assert (record.data.fit, record.data.size) == ("whole", None)
    index = dict(line.split("\t") for line in (tmp_path / "out" / "index.tsv").read_text().splitlines())
    assert list(index.values()) == [picture.file for picture in record.pictures]
    for name, file in index.items():
        rows, columns = SIZES[int(file[-5]) % 2]
        with Image.open(tmp_path / "out" / name) as image:
            assert image.size == (round(2.2 * 3 * 120), int((2.12 * rows / columns + 0.3) * 120))
    own = analyze("gradcam", checkpoints[0], "--images", tree / "images" / "1.png", "--out", tmp_path / "own")
    assert own.exit_code == 0, own.output
    assert [picture.file for picture in read(checkpoints[0], "attention.json", AttentionRecord).pictures] == ["1.png"]
    refused(analyze("gradcam", checkpoints[0], "--explain", "label"), "--explain label", "predicted, background, car")


# Attention in true masks


def test_ignored_pixels_are_left_out_of_the_overlap():
    """Counted: 4 and 2 in the class, 1 and 1 outside; 9 is on an ignored pixel, so half of the maximum is 2."""
    attention = np.array([[4.0, 2, 1], [9, 1, 9]])
    true = np.array([[1, 1, 0], [255, 2, 255]], dtype=np.uint8)
    result = overlap(*class_pixels(attention, true, 1))
    assert (result.iou, result.share, result.area) == (1, 6 / 8, 2 / 4)
    assert class_pixels(attention, true, 3) is None
    assert class_pixels(attention, np.array([[1, 1, 255], [1, 1, 1]], dtype=np.uint8), 1) is None


@pytest.mark.parametrize(("explain", "cap"), [("car", None), ("truck", 20)])
def test_attention_is_the_loop_over_pictures(checkpoints, tree, explain, cap):
    sets = () if cap is None else ("--set", f"segmentation.longest_side={cap}")
    options = ("--split", "target", "--layer", "layer3", "--explain", explain, *sets)
    result = analyze("attention", checkpoints[0], *options, "--json")
    assert result.exit_code == 0, result.output
    record = read(checkpoints[0], "attention-target.json", AttentionScores)
    with (checkpoints[0].parent / "attention-target.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    subject = Subject.open(checkpoints[0], tuple(sets[1:]), CPU)
    maps = cams.attend(subject.network, subject.masked("target"), subject.recipe, layer="layer3", explain=explain)
    shares = []
    for index, row in enumerate(rows):
        true = true_mask(tree, index)
        small = Image.fromarray(maps.pair(index)[1])
        assert max(small.size) == (cap or max(true.shape))
        enlarged = torch.nn.functional.interpolate(
            torch.from_numpy(np.array(small))[None, None], true.shape, mode="bilinear"
        )[0, 0].numpy()
        counted, inside = enlarged[true != 255].astype(np.float64), true[true != 255] == CLASSES.index(explain)
        assert (row["explained"], row["label"]) == (explain, "")
        assert bool(row["reason"]) == (row["flat"] == "1") == (not counted.any())
        if row["flat"] == "1" or not inside.any():
            assert row["share"] == row["iou"] == ""
            continue
        attended = counted >= counted.max() / 2
        shares.append(counted[inside].sum() / counted.sum())
        assert float(row["share"]) == pytest.approx(shares[-1], rel=1e-5)
        assert float(row["iou"]) == pytest.approx((attended & inside).sum() / (attended | inside).sum(), rel=1e-5)
        assert float(row["area"]) == pytest.approx(inside.mean(), rel=1e-12)
    assert shares, "the seeds give no map at all"
    assert record.overlap.count == len(shares)
    assert record.overlap.share == pytest.approx(np.mean(shares), rel=1e-5)
    assert "ignored pixels" in record.overlap.definition


def test_a_class_that_is_predicted_nowhere_has_flat_maps_and_a_reason(checkpoints):
    """The first checkpoint predicts no truck."""
    analyze("accuracy", checkpoints[0], "--split", "target")
    confusion = read(checkpoints[0], "segmentation-target.json", SegmentationRecord).confusion
    assert sum(row[2] for row in confusion) == 0
    assert analyze("attention", checkpoints[0], "--split", "target", "--explain", "truck").exit_code == 0
    record = read(checkpoints[0], "attention-target.json", AttentionScores)
    assert (record.flat, record.overlap) == (6, None)
    with (checkpoints[0].parent / "attention-target.csv").open(newline="") as stream:
        assert [row["reason"] for row in csv.DictReader(stream)] == ["predicted nowhere"] * 6


def test_curves_and_labels_are_refused(checkpoints):
    refused(analyze("attention", checkpoints[0], "--curves", 2), "--curves", "leave --curves out")
    refused(analyze("attention", checkpoints[0], "--explain", "label"), "--explain label", "predicted, background")


# Features, energy, accuracy


def test_features_are_means_over_whole_pictures_and_the_index_has_no_labels(checkpoints, subject, tree, tmp_path):
    out = tmp_path / "out"
    assert analyze("features", checkpoints[0], "--out", out).exit_code == 0
    rows, own = open_features(out / "seed0-layer4.npy")
    with torch.no_grad():
        expected = [
            subject.network.backbone(view_of(tree, index)).stages["layer4"][0].double().mean((1, 2)).numpy()
            for index in range(6)
        ]
    np.testing.assert_allclose(rows, expected, rtol=2e-5, atol=1e-6)
    assert (own.data.fit, own.count) == ("whole", 6)
    with (out / "seed0.csv").open(newline="") as stream:
        assert list(csv.reader(stream)) == [["row", "file"], *([str(i), f"images/{i}.png"] for i in range(6))]


def test_energy_is_the_loop_over_pairs(checkpoints, subject):
    result = analyze("energy", checkpoints[0], "--split", "target")
    assert result.exit_code == 0, result.output
    rows = extract(subject.network, subject.images("target"), subject.recipe).astype(np.float64)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    distances = np.array([np.linalg.norm(rows[i] - rows[j]) for i in range(6) for j in range(i)])
    record = read(checkpoints[0], "energy-target.json", EnergyRecord)
    assert record.paper["0"] == pytest.approx(-np.log(distances).mean(), rel=1e-6)
    assert record.paper["1"] == pytest.approx((1 / distances).mean(), rel=1e-6)


def test_accuracy_counts_the_pixels_of_the_largest_logit(checkpoints, subject, tree):
    result = analyze("accuracy", checkpoints[0], "--split", "target")
    assert result.exit_code == 0, result.output
    assert "mean IoU" in result.output
    confusion = np.zeros((3, 3), dtype=int)
    for index in range(6):
        with torch.no_grad():
            predicted = subject.network(view_of(tree, index)).logits[0].argmax(0).numpy()
        true = true_mask(tree, index)
        for pair in zip(true[true != 255], predicted[true != 255], strict=True):
            confusion[pair] += 1
    assert read(checkpoints[0], "segmentation-target.json", SegmentationRecord).confusion == confusion.tolist()
    assert (checkpoints[0].parent / "confusion-target.csv").read_text().splitlines()[0].endswith(",".join(CLASSES))


def test_compare_leaves_out_what_needs_classes(checkpoints, trained, subject):
    result = analyze("compare", checkpoints[0], "--split", "target")
    assert result.exit_code == 0, result.output
    assert "alignment, spread left out" in result.output
    record = read(checkpoints[0], "similarity-target.json", SimilarityRecord)
    rows = extract(subject.network, subject.images("target"), subject.recipe)
    assert record.measures == pytest.approx({"uniformity": uniformity(rows), "effective rank": effective_rank(rows)})
    assert record.start_measures.keys() == record.measures.keys()
    assert set(record.definitions) == {"cka", "uniformity", "effective rank"}
    assert record.spread_by_class == {}
    assert all(0 < value < 1 for value in record.cka.values())
    mixed = analyze("compare", trained[0], checkpoints[0], "--split", "target")
    assert mixed.exit_code == 0, mixed.output
    assert mixed.output.count("left out") == 1


def test_sphere_needs_no_classes(checkpoints, tmp_path):
    assert analyze("sphere", *checkpoints, "--out", tmp_path / "a.svg").exit_code == 0
    text = (tmp_path / "a.svg").read_text()
    assert "pictures with masks" in text
    assert "ring a class" not in " ".join(text.split())


# Predictions side by side


def test_predictions_are_the_largest_logits_in_the_classes_colours(checkpoints, tree, tmp_path, monkeypatch):
    drawn = {}

    def keep(path, columns, legend, under):
        drawn[path.name] = (columns, legend, under)
        side_by_side(path, columns, legend, under)

    monkeypatch.setattr("csg_analysis.drawing.side_by_side", keep)
    result = analyze("predictions", *checkpoints, "--per-split", 4, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    index = dict(line.split("\t") for line in (tmp_path / "out" / "index.tsv").read_text().splitlines())
    assert list(index) == [f"{number:04d}.png" for number in range(4)]
    networks = [Subject.open(path, (), CPU).network for path in checkpoints]
    colours = dict(zip(CLASSES, class_colours(CLASSES), strict=True))
    for name, file in index.items():
        number = int(file[-5])
        view = view_of(tree, number)
        picture = view[0].permute(1, 2, 0).double().numpy() * 255
        with torch.no_grad():
            masks = [true_mask(tree, number), *(network(view).logits[0].argmax(0).numpy() for network in networks)]
        columns, legend, under = drawn[name]
        assert [caption for caption, _ in columns] == ["picture", "true mask", "baseline s0", "baseline s1"]
        np.testing.assert_allclose(columns[0][1], picture, atol=1e-3)
        for (_, pixels), mask in zip(columns[1:], masks, strict=True):
            for label, one in enumerate(CLASSES):
                mixed = 0.35 * picture + 0.65 * np.array(colours[one])
                assert np.abs(pixels - mixed)[mask == label].max(initial=0) <= 0.51
            np.testing.assert_allclose(pixels[mask == 255], picture[mask == 255], atol=1e-3)
        assert under[:2] == [None, None]
        for (caption, pixels), mask in zip(under[2:], masks[1:], strict=True):
            known, wrong = masks[0] != 255, (masks[0] != 255) & (mask != masks[0])
            assert ((pixels == (200, 20, 40)).all(axis=2) == wrong).all()
            assert (pixels[~known] == 255).all()
            assert caption == f"{100 * wrong.sum() / known.sum():.1f} % of the pixels differ"
        present = {CLASSES[label] for mask in masks for label in np.unique(mask) if label != 255}
        assert legend == [(one, colours[one]) for one in CLASSES if one in present]
        with Image.open(tmp_path / "out" / name) as image:
            assert image.width == round(2.2 * 4 * 120)
    for path, network in zip(checkpoints, networks, strict=True):
        record = read(path, "predictions-target.json", PredictionsRecord)
        assert record.run.checkpoint_sha256 == sha256_file(path)
        assert (record.data.split, record.data.count, record.unknown) == ("target", 4, 255)
        assert record.arrays_sha256 == sha256_file(path.parent / record.arrays)
        assert [own.file for own in record.pictures] == list(index.values())
        with np.load(path.parent / record.arrays) as arrays:
            for place, own in enumerate(record.pictures):
                number = int(own.file[-5])
                with torch.no_grad():
                    mask = network(view_of(tree, number)).logits[0].argmax(0).numpy()
                true = true_mask(tree, number)
                assert (arrays[f"predicted_{place}"] == mask).all()
                assert (arrays[f"true_{place}"] == true).all()
                assert own.differs == pytest.approx((mask != true)[true != 255].mean())


def test_predictions_of_other_pictures_or_tasks_are_refused(checkpoints, trained, tmp_path):
    out = ("--out", tmp_path / "out")
    refused(analyze("predictions", trained[0], *out), "ckpt.pt", "a classification")
    refused(analyze("predictions", checkpoints[0], trained[0], *out), "a classification")
    refused(analyze("gradcam", checkpoints[0], trained[0], *out), "other pictures")
    assert not (tmp_path / "out").exists()
