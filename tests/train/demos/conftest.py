"""Where no OpenGL draws, tests of the renderer wait for it; where one does, it is asked once."""

import importlib
from collections.abc import Iterator
from typing import Any

import pytest

from csg_train.demos.render import require_renderer
from csg_train.demos.render_tree import draw_model
from csg_train.errors import UserError


@pytest.fixture(scope="session")
def renderer() -> None:
    """Skip where a machine lacks what the renderer takes; the error names it."""
    try:
        require_renderer()
    except UserError as error:
        pytest.skip(error.format_message())


@pytest.fixture
def one_process(renderer: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw with one process, and without another that looks for OpenGL: starting takes longer than drawing."""
    for name in ("render_tree", "render_demos", "render_scenes"):
        module = importlib.import_module(f"csg_train.demos.{name}")
        monkeypatch.setattr(module, "require_renderer", lambda: "OpenGL")
        monkeypatch.setattr(module, "processes", lambda: 1)


def one_by_one(jobs: Any, _workers: int, draw: Any = draw_model) -> Iterator[tuple[Any, Any]]:
    """What `drawn` does, without any."""
    for job in jobs:
        try:
            yield job, draw(job)
        except UserError as error:
            yield job, error
