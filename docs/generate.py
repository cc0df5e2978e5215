"""Pages that the code itself writes: one for each method, program and package. A hook of MkDocs; nothing is kept."""

import ast
import functools
import importlib
import inspect
import pkgutil
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from pydantic import TypeAdapter

import csg_analysis
import csg_train
from csg_analysis.cli import main as analyze
from csg_analysis.report.cli import main as report
from csg_analysis.report.paper import published
from csg_analysis.report.paper_segmentation import published_gains
from csg_train.cli import main as train
from csg_train.methods.base import Method
from csg_train.methods.options import OPTIONS
from csg_train.methods.table import METHODS
from csg_train.recipes.packaged import RECIPES
from csg_train.recipes.reading import load_recipe

PROGRAMS = {"csg-train": train, "csg-analyze": analyze, "csg-report": report}
ROOMS = tuple(
    found.name
    for package in (csg_train, csg_analysis)
    for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
    if found.ispkg and not found.name.endswith(".commands")
)
COMBINING = """Fields of a recipe, together where they go together: `csg` with `method.asg_weight`, `train.probe`,
`average` and `data.augment`, for instance. The report makes a row of every combination.

WiSE-FT needs a start with a trained head: the snapshot that `train.probe` leaves, or a run of the oracle with the same
seed. Its average lies in a folder of its own, which `csg-analyze` measures and the report reads as a run:

```sh
csg-train run my.yaml --set train.probe=200 --out runs/lp-ft
csg-train average runs/lp-ft/along/000200/ckpt.pt runs/lp-ft/ckpt.pt --alpha 0.5 --out runs/wise
csg-analyze accuracy runs/wise/average.pt
```"""
PUBLISHED = {entry.method for entry in published()} | published_gains("resnet50").keys()
FIGURE = "reports/renders-photos/report/figures/course_target.png"
PACKAGES = tuple(sorted(("csg_analysis", "csg_train", *ROOMS)))


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Add the generated pages to the navigation."""
    methods = ["methods/index.md", *(f"methods/{name}.md" for name in METHODS)]
    assert config.nav is not None
    config.nav += [
        {"Methods": methods},
        {"Commands": [f"commands/{name}.md" for name in PROGRAMS]},
        {"Modules": [f"modules/{name}.md" for name in PACKAGES]},
    ]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Write the generated pages, and take in the committed figure that the first page shows."""
    pages = {"methods/index.md": methods_page()}
    pages |= {f"methods/{name}.md": method_page(method) for name, method in METHODS.items()}
    pages |= {f"commands/{name}.md": program_page(name, main) for name, main in PROGRAMS.items()}
    pages |= {f"modules/{name}.md": package_page(name) for name in PACKAGES}
    for name, text in pages.items():
        files.append(File.generated(config, name, content=text))
    files.append(File.generated(config, Path(FIGURE).name, abs_src_path=str(Path(__file__).parents[1] / FIGURE)))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """The figure lies beside the pages of the site."""
    return markdown.replace(f"../{FIGURE}", Path(FIGURE).name)


def on_page_content(html: str, **_: Any) -> str:
    """The mark that opens a block of plain text in a docstring becomes a colon."""
    return html.replace("::</p>", ":</p>")


def methods_page() -> str:
    """The table of all methods."""
    rows = [
        f"| [{m.info.title}]({name}.md) | `{name}` | {m.info.summary} | {m.info.cost} |" for name, m in METHODS.items()
    ]
    parts = ["# Methods", "", "| Method | `method.name` | What it does | Cost |", "|---|---|---|---|", *rows, ""]
    parts += ["Cost is what comes beside a forward and a backward pass of one network on one view.", ""]
    parts += ["## What any method may be combined with", "", COMBINING, ""]
    for option in OPTIONS:
        parts += [f"### {option.title}", "", f"`{option.field}`. {option.summary}", ""]
        parts += [f"``` {{ .text .wrap }}\n{option.equation}\n```", ""]
        parts += [f"Source: {option.source}. Deviation: {option.deviation}. Cost: {option.cost}.", ""]
    return "\n".join(parts)


