"""How the tensors of released files are called, a layout for each kind of file."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

__all__ = ["CSG_SEGMENTATION", "LAYOUTS", "Layout"]


@dataclass(frozen=True, kw_only=True)
class Layout:
    """How the tensors of one kind of file are called.

    Attributes:
        recipe: The recipe that such a file fits, unless the user names another.
        parts: Name of a part -> (our prefix, the file's prefix); no prefix of ours begins another.
        left_out: Prefix in the file -> the reason why those tensors are not used.
    """

    recipe: str
    parts: Mapping[str, tuple[str, str]] = field(default_factory=lambda: {"backbone": ("", "")})
    left_out: Mapping[str, str] = field(default_factory=dict)


LAYOUTS: dict[str, Layout] = {
    "csg": Layout(
        recipe="visda17-resnet101-csg",
        parts={"backbone": ("backbone.net.", "encoder_q."), "task head": ("head.", "encoder_q.fc_new.")},
        left_out={
            "encoder_q.fc.": "random layer in the ImageNet classifier's place, never used",
            "encoder_q.fc_csg.": "projection heads, for training only",
            "encoder_k.fc_csg.": "moving average of the projection heads, for training only",
            "encoder_k.": "frozen ImageNet teacher, for training only",
            "queue_ptr": "position in the queues, for training only",
            "queue": "queues of negatives, for training only",
        },
    ),
    "asg": Layout(
        recipe="visda17-resnet101-asg",
        parts={"backbone": ("backbone.net.", ""), "task head": ("head.", "fc_new.")},
    ),
    "torchvision": Layout(recipe="visda17-resnet101"),
    "timm": Layout(recipe="emoji-photos"),
    "ibn-net": Layout(recipe="gta5-resnet50-ibn-net"),
}

CSG_SEGMENTATION = replace(
    LAYOUTS["csg"],
    recipe="gta5-resnet50-csg",
    parts={"backbone": ("backbone.net.", "encoder_q."), "task head": ("head.", "encoder_q.fc_new.conv2d_list.0.")},
)
"""Of kind ``csg``, where the recipe is one of segmentation: DeepLab v3's head in a list of one."""
