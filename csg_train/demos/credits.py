"""Who made the pictures of a demo's domain, by the ``CREDITS.csv`` that was built beside them."""

import csv
from collections import Counter
from pathlib import Path

from csg_train.demos.table import DEMOS
from csg_train.files import data_root

__all__ = ["creators"]


def creators(root: Path) -> tuple[str, ...]:
    """Names of the creators of a demo's domain, who made most first; of scenes, of all that they draw from.

    Args:
        root: Folder of the domain. Empty is the answer where it is none of a demo's, and where the demo's packages name
            no creator.
    """
    for demo in DEMOS.values():
        folder = data_root() / demo.folder
        for domain in demo.domains.values():
            if root == folder / domain.folder and (table := folder / "CREDITS.csv").is_file():
                rows = list(csv.DictReader(table.read_text(encoding="utf-8").splitlines()))
                own = [row for row in rows if row["file"].startswith(f"{domain.folder}/")]
                own = own or [row for row in rows if row["package"].partition(",")[0] in domain.licence]
                return tuple(name for name, _ in Counter(row["creator"] for row in own).most_common())
    return ()
