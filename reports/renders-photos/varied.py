"""Cell "varied", whose seeds were trained on two machines' drawings of the same models: differences to the baseline.

csg-report build --allow-mixed keeps the two drawings apart, for their files differ; here the pairs of a seed, which
share their pictures, are read together. From `varied/` beside this file:

python reports/renders-photos/varied.py > reports/renders-photos/varied.csv
"""

import csv
import json
import sys
from pathlib import Path

from csg_analysis.report.stats import paired_difference

RUNS = Path(__file__).with_name("varied")
ROWS = ("oracle", "asg", "csg", "csg-asg")


def values(row: str, file: str, *keys: str) -> dict[str, float]:
    """One number of each seed's record."""
    found = {}
    for path in sorted(RUNS.glob(f"s?-{row}/{file}")):
        value = json.loads(path.read_text(encoding="utf-8"))
        for key in keys:
            value = value[key]
        found[path.relative_to(RUNS).parts[0].partition("-")[0]] = value
    return found


def main() -> None:
    """A line for each row and measure: every seed, the mean difference and its simultaneous 95 % t-interval."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(["measure", "row", "seeds", "values", "minus_baseline", "low", "high", "pairs", "comparisons"])
    for measure, file, *keys in (
        ("mean_per_class", "accuracy-target.json", "mean_per_class"),
        ("e0_mhe", "energy-target.json", "mhe", "0"),
        ("e0_mhe_step_25", "along/000025/energy-target.json", "mhe", "0"),
    ):
        baseline = values("baseline", file, *keys)
        for row in ("baseline", *ROWS):
            own = values(row, file, *keys)
            cells: list[object] = [measure, row, " ".join(own), " ".join(f"{value:.4f}" for value in own.values())]
            if row != "baseline":
                found = paired_difference(own, baseline, comparisons=len(ROWS))
                low, high = found.simultaneous or ("", "")
                cells += [found.mean, low, high, len(found.values), found.comparisons]
            writer.writerow(cells)


if __name__ == "__main__":
    main()
