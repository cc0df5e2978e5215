"""Every trial's accuracy on the photos, opened after the choice was made: sensitivity.csv. Nothing is chosen by it.

csg-analyze accuracy runs/renders-strengths/*/ckpt.pt --split target
python reports/renders-photos/sensitivity.py runs/renders-strengths > reports/renders-photos/sensitivity.csv
"""

import csv
import json
import sys
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from statistics import fmean

from choose import trial


def main() -> None:
    """One line a trial; the means on standard error."""
    found = sorted({path.parent for root in sys.argv[1:] for path in Path(root).glob("*/accuracy-validation.json")})
    rows = [
        trial(run) | {"photos_percent": round(100 * json.loads(text)["mean_per_class"], 2)}
        for run in found
        for text in [(run / "accuracy-target.json").read_text(encoding="utf-8")]
    ]
    rows.sort(key=itemgetter("method", "strength", "seed"))
    writer = csv.DictWriter(sys.stdout, rows[0], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    for key, trials in groupby(rows, key=itemgetter("method", "strength")):
        own = list(trials)
        means = (fmean(row[name] for row in own) for name in ("held_out_percent", "photos_percent", "e0_mhe_photos"))
        print("| {} | {} | {:.1f} | {:.1f} | {:.3f} |".format(*key, *means), file=sys.stderr)


if __name__ == "__main__":
    main()
