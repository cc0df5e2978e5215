"""Pictures beside one another."""

import numpy as np
from PIL import Image

from csg_analysis.drawing.pictures import side_by_side


def test_a_long_caption_stays_inside_the_picture(tmp_path):
    """White pictures: all ink is of captions, and none lies on the border."""
    white = np.full((96, 96, 3), 255, np.uint8)
    side_by_side(tmp_path / "a.png", [("picture", white), ("timm/vit_small_patch14_dinov2: 561 forklift", white)])
    ink_HW = np.asarray(Image.open(tmp_path / "a.png").convert("L")) < 255
    assert ink_HW.any()
    border = (ink_HW[0], ink_HW[-1], ink_HW[:, 0], ink_HW[:, -1])
    assert not any(edge.any() for edge in border)


def test_captions_lie_above_their_pictures_and_little_is_left_below(tmp_path):
    """A long caption in one line of two: no picture is covered by it, or smaller than the others."""
    red = np.zeros((96, 96, 3), np.uint8)
    red[..., 0] = 255
    long = "words that have to be folded over more than two lines of a caption"
    for name, columns, under in (
        ("one", [("a", red)] * 2, []),
        ("first", [(long, red), ("a", red)], [("b", red), ("c", red)]),
        ("second", [("a", red), ("b", red)], [(long, red), ("c", red)]),
    ):
        side_by_side(tmp_path / f"{name}.png", columns, under=under)
        image_HW3 = np.asarray(Image.open(tmp_path / f"{name}.png").convert("RGB"))
        red_HW = (image_HW3 == (255, 0, 0)).all(axis=-1)
        ink_H = (image_HW3 < 255).any(axis=(1, 2))
        assert red_HW.sum() == (4 if under else 2) * 254**2, name
        assert ink_H.argmax() >= 5, name
        assert ink_H[::-1].argmax() <= 8, name
