"""The page of the paper's tables: its sweeps are the published rows."""

import re
from pathlib import Path

from csg_train.recipes.packaged import packaged_recipes
from csg_train.recipes.reading import load_recipe
from csg_train.recipes.sweep import load_sweep

PAGE = (Path(__file__).parents[2] / "docs" / "paper.md").read_text()


def test_a_sweep_has_every_row_three_times_with_its_published_settings(tmp_path):
    for number, text in enumerate(re.findall(r"^```yaml\n(.*?)^```", PAGE, flags=re.DOTALL | re.MULTILINE)):
        base = re.match(r"recipe: (.*)\n", text)[1]
        (tmp_path / "table.yaml").write_text(text)
        planned = load_sweep(tmp_path / "table.yaml")
        rows = [name for name in packaged_recipes() if name.startswith(f"{base}-")]
        assert sorted({f"{base}-{run.recipe.method['name']}" for run in planned}) == rows
        assert len(planned) == 3 * len(rows)
        for run in planned:
            published = load_recipe(f"{base}-{run.recipe.method['name']}")
            assert (run.recipe.method, run.recipe.train) == (published.method, published.train)
            assert run.recipe.evaluate.select == "oracle"
            assert (run.recipe.data.augment == "paper") == (number == 0)
