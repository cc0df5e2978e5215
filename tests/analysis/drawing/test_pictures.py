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
