from collections.abc import Iterator

import pytest

from tests.sketched import render, sketch


@pytest.fixture(scope="module")
def sketched() -> Iterator[None]:
    """No figure of a module's reports is rendered."""
    with pytest.MonkeyPatch.context() as patch:
        sketch(patch.setattr)
        yield


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor of one test."""
    sketch(monkeypatch.setattr)


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are rendered in one test of a module that is `sketched`."""
    render(monkeypatch.setattr)
