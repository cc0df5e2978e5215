"""One canonical small case for every method; `test_methods.py` runs them all."""

METHOD_CASES: dict[str, dict] = {
    "oracle": {},
    "baseline": {},
    "csg": {"queue_size": 7, "dim": 4, "weight": 0.5, "momentum": 0.9},
}
