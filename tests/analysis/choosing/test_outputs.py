"""What a network makes of pictures, against one whose logits are known: white to the left, black to the right."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.special import expit, softmax

from csg_analysis.choosing.candidate import measure_run
from csg_analysis.choosing.outputs import Outputs, network_outputs
from csg_train.errors import UserError
from csg_train.recipes.pictures import load_split
from csg_train.recipes.reading import parse_recipe


class LooksLeft(torch.nn.Module):
    """Logits 10 and 3 where the left half is white, 0 and 3 where it is black."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor(10.0))
        self.backbone = SimpleNamespace(require_stages=lambda *_: None)

    def forward(self, views_NCHW):
        left_N = views_NCHW[..., : views_NCHW.shape[3] // 2].float().mean(dim=(1, 2, 3)) / 255
        logits_NC = torch.stack([self.weight * left_N, torch.full_like(left_N, 3)], dim=1)
        rounded_NCHW = views_NCHW.float() + 1e-3 * len(views_NCHW)  # otherwise in a batch of another size
        return SimpleNamespace(logits=logits_NC, stages={"layer4": rounded_NCHW})


@pytest.fixture
def half_white(tmp_path: Path) -> dict:
    pixels = np.zeros((32, 32, 3), dtype=np.uint8)
    pixels[:, :16] = 255
    for file in ("source/a/0.png", "source/b/0.png", "target/a/0.png", "target/a/1.png", "target/b/0.png"):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(tmp_path / file)
    domains = {name: {"dataset": "folder", "root": str(tmp_path / name)} for name in ("source", "target")}
    train = {"steps": 1, "batch_size": 2, "lr_head": 0.1, "lr_backbone": 0.01, "warmup": 0}
    return {"name": "tiny", "data": {**domains, "size": 32}, "method": {"name": "baseline"}, "train": train}


def outputs_of(recipe: dict, *, flip: bool):
    parsed = parse_recipe(recipe, overrides=[f"evaluate.flip={str(flip).lower()}"], origin="tests")
    return network_outputs(LooksLeft(), load_split(parsed.data, "target", ["a", "b"]), parsed, layer="layer4")


def test_the_mirror_image_has_half_of_every_probability_and_of_every_sigmoid(half_white):
    """Sigmoids alone 1 and 0.95, of the mirror image 0.5 and 0.95: the first class, then the second."""
    logits = np.array([[10, 3], [0, 3]])
    assert [expit(logits[:1]).mean(0).argmax(), expit(logits).mean(0).argmax()] == [0, 1]
    found = outputs_of(half_white, flip=True)
    assert found.probabilities_NC == pytest.approx(np.tile(softmax(logits, axis=1).mean(0), (3, 1)))
    assert found.predicted_N.tolist() == [1, 1, 1]
    assert found.features_ND == pytest.approx(np.full((3, 3), 127.502)), "of the picture itself"


def test_without_mirror_images_the_picture_alone_is_asked(half_white):
    found = outputs_of(half_white, flip=False)
    assert found.probabilities_NC == pytest.approx(np.tile(softmax([10.0, 3.0]), (3, 1)))
    assert found.predicted_N.tolist() == [0, 0, 0]


def test_equal_pictures_have_equal_features_though_a_batch_is_smaller(half_white):
    found = outputs_of(half_white, flip=True).features_ND
    assert (found == found[0]).all()


@pytest.mark.parametrize("side", [0, 1], ids=["held out", "real"])
@pytest.mark.parametrize("field", ["features_ND", "probabilities_NC"])
def test_a_network_that_gives_no_numbers_is_left_out(monkeypatch, field, side):
    sides = [{"features_ND": np.ones((2, 3)), "probabilities_NC": np.full((2, 2), 0.5)} for _ in range(2)]
    sides[side][field][1, 0] = np.nan
    found = iter([Outputs(**own, predicted_N=np.zeros(2, dtype=int)) for own in sides])
    monkeypatch.setattr("csg_analysis.choosing.candidate.network_outputs", lambda *_, **__: next(found))
    given = {"held_out": None, "target": None, "recipe": None, "layer": "layer4"}
    with pytest.raises(UserError, match=r"runs/a/ckpt\.pt: the network gives NaN or infinity"):
        measure_run(SimpleNamespace(path="runs/a/ckpt.pt"), None, **given)
