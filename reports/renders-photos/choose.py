"""The rule of PLAN.md, from records alone: strengths.csv on standard output, the chosen ones on standard error.

python reports/renders-photos/choose.py runs/renders-strengths > reports/renders-photos/strengths.csv
"""

import csv
import json
import sys
from pathlib import Path

_WITHIN = 2.0
"""Points of held-out accuracy below a method's best that a strength may lose for more diverse features."""
_FIELDS = ("method", "strength", "seed", "held_out_percent", "e0_mhe_photos", "chosen")


def trial(run: Path) -> dict[str, str | float]:
    """What one run measured: accuracy on held-out models, energy of the unlabelled photos."""
    accuracy = json.loads((run / "accuracy-validation.json").read_text(encoding="utf-8"))
    energy = json.loads((run / "energy-target.json").read_text(encoding="utf-8"))
    config = accuracy["run"]["method_config"]
    return {
        "method": accuracy["run"]["method"],
        "strength": config["c" if accuracy["run"]["method"] == "si" else "weight"],
        "seed": accuracy["run"]["seed"],
        "held_out_percent": round(100 * accuracy["mean_per_class"], 2),
        "e0_mhe_photos": round(energy["mhe"]["0"], 4),
    }


def main() -> None:
    """Choose one strength a method."""
    trials = [trial(path.parent) for path in sorted(Path(sys.argv[1]).glob("*/accuracy-validation.json"))]
    trials.sort(key=lambda row: (row["method"], row["strength"]))
    writer = csv.DictWriter(sys.stdout, _FIELDS, lineterminator="\n")
    writer.writeheader()
    for method in dict.fromkeys(row["method"] for row in trials):
        own = [row for row in trials if row["method"] == method]
        best = max(row["held_out_percent"] for row in own)
        chosen = min(
            (row for row in own if row["held_out_percent"] >= best - _WITHIN), key=lambda r: r["e0_mhe_photos"]
        )
        writer.writerows(row | {"chosen": int(row is chosen)} for row in own)
        print(f"{method}: {chosen['strength']}", file=sys.stderr)


if __name__ == "__main__":
    main()
