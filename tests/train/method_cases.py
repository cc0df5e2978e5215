"""One canonical small case for every method; `test_methods.py` runs them all."""

METHOD_CASES: dict[str, dict] = {
    "oracle": {},
    "baseline": {},
    "weight-l2": {"weight": 0.5},
    "ewc": {"weight": 10.0, "samples": 4, "chunk": 3},
    "si": {"c": 1.0, "xi": 0.01},
    "feature-l2": {"layers": ["layer3", "layer4"]},
    "asg": {"weight": 1.0},
    "csg": {"queue_size": 7, "dim": 4, "weight": 0.5, "momentum": 0.9},
}