def method_page(method: type[Method]) -> str:
    """Equation, fields and recipes of one method, from its own metadata."""
    info = method.info
    module = inspect.getdoc(inspect.getmodule(method)) or ""
    recipes = [name for name, own in _methods_of_recipes().items() if own == info.name]
    parts = [
        f"# {info.title}",
        info.summary,
        f"``` {{ .text .wrap }}\n{info.equation}\n```",
        f"Source: {info.source}. {_paper_augment(method)}",
        f"Deviation: {info.deviation}. Cost: {info.cost}.",
        "## Fields",
        f"`method: {{name: {info.name}}}` in a recipe, or `--set method.name={info.name}`.",
        _fields_table(method.Config),
        "## Recipes",
        "\n".join(f"- `csg-train run {name}`" for name in recipes) or "No packaged recipe is made for it alone.",
        "## How it works",
        *([inspect.getdoc(method) or ""] if len(module.splitlines()) == 1 else []),
        re.sub(r"::\n", ":\n", module),
        f"Code: [`{method.__module__}`](../modules/csg_train.methods.md#{method.__module__}).",
    ]
    return "\n\n".join(parts) + "\n"


@functools.cache
def _methods_of_recipes() -> dict[str, str]:
    return {path.stem: load_recipe(path.stem).method["name"] for path in sorted(RECIPES.glob("*.yaml"))}


def _paper_augment(method: type[Method]) -> str:
    """What ``augment: paper`` means for a method; the paper's tables have not all of them."""
    known = " (as the released code for VisDA-17)" if method.info.name in ("asg", "csg") else ""
    table = "" if method.info.name in PUBLISHED else "It is not in the published tables. "
    return f"{table}`augment: paper` gives it `augment: {method.paper_augment}`{known}."


def _fields_table(config: type[Any]) -> str:
    properties = TypeAdapter(config).json_schema().get("properties", {})
    if not properties:
        return "It has no fields of its own."
    said = _field_docstrings(config)
    rows = [
        f"| `{name}` | {_type(schema)} | {_default(schema)} | {said.get(name, '')} |"
        for name, schema in properties.items()
    ]
    return "\n".join(["| Field | Values | Default | Meaning |", "|---|---|---|---|", *rows])


def _type(schema: dict[str, Any]) -> str:
    """``number >= 0``, or the words that are allowed."""
    if "anyOf" in schema:
        return " or ".join(_type(one) for one in schema["anyOf"])
    if words := schema.get("enum", [schema["const"]] if "const" in schema else []):
        return ", ".join(f"`{word}`" for word in words)
    if schema["type"] == "array":
        return f"list of {_type(schema['items'])}"
    signs = {"minimum": ">=", "exclusiveMinimum": ">", "maximum": "<=", "exclusiveMaximum": "<"}
    bounds = [f"{sign} {schema[key]:.10g}" for key, sign in signs.items() if key in schema]
    return " ".join([schema["type"], ", ".join(bounds)]).strip()


def _default(schema: dict[str, Any]) -> str:
    value = schema.get("default", "to be given")
    return ", ".join(f"`{part}`" for part in value) if isinstance(value, list) else f"`{value}`"


def _field_docstrings(config: type[Any]) -> dict[str, str]:
    """The text that stands below a field, where there is one."""
    (cls,) = ast.parse(textwrap.dedent(inspect.getsource(config))).body
    assert isinstance(cls, ast.ClassDef)
    pairs = zip(cls.body, cls.body[1:], strict=False)
    return {
        field.target.id: " ".join(below.value.value.split())
        for field, below in pairs
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and isinstance(below, ast.Expr)
        and isinstance(below.value, ast.Constant)
    }


def program_page(name: str, main: click.Command) -> str:
    """What ``--help`` says, for every command."""
    parts = [f"# {name}", "From `--help`."]
    for title, command, context in _commands(main, click.Context(main, info_name=name, **main.context_settings)):
        parts.append(f"## {title}\n\n```text\n{command.get_help(context)}\n```")
    return "\n\n".join(parts) + "\n"


def _commands(command: click.Command, context: click.Context) -> Iterator[tuple[str, click.Command, click.Context]]:
    context.terminal_width = 78
    yield context.command_path, command, context
    if isinstance(command, click.Group):
        for name, child in command.commands.items():
            yield from _commands(child, click.Context(child, parent=context, info_name=name))


def package_page(name: str) -> str:
    """What a package hands out, and the public names of its modules, for mkdocstrings to fill in."""
    package = importlib.import_module(name)
    (folder,) = package.__path__
    found = [info.name for info in pkgutil.iter_modules([folder]) if not info.ispkg]
    public = [stem for stem in found if "__all__ = [" in Path(folder, f"{stem}.py").read_text(encoding="utf-8")]
    names = ", ".join(f"`{one}`" for one in package.__all__)
    said = [inspect.getdoc(package) or "", f"`from {name} import` {names}"]
    return "\n\n".join([f"# {name}", *said, *(f"::: {name}.{stem}" for stem in public)]) + "\n"
