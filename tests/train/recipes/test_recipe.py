"""Recipes: packaged ones resolve, round-trip, and overrides do what they say."""

import pytest
import yaml

from csg_train.errors import UserError
from csg_train.recipes.packaged import RECIPES, packaged_recipes
from csg_train.recipes.reading import load_recipe, parse_recipe, to_yaml
from csg_train.recipes.sections import Recipe
from csg_train.runs.checkpoint import load_checkpoint
from tests.train.methods.test_methods import run


@pytest.mark.parametrize("name", sorted(path.stem for path in RECIPES.glob("*.yaml")))
def test_packaged_recipes_round_trip(name):
    recipe = load_recipe(name)
    assert recipe.name == name
    assert parse_recipe(yaml.safe_load(to_yaml(recipe)), origin="copy") == recipe


@pytest.mark.parametrize("base", ["visda17-resnet101", "gta5-resnet50", "gta5-resnet101"])
def test_asgs_schedule_is_the_bases_but_for_where_the_decay_stands_still(base):
    asg, usual = load_recipe(f"{base}-asg").train, load_recipe(base).train
    assert (asg.decay_until, usual.decay_until) == (0.8, 1.0)
    assert asg.model_copy(update={"decay_until": 1.0}) == usual


@pytest.mark.parametrize("row", [name for name in packaged_recipes() if "resnet" in name and name.count("-") > 1])
def test_a_method_named_on_a_recipe_of_rows_has_the_published_settings_of_its_row(row, tmp_path):
    """CSG on GTA5 trained with the weight of VisDA-17, 0.1 in place of 75, and without patches."""
    *base, method = row.split("-", 2)
    asked, published = "-".join(base), load_recipe(row)
    for name, overrides in ((asked, []), (f"{asked}-baseline", []), (asked, ["method.name=baseline"])):
        found = load_recipe(name, [*overrides, f"method.name={method}"])
        assert found == published.model_copy(update={"name": name})
    quoted = load_recipe(asked, ["train.steps=7", f'method.name="{method}"'])
    assert (quoted.train.steps, quoted.train.decay_until) == (7, published.train.decay_until)
    assert quoted.method == published.method
    own = tmp_path / "own.yaml"
    own.write_text(f"extends: {asked}\nname: own\n")
    assert load_recipe(str(own), [f"method.name={method}"]).method == published.method
    own.write_text(f"extends: {asked}\nname: own\nmethod: {{name: weight-l2, weight: 3.0}}\n")
    if method != "weight-l2":
        assert load_recipe(str(own), [f"method.name={method}"]).method == published.method
    assert load_recipe(str(own), ["method.name=weight-l2"]).method["weight"] == 3.0
    by_path = load_recipe(str(RECIPES / f"{row}.yaml"), ["train.steps=7"])
    assert by_path.method == published.method


def test_a_whole_method_is_taken_as_it_is_said():
    given = ["method={name: asg, weight: 3.0}", "method.name=csg"]
    assert load_recipe("gta5-resnet50", given).method == load_recipe("visda17-resnet101", ["method.name=csg"]).method
    with pytest.raises(UserError, match=r"replaces method\.name, set before it"):
        load_recipe("gta5-resnet50", given[::-1])


@pytest.mark.parametrize("overrides", ["train.steps=2", {"train.steps": 2}])
def test_overrides_that_are_no_list_are_refused(overrides):
    """A text was taken letter by letter, a mapping ended in a TypeError."""
    with pytest.raises(UserError, match=r"load_recipe: overrides=.*; give a list, \['train.steps=100'\]"):
        load_recipe("emoji-photos", overrides)


def test_naming_the_same_method_keeps_its_fields_and_another_drops_them():
    recipe = load_recipe("emoji-photos")
    assert load_recipe("emoji-photos", ["method.name=csg"]) == recipe
    assert load_recipe("emoji-photos", ["method.name=baseline"]).method == {"name": "baseline"}
    changed = load_recipe("emoji-photos", ["method.name=csg", "method.weight=0.25"])
    assert changed.method == recipe.method | {"weight": 0.25}


