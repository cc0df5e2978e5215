"""Hostile recipes, overrides and sweeps: accepted, or refused in one line.

Every other ``test_*`` below a fuzz test is a fault that it found, or one of the known lies.
"""

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from csg_train.data.readers.class_map import read_class_map
from csg_train.data.readers.masks import IGNORE
from csg_train.errors import UserError
from csg_train.recipes.pictures import load_split
from csg_train.recipes.reading import load_recipe, parse_recipe, to_yaml
from csg_train.recipes.sweep import load_sweep, shard
from csg_train.yaml_files import parse_yaml
from tests.survival.mutations import altered, damaged, fuzz, plain, refused_or_fine, words

FRAGMENTS = [
    "a: &a [1, 2]\nb: *a\n",
    "&a [*a]",
    "<<: {x: 1}\n",
    "a: 1\na: 2\n",
    "{b: 1, b: 2}",
    "train: {steps: 1}\ntrain: {steps: 2}\n",
    "~/x",
    "2024-01-01",
    "a #b",
    "!!python/object/apply:os.system ['touch {marker}']",
    "!!python/name:os.system",
    "!!timestamp x",
    "!!int ''",
    "!!bool x",
    "2024-99-99",
    "{? [1] : 2}",
    "[" * 3000,
    "- " * 3000,
    "9" * 5000,
    "0x" + "f" * 5000,
    "1:" * 2000 + "1",
    "extends: ../../secret\n",
    "\x00",
    "\ufeff",
    "--- a\n--- b\n",
    "%YAML 9.9\n---\n",
]


def yaml_texts(base: dict):
    """A changed recipe as YAML; its text with a hostile part put in; any text."""
    good = yaml.safe_dump(base, sort_keys=False)
    return st.one_of(
        altered(base).map(lambda value: yaml.safe_dump(value, allow_unicode=True)),
        st.tuples(st.integers(0, len(good)), st.sampled_from(FRAGMENTS), st.integers(0, len(good))).map(
            lambda parts: good[: parts[0]] + parts[1] + good[parts[2] :]
        ),
        damaged(good.encode()).map(lambda content: content.decode("utf-8", errors="replace")),
        st.text(max_size=60),
    )


@fuzz
@given(data=st.data())
def test_recipes(place, data):
    path, marker = place / "fuzzed.yaml", place / "marker"
    base = yaml.safe_load((place / "tiny.yaml").read_text())
    text = data.draw(yaml_texts(base)).replace("{marker}", str(marker))
    path.write_bytes(text.encode("utf-8", errors="surrogatepass"))
    recipe = refused_or_fine("recipes", lambda: load_recipe(str(path)))
    if recipe is not None:
        assert parse_recipe(yaml.safe_load(to_yaml(recipe)), origin="again") == recipe
        refused_or_fine("folders of recipes", lambda: load_split(recipe.data, "source"))
    assert not marker.exists()


@fuzz
@given(
    overrides=st.lists(
        st.tuples(
            st.sampled_from(["train.steps", "method.name", "method", "data", "data.source.root", "a..b", "", "seed.x"]),
            st.one_of(st.sampled_from(FRAGMENTS), plain.map(repr), words, st.text(max_size=10)),
        ).map("=".join)
        | st.text(max_size=10),
        max_size=3,
    )
)
def test_overrides(place, overrides):
    refused_or_fine("overrides", lambda: load_recipe(str(place / "tiny.yaml"), overrides))


@fuzz
@given(data=st.data())
def test_sweeps(place, data):
    path = place / "sweep.yaml"
    base = {
        "recipe": str(place / "tiny.yaml"),
        "vary": {"method": {"base": ["method.name=baseline"], "o": ["method.name=oracle"]}, "seed": {"s0": ["seed=0"]}},
    }
    path.write_bytes(data.draw(yaml_texts(base)).encode("utf-8", errors="surrogatepass"))
    out = place / "out"
    for run in refused_or_fine("sweeps", lambda: load_sweep(path)) or []:
        assert (out / run.name).resolve().parent == out.resolve()


@fuzz
@given(data=st.data())
def test_mappings_of_ids(place, data):
    path = place / "classes.yaml"
    base = data.draw(st.sampled_from([{"a": [1, 2], "b": 3}, {"a": ["#ff0000"], "b": "#00ff00"}]))
    path.write_bytes(data.draw(yaml_texts({"classes": base, "ignore": 0})).encode("utf-8", errors="surrogatepass"))
    mapping = refused_or_fine("mappings of ids", lambda: read_class_map(path))
    assert mapping is None or set(mapping.ids.values()) - {IGNORE} == set(range(len(mapping.classes)))


