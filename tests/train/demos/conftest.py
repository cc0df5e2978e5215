"""Where no OpenGL draws, tests of the renderer wait for it."""

import pytest

from csg_train.demos.render import require_renderer
from csg_train.errors import UserError


@pytest.fixture(scope="session")
def renderer() -> None:
    """Skip where a machine lacks what the renderer takes; the error names it."""
    try:
        require_renderer()
    except UserError as error:
        pytest.skip(error.format_message())