def test_what_one_override_says_no_later_one_takes_back_without_a_word(recipe_dict):
    """A sweep of strengths and then methods trained the default strength under the strength's name."""
    ours = ["method.weight=3.0", "method.queue_size=8", "method.name=csg"]
    method = parse_recipe(recipe_dict, overrides=ours, origin="x").method
    assert (method["name"], method["weight"], method["queue_size"]) == ("csg", 3.0, 8)
    with pytest.raises(UserError, match=r"method\.queue_size: unknown key"):
        parse_recipe(recipe_dict, overrides=["method.queue_size=8", "method.name=feature-l2"], origin="x")
    with pytest.raises(UserError, match=r"--set train=\{steps: 2\}: replaces train.steps, set before it"):
        parse_recipe(recipe_dict, overrides=["train.steps=7", "train={steps: 2}"], origin="x")
    later = ["train={steps: 2}", "train.steps=7"]
    assert parse_recipe(recipe_dict, overrides=later, origin="x").train.steps == 7


def test_the_papers_defaults():
    """methods.md 1.3 and 1.4."""
    minimal = {"name": "x", "method": {"name": "csg"}, "train": {"steps": 1}}
    domain = {"dataset": "folder", "root": "."}
    recipe = parse_recipe(minimal | {"data": {"source": domain, "target": domain}}, origin="x")
    assert recipe.method == {
        "name": "csg",
        "weight": 0.1,
        "temperature": 0.07,
        "layers": ["layer3", "layer4"],
        "pool": "attention",
        "patches": 1,
        "queue_size": 65536,
        "head": "mlp",
        "dim": 128,
        "asg_weight": 0.0,
        "momentum": 0.999,
    }
    train = recipe.train
    assert (train.lr_head, train.lr_backbone, train.momentum, train.weight_decay) == (1e-4, 1e-5, 0.9, 5e-4)
    assert (train.warmup, train.power, train.batch_size, recipe.data.size) == (100, 0.9, 32, 224)
    assert recipe.model.batch_norm == "frozen"
    assert recipe.evaluate.flip


@pytest.mark.parametrize(
    ("method", "overrides"), [("csg", ["method.name=magic"]), ({"name": ["csg"]}, []), ({}, []), ("csg", [])]
)
def test_a_method_that_is_no_mapping_with_a_known_name_is_one_line(method, overrides):
    domain = {"dataset": "folder", "root": "."}
    value = {"name": "x", "method": method, "train": {"steps": 1}, "data": {"source": domain, "target": domain}}
    with pytest.raises(UserError, match="x: method: "):
        parse_recipe(value, overrides=overrides, origin="x")


def test_overrides_of_a_checkpoints_recipe_leave_what_it_holds(recipe_dict, tmp_path):
    """What `--set` changes for a measurement must not enter the record as the run's own configuration."""
    recipe_dict["method"] = {"name": "csg", "queue_size": 8}
    recipe_dict["train"] |= {"steps": 1}
    checkpoint = load_checkpoint(run(Recipe.model_validate(recipe_dict), tmp_path / "run"))
    assert checkpoint.resolved_recipe(("method.weight=9",)).method["weight"] == 9
    assert checkpoint.recipe["method"]["weight"] == 0.1


@pytest.mark.parametrize(("section", "key", "said"), [("data", "target", "data.targets"), (None, "train", "trains")])
def test_a_misspelt_key_that_is_required_is_named_as_it_stands(recipe_dict, section, key, said):
    own = recipe_dict if section is None else recipe_dict[section]
    own[f"{key}s"] = own.pop(key)
    with pytest.raises(UserError, match=rf"x: {said}: unknown key; allowed: .*\b{key}\b"):
        parse_recipe(recipe_dict, origin="x")
