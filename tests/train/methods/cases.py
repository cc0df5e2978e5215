"""Canonical small cases of every method; `test_methods.py` runs them all. A variant gives the method's ``name``."""

STYLES = "STYLES"  # stands for a folder of pictures

METHOD_CASES: dict[str, dict] = {
    "oracle": {},
    "baseline": {},
    "ibn-net": {"variant": "a"},
    "domain-randomization": {"styles": STYLES, "count": 2, "levels": [1, 2], "beta": 0.1},
    "weight-l2": {"weight": 0.5},
    "ewc": {"weight": 10.0, "samples": 4, "chunk": 3},
    "si": {"c": 1.0, "xi": 0.01},
    "weight-l2-gradient": {"name": "weight-l2", "weight": 0.5, "update": "gradient"},
    "ewc-gradient": {"name": "ewc", "weight": 10.0, "samples": 4, "chunk": 3, "update": "gradient"},
    "si-gradient": {"name": "si", "c": 1.0, "xi": 0.01, "update": "gradient"},
    "feature-l2": {"layers": ["layer3", "layer4"]},
    "asg": {"weight": 1.0},
    "asg-learned": {"name": "asg", "rates": "learned", "window": 2},
    "csg": {"queue_size": 7, "dim": 4, "weight": 0.5, "momentum": 0.9},
    "csg-no-head": {"name": "csg", "queue_size": 7, "head": "none", "pool": "average", "layers": ["layer4"]},
    "csg-dense": {"name": "csg", "queue_size": 50, "dim": 4, "patches": 2},
    "csg+asg": {"name": "csg", "queue_size": 4, "dim": 4, "asg_weight": 0.5},
}
SEGMENTATION_ONLY = {"domain-randomization", "csg-dense"}
TASK_CASES = [
    (task, label)
    for task in ("classification", "segmentation")
    for label in METHOD_CASES
    if task == "segmentation" or label not in SEGMENTATION_ONLY
]
