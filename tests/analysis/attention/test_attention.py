"""Attention in numbers: overlap with the object, deletion and insertion, and the record of a split."""

import csv
import json

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.ndimage import gaussian_filter

from csg_analysis.attention.measure import scored_pictures
from csg_analysis.attention.overlap import object_mask, overlap
from csg_analysis.attention.removal import area, blurred, removal_curves
from csg_train.data.views.transforms import evaluation_view
from csg_train.recipes.pictures import load_split
from csg_train.runs.checkpoint import load_checkpoint
from csg_train.runs.records import AttentionScores
from tests.analysis.conftest import analyze, refused

# Masks and overlap


def cut_out(width, height):
    """A black picture with a blob of full alpha and a soft rim."""
    y, x = np.mgrid[:height, :width]
    distance = np.hypot((x - width * 0.6) / width, (y - height * 0.35) / height)
    alpha = np.clip((0.35 - distance) * 2000, 0, 255).astype(np.uint8)
    return Image.fromarray(np.dstack([np.zeros((height, width, 3), np.uint8), alpha]))


@pytest.mark.parametrize("fit", ["crop", "pad"])
@pytest.mark.parametrize(("width", "height"), [(40, 40), (97, 40), (31, 80)])
def test_mask_goes_through_the_geometry_of_the_picture(width, height, fit):
    """A black object over white: the mask is where the model's view is dark."""
    image = cut_out(width, height)
    view = evaluation_view(image, size=32, fit=fit)[0].numpy()
    np.testing.assert_array_equal(object_mask(image, size=32, fit=fit), view <= 127)


def test_mask_of_an_unchanged_picture_is_alpha_of_128_and_more():
    alpha = np.array([[0, 127], [128, 255]], dtype=np.uint8)
    image = Image.fromarray(np.dstack([np.full((2, 2, 3), 50, np.uint8), alpha]))
    assert object_mask(image, size=2, fit="crop").tolist() == [[False, False], [True, True]]


def test_padding_is_no_object_and_pictures_without_background_have_no_mask():
    opaque = Image.new("RGBA", (20, 10), (9, 9, 9, 255))
    mask = object_mask(opaque, size=20, fit="pad")
    assert mask[5:15].all()
    assert not mask[:5].any()
    assert not mask[15:].any()
    assert object_mask(opaque, size=10, fit="crop") is None
    assert object_mask(Image.new("RGBA", (20, 10)), size=20, fit="pad") is None
    assert object_mask(Image.new("RGB", (20, 10)), size=20, fit="pad") is None


def test_overlap_by_hand():
    """Half of the maximum 4 is 2: attended 3 pixels, mask 3, both 2; sum 10, inside 8."""
    attention = np.array([[4.0, 2, 1], [2, 1, 0]])
    mask = np.array([[True, True, False], [False, False, False]]) | (np.arange(6).reshape(2, 3) == 3)
    result = overlap(attention, mask)
    assert (result.iou, result.share, result.area) == (1.0, 0.8, 0.5)
    mask[1, 0], mask[0, 2] = False, True
    result = overlap(attention, mask)
    assert (result.iou, result.share, result.area) == (2 / 4, 0.7, 0.5)


def test_overlap_of_constant_equal_and_scaled_maps():
    generator = np.random.default_rng(0)
    mask = generator.random((8, 8)) < 0.3
    constant = overlap(np.ones((8, 8)), mask)
    assert constant.share == pytest.approx(constant.area, rel=1e-12)
    assert constant.iou == pytest.approx(constant.area, rel=1e-12)
    own = overlap(mask.astype(float), mask)
    assert (own.iou, own.share) == (1, 1)
    attention = generator.random((8, 8))
    scaled = overlap(attention * 1e-6, mask)
    assert (scaled.iou, scaled.area) == (overlap(attention, mask).iou, overlap(attention, mask).area)
    assert scaled.share == pytest.approx(overlap(attention, mask).share, rel=1e-12)


# Deletion and insertion


