"""``csg-analyze``, also as ``python -m csg_analysis``: ready for Ctrl-C before it imports the rest."""

from csg_train.program import start

__all__ = ["main"]


def main() -> None:
    """The program."""
    start()
    from csg_analysis.cli import main as program

    program()


if __name__ == "__main__":
    main()
