"""Views made on the device: the same training to rounding, whoever loads; and what they are not for."""

import pytest
from PIL import Image

from csg_train.engine import loop as engine
from csg_train.errors import UserError
from csg_train.runs.checkpoint import load_checkpoint
from tests.nested import equal
from tests.train.engine.test_distributed import losses
from tests.train.methods.test_methods import CPU, recipe_of


def test_training_is_that_of_views_from_the_loader(recipe_dict, tmp_path):
    recipe_dict["model"] |= {"backbone": "resnet18", "weights": "none"}
    saved = {}
    for name, workers in (("loader", 0), ("device", 0), ("device", 2)):
        recipe_dict["data"]["augment_on"] = name
        out = tmp_path / f"{name}{workers}"
        small = {"lr_head": 0.001, "lr_backbone": 0.0001}  # larger steps drive roundings apart
        engine.train(recipe_of(recipe_dict, "csg", steps=4, workers=workers, **small), out, device=CPU)
        saved[name, workers] = load_checkpoint(out / "ckpt.pt")
    for ours, theirs in zip(losses(tmp_path / "device0"), losses(tmp_path / "loader0"), strict=True):
        assert ours == pytest.approx(theirs, rel=0.01, abs=1e-3)
    assert not equal(saved["device", 0].model, saved["loader", 0].model)  # what changes numbers is in the recipe
    assert equal(saved["device", 0].model, saved["device", 2].model)


def test_crops_are_padded_with_the_mean_colour_of_imagenet(masked_recipe_dict, masked_tree, tmp_path):
    """(0.485, 0.456, 0.406) of 255, rounded, where a crop is larger than its picture; there masks are ignored."""
    for path in (masked_tree / "images").iterdir():
        with Image.open(path) as image:
            assert max(image.size) < 150
    masked_recipe_dict["data"] |= {"size": 160}
    masked_recipe_dict["segmentation"] |= {"padding": "mean", "scale": [1, 1]}
    batch = next(engine._Run(recipe_of(masked_recipe_dict, "baseline"), tmp_path, CPU)._batches())
    padded = batch.labels[0] == 255
    pixels, counts = batch.views[0][0].permute(1, 2, 0)[padded].unique(dim=0, return_counts=True)
    assert pixels[counts.argmax()].tolist() == [124, 116, 104]


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"augment": "augmix"}, "augmix"),
        ({"augment": "pasta+randaugment"}, "pasta"),
        ({"background": "varied"}, "varied"),
        ({"background": "photos"}, "photos"),
    ],
)
def test_what_the_device_does_not_make_is_refused(change, word, recipe_dict):
    recipe_dict["data"] |= {"augment_on": "device"} | change
    with pytest.raises(ValueError, match=rf"data.augment_on: device has no .*{word}.*use loader"):
        recipe_of(recipe_dict, "baseline")


def test_photographs_lie_under_what_is_trained_on_and_a_run_goes_on_with_the_same(recipe_dict, trees, tmp_path):
    """Pictures that are transparent throughout but for one pixel: the view is the photo."""
    for number, name in enumerate(("bus", "car", "truck")):
        for place in range(5):
            image = Image.new("RGBA", (32, 32), (0, 0, 0, 0))
            image.putpixel((number, place), (255, 255, 255, 255))
            (tmp_path / "renders" / name).mkdir(parents=True, exist_ok=True)
            image.save(tmp_path / "renders" / name / f"{place}.png")
    (tmp_path / "photos").mkdir()
    Image.new("RGB", (50, 40), (10, 20, 30)).save(tmp_path / "photos/a.png")
    Image.new("RGB", (40, 50), (11, 21, 31)).save(tmp_path / "photos/b.png")
    recipe_dict["data"] |= {"background": str(tmp_path / "photos"), "augment": "none"}
    recipe_dict["data"]["source"]["root"] = str(tmp_path / "renders")
    recipe = recipe_of(recipe_dict, "baseline")
    pixels = next(engine._Run(recipe, tmp_path / "one", CPU)._batches()).views[0].permute(0, 2, 3, 1).reshape(-1, 3)
    assert {tuple(row) for row in pixels.unique(dim=0).tolist()} == {(10, 20, 30), (11, 21, 31), (255, 255, 255)}
    engine.train(recipe, tmp_path / "run", device=CPU)
    (tmp_path / "photos/b.png").unlink()
    with pytest.raises(UserError, match=r"background, selection or style pictures changed since.*background_identity"):
        engine.train(recipe, tmp_path / "run", device=CPU, resume=True)


def test_crops_of_masks_are_refused(masked_recipe_dict):
    masked_recipe_dict["data"]["augment_on"] = "device"
    with pytest.raises(ValueError, match=r"data.augment_on: .* masks; use loader"):
        recipe_of(masked_recipe_dict, "baseline")
