"""``python -m csg_train`` is ``csg-train``."""

from csg_train.cli import main

main()