def test_curves_of_a_sum_by_hand():
    """Pixels 4, 3, 2, 1 in the order of the map; the score is their sum."""
    image = torch.tensor([[[[4.0, 3.0], [2.0, 1.0]]]])
    curves = removal_curves(
        lambda x: x.sum(dim=(1, 2, 3)),
        image,
        image[:, 0] * 7,
        blank_NCHW=torch.zeros(1, 1, 1, 1),
        blurred_NCHW=torch.full_like(image, 0.5),
        steps=4,
    )
    assert curves.deletion_NS.tolist() == [[10, 6, 3, 1, 0]]
    assert curves.insertion_NS.tolist() == [[2, 5.5, 8, 9.5, 10]]
    assert area(curves.deletion_NS).tolist() == [(5 + 6 + 3 + 1) / 4]
    assert area(curves.insertion_NS).tolist() == [(1 + 5.5 + 8 + 9.5 + 5) / 4]


def test_curves_are_the_loop_over_pixels():
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(3, 2, 5, 7, generator=generator, dtype=torch.float64)
    maps = torch.rand(3, 5, 7, generator=generator).mul(6).round()  # with ties
    blank, soft = torch.rand(1, 2, 1, 1, generator=generator).double(), images.flip(-1)
    weight = torch.rand(2, 5, 7, generator=generator, dtype=torch.float64)

    def score(x):
        return (x * weight).sum(dim=(1, 2, 3)).sigmoid()

    options = {"blank_NCHW": blank, "steps": 8}
    curves = removal_curves(score, images, maps, blurred_NCHW=soft, **options)
    for index in range(3):
        order = sorted(range(35), key=lambda pixel: (-float(maps[index].flatten()[pixel]), pixel))
        for point in range(9):
            deleted, inserted = images[index].clone(), soft[index].clone()
            for pixel in order[: round(point * 35 / 8)]:
                row, column = divmod(pixel, 7)
                deleted[:, row, column] = blank[0, :, 0, 0]
                inserted[:, row, column] = images[index, :, row, column]
            assert float(curves.deletion_NS[index, point]) == pytest.approx(float(score(deleted[None])), rel=1e-12)
            assert float(curves.insertion_NS[index, point]) == pytest.approx(float(score(inserted[None])), rel=1e-12)
        alone = removal_curves(
            score, images[index : index + 1], maps[index : index + 1], blurred_NCHW=soft[index : index + 1], **options
        )
        torch.testing.assert_close(alone.deletion_NS[0], curves.deletion_NS[index], rtol=1e-14, atol=0)
    monotone = removal_curves(score, images, maps.exp(), blurred_NCHW=soft, **options)
    assert torch.equal(monotone.insertion_NS, curves.insertion_NS)


def test_area_of_a_line_is_its_middle():
    assert float(area(torch.linspace(0.2, 0.6, 11)[None])[0]) == pytest.approx(0.4)


@pytest.mark.parametrize(("side", "reach"), [(224, 15), (64, 4), (8, 1)])
def test_blur_is_scipys_gaussian(side, reach):
    image = np.random.default_rng(0).random((side, side))
    expected = gaussian_filter(image, side * 5 / 224, mode="mirror", radius=reach)
    np.testing.assert_allclose(blurred(torch.from_numpy(image)[None, None])[0, 0].numpy(), expected, atol=1e-12)


# A split


@pytest.fixture(scope="module")
def cut_outs(tmp_path_factory):
    """Three pictures of each class: two with an alpha channel, one without."""
    root = tmp_path_factory.mktemp("cutouts")
    generator = np.random.default_rng(3)
    for name in ("bus", "car", "truck"):
        (root / name).mkdir()
        for index in range(3):
            pixels = generator.integers(0, 255, (60, 80, 3), dtype=np.uint8)
            picture = Image.fromarray(pixels)
            if index < 2:
                picture.putalpha(cut_out(80, 60).getchannel("A"))
            picture.save(root / name / f"{index}.png")
    return root


@pytest.fixture
def opened(trained, cut_outs):
    checkpoint = load_checkpoint(trained[0])
    recipe = checkpoint.resolved_recipe((f"data.target.root={cut_outs}",))
    images = load_split(recipe.data, "target", checkpoint.classes)
    return checkpoint, checkpoint.build_network(torch.device("cpu")), recipe, images


