"""Whether every method at its default strength trains on a demo: finite, and not dead (`csg_train.runs.deaths`).

    python -m benchmarks.defaults digits                    # every method, five seeds
    python -m benchmarks.defaults scenes --method csg --seeds 1

A method of the other task is left out; domain randomization takes the demo's own styles. The target is not read,
nothing is kept, and the exit code is 1 where a run failed. A step of each method costs what reports/README.md says;
`csg-train sweep` with the failing line finds out more.
"""

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import click

from csg_train.console import console, print_table
from csg_train.engine.loop import train
from csg_train.errors import UserError
from csg_train.methods.table import METHODS
from csg_train.recipes.pictures import load_split
from csg_train.recipes.reading import load_recipe
from csg_train.recipes.ready import require_trainable
from csg_train.recipes.sections import Recipe


def outcome(recipe: Recipe) -> str:
    """``lives``, the sentence with which a run is said to have died, or the error that ended it."""
    with tempfile.TemporaryDirectory() as folder, console.capture() as printed:
        try:
            train(recipe, Path(folder), splits=["source"])
        except UserError as error:
            return error.format_message().removeprefix(f"{folder}: ")
    return next((line for line in printed.get().splitlines() if "the run has died" in line), "lives")


@click.command()
@click.argument("demo", default="digits")
@click.option("--method", "methods", multiple=True, type=click.Choice([*METHODS]), help="Of these alone.")
@click.option("--seeds", default=5, show_default=True, help="Seeds 0 to N - 1 of each method.")
def main(demo: str, methods: Sequence[str], seeds: int) -> None:
    rows, failed = [], 0
    for name in methods or METHODS:
        styles = f", styles: 'demo:{demo}'" if name == "domain-randomization" else ""  # what has no default
        try:
            plan = [load_recipe(demo, [f"method={{name: {name}{styles}}}", f"seed={seed}"]) for seed in range(seeds)]
            require_trainable(plan[0], classes=len(load_split(plan[0].data, "source").classes))
        except UserError as error:
            click.echo(f"left out: {error.format_message()}")
            continue
        start, found = time.process_time(), []
        for recipe in plan:
            found.append(outcome(recipe))
            click.echo(f"{name} s{recipe.seed}: {found[-1]}")
        lives = found.count("lives")
        failed += seeds - lives
        rows.append([name, f"{lives} of {seeds}", f"{(time.process_time() - start) / seeds:.0f}"])
    print_table(f"{demo}, default strengths", ["method", "live", "processor seconds a run"], rows)
    raise SystemExit(failed > 0)


if __name__ == "__main__":
    main()
