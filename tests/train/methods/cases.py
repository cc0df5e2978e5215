"""Canonical small cases: of every method and option, run by `test_methods.py`; of every family, by `test_families.py`.

A variant of a method gives its ``name``. What it is combined with stands under `WITH`, by section of the recipe.
"""

from tests.tiny_models import FAMILIES

STYLES = "STYLES"  # stands for a folder of pictures
HELD_OUT = "HELD_OUT"  # stands for held-out pictures of the task
WITH = "WITH"
_SWAD = {"rule": "swad", "every": 1, "n_converge": 2, "n_tolerance": 2, "tolerance_ratio": 0.01}

METHOD_CASES: dict[str, dict] = {
    "oracle": {},
    "baseline": {},
    "ibn-net": {"variant": "a"},
    "domain-randomization": {"styles": STYLES, "count": 2, "levels": [1, 2], "beta": 0.1},
    "weight-l2": {"weight": 0.5},
    "ewc": {"weight": 10.0, "samples": 4, "chunk": 3},
    "si": {"c": 1.0, "xi": 0.01},
    "weight-l2-gradient": {"name": "weight-l2", "weight": 0.5, "update": "gradient"},
    "ewc-gradient": {"name": "ewc", "weight": 10.0, "samples": 4, "spread": False, "chunk": 3, "update": "gradient"},
    "si-gradient": {"name": "si", "c": 1.0, "xi": 0.01, "update": "gradient"},
    "feature-l2": {"layers": ["layer3", "layer4"]},
    "miro": {"weight": 0.5},
    "ldifs": {"name": "miro", "distance": "ldifs", "layers": ["layer2", "layer4"]},
    "gcisg": {"weight": 0.1},
    "asg": {"weight": 1.0},
    "asg-learned": {"name": "asg", "rates": "learned", "window": 2},
    "csg": {"queue_size": 7, "dim": 4, "weight": 0.5, "momentum": 0.9},
    "csg-no-head": {"name": "csg", "queue_size": 7, "head": "none", "pool": "average", "layers": ["layer4"]},
    "csg-dense": {"name": "csg", "queue_size": 50, "dim": 4, "patches": 2},
    "csg+asg": {"name": "csg", "queue_size": 4, "dim": 4, "asg_weight": 0.5},
    "lp-ft": {"name": "baseline", WITH: {"train": {"probe": 2}}},
    "swad": {"name": "baseline", WITH: {"average": _SWAD, "data": {"validation": HELD_OUT}}},
    "frozen+augmix": {"name": "baseline", WITH: {"train": {"frozen": ["layer1"]}, "data": {"augment": "augmix"}}},
    "lp-ft+csg+ema+pasta": {
        "name": "csg",
        "queue_size": 7,
        "dim": 4,
        WITH: {"train": {"probe": 2}, "average": {"rule": "ema", "decay": 0.5}, "data": {"augment": "pasta"}},
    },
    "lp-ft+si+swad+frozen": {
        "name": "si",
        "c": 1.0,
        "update": "gradient",
        WITH: {"train": {"probe": 2, "frozen": ["layer3"]}, "average": _SWAD, "data": {"validation": HELD_OUT}},
    },
}
REFUSED = {
    "ibn-net": ({"regnet", "convnext", "swin", "vit", "dinov2", "clip"}, "method ibn-net: not defined for"),
    "asg": ({"dinov2", "clip"}, "method asg: needs the ImageNet classifier, and this backbone has"),
    "ewc": ({"dinov2", "clip"}, "method ewc: needs the ImageNet classifier, and this backbone has"),
    "csg+asg": ({"dinov2", "clip"}, "method.asg_weight: needs the ImageNet classifier, and this backbone has"),
}
"""Method -> the families on which it makes no sense, and how it says so."""
DILATED = {"resnet", "regnet", "efficientnet", "convnext"}
"""Families that can keep their resolution, as segmentation needs."""
SEGMENTATION_ONLY = {"domain-randomization", "csg-dense"}
CLASSIFICATION_ONLY = {"frozen+augmix"}  # its rotations would leave the mask behind
TASK_CASES = [
    (task, label)
    for task, left_out in (("classification", SEGMENTATION_ONLY), ("segmentation", CLASSIFICATION_ONLY))
    for label in METHOD_CASES
    if label not in left_out
]
FAMILY_CASES = [
    (family, label)
    for family in FAMILIES
    for label, fields in METHOD_CASES.items()
    if label not in SEGMENTATION_ONLY and ("name" not in fields or label == "csg+asg")
]
