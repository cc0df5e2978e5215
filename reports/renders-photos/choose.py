"""The rule of PLAN.md, from records alone: strengths.csv on standard output, the chosen ones on standard error.

python reports/renders-photos/choose.py runs/renders-strengths > reports/renders-photos/strengths.csv
"""

import csv
import json
import math
import sys
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from statistics import fmean, variance
from typing import Any

_SEEDS = 3
_FIELDS = ("method", "strength", "seed", "held_out_percent", "e0_mhe_photos", "chosen")


def trial(run: Path) -> dict[str, Any]:
    """What one run measured: accuracy on held-out models, energy of the unlabelled photos."""
    accuracy = json.loads((run / "accuracy-validation.json").read_text(encoding="utf-8"))
    energy = json.loads((run / "energy-target.json").read_text(encoding="utf-8"))
    method, config = accuracy["run"]["method"], accuracy["run"]["method_config"]
    return {
        "method": config.get("distance", method),  # LDIFS is a distance of the method miro
        "strength": config["c" if method == "si" else "weight"],
        "seed": accuracy["run"]["seed"],
        "held_out_percent": round(100 * accuracy["mean_per_class"], 2),
        "e0_mhe_photos": round(energy["mhe"]["0"], 4),
    }


def main() -> None:
    """Choose one strength a method."""
    records = sorted({path for root in sys.argv[1:] for path in Path(root).glob("*/accuracy-validation.json")})
    trials = sorted((trial(path.parent) for path in records), key=itemgetter("method", "strength", "seed"))
    groups = {key: list(rows) for key, rows in groupby(trials, key=itemgetter("method", "strength"))}
    accuracy, energy = (
        {key: fmean(row[field] for row in rows) for key, rows in groups.items()}
        for field in ("held_out_percent", "e0_mhe_photos")
    )
    spread = fmean(variance(row["held_out_percent"] for row in rows) for rows in groups.values())
    error = math.sqrt(spread / _SEEDS)
    chosen = set()
    for method in dict.fromkeys(method for method, _ in groups):
        own = [key for key in groups if key[0] == method]
        best = max(accuracy[key] for key in own)
        chosen.add(min((key for key in own if accuracy[key] >= best - error), key=energy.__getitem__))
    writer = csv.DictWriter(sys.stdout, _FIELDS, lineterminator="\n")
    writer.writeheader()
    for key, rows in groups.items():
        if len(rows) != _SEEDS:
            sys.exit(f"{key}: {len(rows)} trials and not {_SEEDS}")
        writer.writerows(row | {"chosen": int(key in chosen)} for row in rows)
        mark = "  <- chosen" if key in chosen else ""
        print(f"{key[0]} {key[1]}: {accuracy[key]:.2f} %, E_0 {energy[key]:.4f}{mark}", file=sys.stderr)
    print(f"one standard error: {error:.2f} points", file=sys.stderr)


if __name__ == "__main__":
    main()
