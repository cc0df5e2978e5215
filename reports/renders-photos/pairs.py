"""A cell whose seeds were trained on two machines' drawings of the same models: differences to one of its rows.

csg-report build keeps the two drawings apart, for their files differ; here the pairs of a seed, which share their
pictures, are read together. From the folder of the cell beside this file, with E_0 at one step along the runs, and once
more of some seeds alone where they are named:

python reports/renders-photos/pairs.py varied baseline 25 > reports/renders-photos/varied.csv
python reports/renders-photos/pairs.py long baseline 150 1234567 567 > reports/renders-photos/long.csv
python reports/renders-photos/pairs.py long oracle 150 567 > reports/renders-photos/long-oracle.csv
python reports/renders-photos/pairs.py long asg 150 > reports/renders-photos/long-asg.csv
"""

import csv
import json
import sys
from collections.abc import Iterable
from pathlib import Path

from csg_analysis.report.load import load_runs
from csg_analysis.report.rows import Row
from csg_analysis.report.stats import paired_difference

ORDER = ("baseline", "oracle", "asg", "csg", "csg-asg")
COMPARED = {"baseline": (4, ORDER), "oracle": (5, ("baseline", "csg")), "asg": (6, ("csg",))}
"""Comparisons to adjust for and rows to compare, as the plan has it of each cell: every other row with the baseline; of
long one more each with the oracle and with ASG, those of CSG."""


def values(runs: Path, row: str, file: str, *keys: str) -> dict[str, float]:
    """One number of each seed's record."""
    found = {}
    for path in sorted(runs.glob(f"s?-{row}/{file}")):
        value = json.loads(path.read_text(encoding="utf-8"))
        for key in keys:
            value = value[key]
        found[path.relative_to(runs).parts[0].partition("-")[0]] = value
    return found


def row_of(runs: Path, name: str, seeds: Iterable[str]) -> Row:
    """The runs of some seeds as the report has them."""
    return Row(name, name, name, "", "", 0, tuple(load_runs([runs / f"{seed}-{name}" for seed in seeds])))


def main(cell: str, reference: str, step: str, *subsets: str) -> None:
    """A line for each row and measure: every seed, the mean difference, its simultaneous 95 % intervals.

    Those are over seeds, and of accuracy over seeds and photos where all records hold single predictions.
    """
    runs = Path(__file__).with_name(cell)
    comparisons, compared = COMPARED[reference]
    ran = {path.name.partition("-")[2] for path in runs.glob("s?-*")} - {reference}
    rows = [row for row in compared if row in ran]
    writer = csv.writer(sys.stdout, lineterminator="\n")
    names = ["measure", "row", "seeds", "values", f"minus_{reference}", "low", "high", "pairs", "comparisons"]
    writer.writerow([*names, "low_photos", "high_photos"])
    for measure, file, *keys in (
        ("mean_per_class", "accuracy-target.json", "mean_per_class"),
        ("held_out_models", "accuracy-validation.json", "mean_per_class"),
        ("e0_mhe", "energy-target.json", "mhe", "0"),
        (f"e0_mhe_step_{step}", f"along/{int(step):06}/energy-target.json", "mhe", "0"),
    ):
        other = values(runs, reference, file, *keys)
        for row in (reference, *rows):
            own = values(runs, row, file, *keys)
            for seeds in ("0123456789", *subsets):
                if not (some := {name: value for name, value in own.items() if name[1:] in seeds}):
                    continue
                cells: list[object] = [
                    measure,
                    row,
                    " ".join(some),
                    " ".join(f"{value:.4f}" for value in some.values()),
                ]
                if row != reference and some.keys() & other.keys():
                    photos = None
                    if measure == "mean_per_class":
                        ours, theirs = (row_of(runs, name, some) for name in (row, reference))
                        if {run.pair for run in ours.runs} == {run.pair for run in theirs.runs}:  # of one drawing
                            photos = ours.picture_variance(theirs)
                    found = paired_difference(some, other, comparisons=comparisons, pictures=photos)
                    cells += [found.mean, *(found.simultaneous or ("", "")), len(found.values), found.comparisons]
                    cells += found.crossed or ("", "")
                writer.writerow(cells)


if __name__ == "__main__":
    main(*sys.argv[1:])