def test_pictures_do_not_depend_on_their_batch(opened, cut_outs):
    checkpoint, network, recipe, images = opened
    alone = checkpoint.resolved_recipe((f"data.target.root={cut_outs}", "train.batch_size=1"))
    options = {"layer": "layer3", "explain": "label", "steps": 3}
    for one, other in zip(
        scored_pictures(network, images, recipe, **options),
        scored_pictures(network, images, alone, **options),
        strict=True,
    ):
        assert (one.file, one.label, one.predicted, one.flat, one.masked) == (
            other.file,
            other.label,
            other.predicted,
            other.flat,
            other.masked,
        )
        assert one.explained == one.label
        assert one.masked == (not one.file.endswith("2.png"))
        if one.overlap is not None:
            assert one.overlap.share == pytest.approx(other.overlap.share, rel=1e-3)
        if not one.flat:
            np.testing.assert_allclose(one.deletion[[0, -1]], other.deletion[[0, -1]], rtol=1e-3)


def test_curves_end_at_the_probabilities_of_whole_pictures(opened):
    _, network, recipe, images = opened
    blank = network.backbone.mean.expand(1, 3, 64, 64)
    for picture in scored_pictures(network, images, recipe, layer="layer3", explain="truck", steps=2):
        if picture.flat:
            continue
        with Image.open(images.root / picture.file) as image:
            image.load()
        view = evaluation_view(image, size=64, fit="crop")[None].float() / 255
        with torch.no_grad():
            whole, gone, soft = (network(x).logits.softmax(1)[0, 2].item() for x in (view, blank, blurred(view)))
        assert picture.deletion[[0, -1]] == pytest.approx([whole, gone], rel=1e-4)
        assert picture.insertion[[0, -1]] == pytest.approx([soft, whole], rel=1e-4)


def test_record_is_the_mean_of_its_table(trained, cut_outs):
    where = ("--split", "target", "--set", f"data.target.root={cut_outs}", "--layer", "layer3")
    result = analyze("attention", trained[0], *where, "--explain", "car", "--curves", 5, "--json")
    assert result.exit_code == 0, result.output
    text = (trained[0].parent / "attention-target.json").read_text()
    record = AttentionScores.model_validate_json(text)
    assert json.loads(result.stdout) == [json.loads(text)]
    with (trained[0].parent / "attention-target.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["explained"] for row in rows] == ["car"] * 9
    assert record.flat == sum(row["flat"] == "1" for row in rows)
    assert record.overlap.without_mask == 3
    assert record.overlap.count == sum(row["iou"] != "" for row in rows)
    assert record.curves.count == 9 - record.flat
    means = record.overlap.model_dump() | record.curves.model_dump()
    for name in ("iou", "share", "area", "deletion", "insertion"):
        values = [float(row[name]) for row in rows if row[name]]
        assert means[name] == pytest.approx(np.mean(values), rel=1e-6), name
    assert len(record.curves.deletion_curve) == record.curves.steps + 1 == 6
    assert "normalisation" in record.curves.deletion_baseline
    assert "Gaussian" in record.curves.insertion_baseline


def test_pictures_without_masks_and_mistakes(trained):
    result = analyze("attention", trained[1], "--split", "target", "--json")
    assert json.loads(result.stdout)[0]["overlap"] is None
    assert json.loads(result.stdout)[0]["curves"] is None
    assert "attention (GradCAM of layer4" in analyze("attention", trained[1], "--split", "target").stdout
    refused(analyze("attention", trained[1], "--explain", "tram"), "tram", "predicted, label, bus")
    refused(analyze("attention", trained[1], "--layer", "layer9"), "layer9")


def test_pixels_of_just_under_half_of_the_maximum_are_not_attended():
    found = overlap(np.array([[8.0, 4.0, 3.5, 0.0]]), np.array([[True, False, True, False]]))
    assert (found.iou, found.share, found.area) == (1 / 3, 11.5 / 15.5, 0.5)
