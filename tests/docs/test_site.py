"""The site: it builds without a warning, asks for nothing outside, and its generated pages say what the code says."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from csg_train.methods.table import METHODS

pytest.importorskip("material", reason="the extra docs")
pytest.importorskip("mkdocstrings", reason="the extra docs")
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built pages; read only."""
    out = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(out)],
        cwd=ROOT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return out


@pytest.fixture(scope="module")
def generate():
    """The hook, as a module."""
    spec = importlib.util.spec_from_file_location("docs_generate", ROOT / "docs" / "generate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_pages_ask_for_nothing_outside(site):
    loads = re.compile(r"""(?:<(?:script|img|iframe|source)[^>]+src|<link[^>]+href)=["']?(?:https?:)?//[^"' >]+""")
    for path in site.rglob("*.html"):
        assert loads.findall(path.read_text()) == [], path
    for path in site.rglob("*.css"):
        assert not re.search(r"url\(['\"]?(?:https?:)?//", path.read_text()), path


def test_every_method_has_its_page_and_public_names_have_theirs(site):
    for name, method in METHODS.items():
        assert f'href="{name}.html"' in (site / "methods" / "index.html").read_text()
        assert f'id="{method.__module__}"' in (site / "modules" / "csg_train.methods.html").read_text()
    energy = (site / "modules" / "csg_analysis.energy.html").read_text()
    assert 'id="csg_analysis.energy.energy.hyperspherical_energy"' in energy
    assert "_orders" not in energy


def test_fields_of_a_method_with_their_values_defaults_and_meaning(generate):
    page = generate.method_page(METHODS["csg"])
    assert "| `temperature` | number > 0 | `0.07` |  |" in page
    assert "| `layers` | list of string | `layer3`, `layer4` |  |" in page
    assert "| `dim` | integer >= 1, <= 65536 | `128` | Width of the projection. |" in page
    assert "| `head` | `mlp`, `fixed`, `none` | `mlp` | Projection h:" in page
    assert "- `csg-train run visda17-resnet101-csg`" in page
    assert METHODS["csg"].info.equation in page
    assert "| `styles` | string | `to be given` |" in generate.method_page(METHODS["domain-randomization"])
    assert "It has no fields of its own." in generate.method_page(METHODS["oracle"])


def test_every_command_is_on_its_program_s_page(generate):
    page = generate.program_page("csg-train", generate.PROGRAMS["csg-train"])
    for title in ("csg-train", "csg-train run", "csg-train data check", "csg-train tensorboard"):
        assert f"\n## {title}\n" in page
    assert "-h, --help" in page
    assert page.count("--quiet") == page.count("\n## ") - 2  # not the two groups
