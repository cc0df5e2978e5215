"""Time of one training step of every method, relative to the baseline's.

    python benchmarks/methods.py                                # the demo's recipe, a few minutes on 2 cores
    python benchmarks/methods.py digits --steps 5
    python benchmarks/methods.py --out methods.json

The methods take turns, one step each, in one process, so that all of them meet the same machine. The ratio is that of
the medians; the least and the largest of the steps stand beside it. Loading and augmentation of the pictures count.
Preparation (Fisher information, teachers) is timed apart.
"""

import platform
import statistics
import tempfile
import time
from pathlib import Path

import click
import torch

from csg_train.engine.loop import _Run
from csg_train.errors import UserError
from csg_train.files import write_json
from csg_train.methods.table import METHODS
from csg_train.recipes.reading import load_recipe


@click.command()
@click.argument("recipe", default="emoji-photos")
@click.option("--steps", default=15, show_default=True, help="Timed steps of each method, after two that are not.")
@click.option("--out", type=click.Path(path_type=Path), help="Write the figures as JSON.")
def main(recipe: str, steps: int, out: Path | None) -> None:
    runs, prepared = {}, {}
    for name in METHODS:
        start = time.process_time()
        try:
            plan = load_recipe(recipe, [f"method.name={name}", f"train.steps={steps + 2}"])
            runs[name] = _Run(plan, Path(tempfile.gettempdir()), torch.device("cpu"))
        except UserError as error:  # a method of the other task
            click.echo(f"left out: {error.format_message()}")
            continue
        prepared[name] = time.process_time() - start
    batches = {name: run._batches() for name, run in runs.items()}
    taken: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(steps + 2):
        for name, run in runs.items():
            start = time.process_time()  # of all threads: a neighbour's work does not count
            run._train_step(next(batches[name]).to(run.device))
            taken[name].append(time.process_time() - start)
    rows = []
    middle = {name: statistics.median(times[2:]) for name, times in taken.items()}
    for name, times in taken.items():
        ratios = [value / middle["baseline"] for value in times[2:]]
        rows.append(
            {
                "method": name,
                "ratio": middle[name] / middle["baseline"],
                "least": min(ratios),
                "largest": max(ratios),
                "step_seconds": middle[name],
                "prepare_seconds": prepared[name],
            }
        )
        click.echo(
            f"{name:12s} {rows[-1]['ratio']:5.2f} x baseline (steps {min(ratios):.2f} - {max(ratios):.2f}), "
            f"preparation {prepared[name]:.1f} s"
        )
    machine = f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}"
    click.echo(f"recipe {recipe}, processor time, median of {steps} steps each, {machine}")
    if out:
        write_json(out, {"recipe": recipe, "steps": steps, "machine": machine, "methods": rows})


if __name__ == "__main__":
    main()