@pytest.mark.parametrize("name", ["..", "-x", "a/b", "."])
def test_names_of_a_sweep_are_names_of_folders_in_it(name, place):
    path = place / "named.yaml"
    path.write_text(yaml.safe_dump({"recipe": str(place / "tiny.yaml"), "vary": {"seed": {name: ["seed=0"]}}}))
    with pytest.raises(UserError, match="vary"):
        load_sweep(path)


def test_a_sweep_of_ten_billion_runs_is_refused_at_once(place):
    path = place / "huge.yaml"
    vary = {f"a{axis}": {f"v{value}": [] for value in range(10)} for axis in range(10)}
    path.write_text(yaml.safe_dump({"recipe": "digits", "vary": vary}))
    with pytest.raises(UserError, match="10000000000 runs"):
        load_sweep(path)


def test_a_shard_of_thousands_of_digits():
    with pytest.raises(UserError, match="expected i/n"):
        shard([], "1/" + "9" * 5000)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("&a [1, *a]", "alias"),
        ("a: &a {k: 1}\nb: {<<: [" + "*a, " * 9 + "*a]}", "alias"),
        ("[" * 51, "nested more than 50 deep"),
        ("[" * 50 + "]" * 49, "expected"),
        ("{a: " * 5000, "nested more than 50 deep"),
        ("9" * 100, "63 bits"),
        ("x" * 70_000, "65536"),
        ("!!python/object/apply:os.getcwd []", "constructor"),
    ],
)
def test_yaml_without_bound_is_refused(text, part):
    with pytest.raises(ValueError, match=part):
        parse_yaml(text)


@pytest.mark.parametrize(
    ("override", "parts"),
    [
        ("segmentation.foo=1", ("segmentation.foo", "output_stride")),
        ("data.source={dataset: gta5, root: x, foo: 1}", ("data.source.foo", "split")),
        ("data.source={dataset: masked-folder, root: x, foo: 1}", ("data.source.foo", "name")),
        ("method.foo=1", ("method.foo", "unknown key", "allowed: ")),
        ("method={name: csg, foo: 1}", ("method.foo", "queue_size")),
        ("train.lr_head=.inf", ("train.lr_head", "finite")),
        ("model.hidden=100000000000", ("model.hidden", "65536")),
        ("seed=010", ("010 is 8 in YAML",)),
        ("data.source.root=12:30", ("12:30 is 750 in YAML", "quotes")),
        ("train.lr_head=1:30.5", ("1:30.5 is 90.5 in YAML",)),
        ("method={name: csg, weight: yes}", ("method: weight: true has no meaning here",)),
        ("method={name: baseline, weight: 1}", ("method.weight: unknown key; allowed: none",)),
        ("method.name=null", ("unknown method null",)),
        ("method={queue_size: 5}", ("method: name is missing; allowed: ",)),
        (
            "data.source={dataset: folder, root: x, classes: {null: [bus]}}",
            ("classes: a name: it should be text; put it in",),
        ),
        ("data.source={dataset: folders, root: x}", ("data.source: unknown dataset 'folders'; allowed: 'folder', ",)),
        ("data.source={dataset: folder, root: ~}", ("data.source.root: it should be a path; ~ alone", "quotes")),
        ("name=a b", ("name: it should have letters, digits", "'a b'")),
        ("segmentation={}", ("yaml: data.source: folder has no masks, and the recipe is one of segmentation",)),
    ],
)
def test_faults_of_a_recipe_are_named(override, parts, place):
    with pytest.raises(UserError) as error:
        load_recipe(str(place / "tiny.yaml"), [override])
    assert all(part in error.value.message for part in parts), error.value.message


def test_too_long_a_folder_of_a_source_that_is_split_is_refused(place):
    recipe = load_recipe(str(place / "tiny.yaml"), [f"data.source.root={'x' * 300}"])
    with pytest.raises(UserError, match=r"data\.source: .*File name too long"):
        load_split(recipe.data, "source")


@pytest.mark.parametrize("split", ["source", "validation"])
def test_a_source_that_is_split_and_missing_is_said_once(split, place):
    recipe = load_recipe(str(place / "tiny.yaml"), ["data.source.root=nowhere"])
    with pytest.raises(UserError, match=r"^nowhere: no such folder") as error:
        load_split(recipe.data, split)
    assert error.value.message.count("--set data.source.root=FOLDER") == 1


def test_a_recipe_extends_packaged_ones_only(place):
    path = place / "extends.yaml"
    path.write_text(f"extends: {path.with_suffix('')}\n")  # itself, without end
    with pytest.raises(UserError, match="no packaged recipe"):
        load_recipe(str(path))
