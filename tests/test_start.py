"""Programs and packages start without what they do not need; what a folder's face hands out is there."""

import importlib
import json
import os
import pkgutil
import subprocess
import sys

import pytest
from PIL import Image

import csg_analysis
import csg_train
from csg_train.errors import UserError
from csg_train.methods.declared import declaration
from csg_train.methods.table import METHODS
from tests.commands import ENTRIES

HEAVY = {"torch", "torchvision", "timm", "scipy", "matplotlib", "pandas", "captum", "sklearn"}
LOADED = "import atexit, json, sys; atexit.register(lambda: print(json.dumps(sorted(sys.modules)), file=sys.stderr));"


def modules_of(code: str, **env: str) -> set[str]:
    """What a new process has imported at its end."""
    words = [sys.executable, "-c", LOADED + code]
    done = subprocess.run(words, env=os.environ | env, capture_output=True, text=True, check=False, timeout=120)
    return set(json.loads(done.stderr.splitlines()[-1]))


def loaded_by(code: str, **env: str) -> set[str]:
    """The packages among them."""
    return {name.split(".")[0] for name in modules_of(code, **env)}


def program(name: str, *arguments: str, **env: str) -> set[str]:
    return loaded_by(f"sys.argv = {[name, *arguments]}; from {ENTRIES[name]} import main; main()", **env)


@pytest.mark.parametrize(
    "words",
    [
        *[(name, option) for name in ENTRIES for option in ("--help", "--version", "--nope")],
        ("csg-train",),
        ("csg-train", "methods"),
        ("csg-train", "recipes"),
        ("csg-train", "recipes", "digits"),
        ("csg-train", "methods", "--json"),
        ("csg-train", "run", "--help"),
        ("csg-train", "run", "--nope"),
        ("csg-train", "data", "fetch", "nope"),
        ("csg-train", "import", "--kind", "nope"),
        ("csg-train", "predict", "--help"),
        ("csg-train", "export", "ckpt.pt", "--to", "x", "--format", "nope"),
        ("csg-analyze", "energy", "--nope"),
        ("csg-analyze", "gradcam", "--help"),
        ("csg-report", "build", "--nope"),
    ],
    ids=" ".join,
)
def test_an_answer_about_the_program_imports_nothing_heavy(words):
    assert program(*words) & HEAVY == set()


def test_a_drawing_library_set_up_for_a_screen_that_it_dropped():
    """As notebooks and old profiles leave ``MPLBACKEND``; the import of matplotlib would end in a traceback."""
    assert "matplotlib" in loaded_by(
        "from csg_train.program import start; start(); import matplotlib", MPLBACKEND="Qt4Agg"
    )


def test_where_a_drawing_library_keeps_its_cache_is_not_told():
    """Without a home that can be written, matplotlib logged its own lines beside ours, also under ``--quiet``."""
    code = "from csg_train.program import start; start(); import matplotlib; matplotlib.get_configdir()"
    env = os.environ | {"MPLCONFIGDIR": os.devnull}
    done = subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True, timeout=120
    )
    assert (done.stdout, done.stderr) == ("", "")


def test_a_picture_is_read_without_the_decoders_that_are_never_used(tmp_path):
    """Pillow had imported all forty for the first picture of every process."""
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    code = f"from csg_train.data.readers.images import decode, Path; decode(Path({str(tmp_path / 'a.png')!r}))"
    assert not modules_of(code) & {f"PIL.{kind}ImagePlugin" for kind in ("Eps", "Jpeg2K", "Pcx", "Psd")}


@pytest.mark.parametrize("name", ENTRIES)
def test_help_describes_no_records(name):
    """An annotation of a command had asked for a record's class, and so for pydantic: twice the processor time."""
    assert program(name, "--help") & {"pydantic", "numpy"} == set()


@pytest.mark.parametrize(
    "line", ["csg-train run v", "csg-train run digits --set m", "csg-train run --d", "csg-analyze e", "csg-report b"]
)
def test_the_tab_key_imports_nothing_heavy(line):
    name, *words = line.split()
    variable = f"_{name.replace('-', '_').upper()}_COMPLETE"
    env = {variable: "bash_complete", "COMP_WORDS": line, "COMP_CWORD": str(len(words))}
    assert program(name, **env) & HEAVY == set()


@pytest.mark.parametrize(
    "package", ["csg_train", "csg_analysis", "csg_analysis.report.build", "csg_train.demos.scene_jobs"]
)
def test_importing_a_package_does_not_import_torch(package):
    assert "torch" not in loaded_by(f"import {package}")


def test_what_every_run_imports_of_the_demos_leaves_scipy_out():
    assert "scipy" not in loaded_by("import csg_train.demos.table")


@pytest.mark.parametrize("name", METHODS)
def test_a_method_s_declaration_is_what_its_class_says(name):
    from pydantic import TypeAdapter

    declared, method = declaration(name), METHODS[name]
    assert declared.info == method.info
    assert declared.info.name == name
    assert TypeAdapter(declared.Config).json_schema() == TypeAdapter(method.Config).json_schema()


FACES = [
    found.name
    for package in (csg_train, csg_analysis)
    for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
    if found.ispkg and not found.name.endswith(".commands")
]


@pytest.mark.parametrize("name", ["csg_train", "csg_analysis", *FACES])
def test_a_face_says_what_its_folder_is_for_and_hands_out_what_it_names(name):
    """And no name is that of a module beside it, which would hide one or the other by the order of imports."""
    face = importlib.import_module(name)
    assert face.__doc__
    assert face.__all__ == sorted(face.__all__)
    assert all(getattr(face, one) is not None for one in face.__all__)
    assert not set(face.__all__) & {found.name for found in pkgutil.iter_modules(face.__path__)}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: csg_analysis.hyperspherical_energy([[1.0, 0.0]]), "give a NumPy array or a torch tensor"),
        (lambda: csg_analysis.uniform_energy(0, 1), "give d >= 1"),
        (lambda: csg_train.load_recipe("nope"), "no such recipe"),
        (lambda: csg_train.load_network("nope.pt", device="cpu"), "no such"),
    ],
)
def test_a_bad_argument_is_a_value_error_and_a_user_error(call, message):
    with pytest.raises(ValueError, match=message) as caught:
        call()
    assert isinstance(caught.value, UserError)
