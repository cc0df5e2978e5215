"""A training opens no connection and looks up no name."""

import sys
from pathlib import Path

import torch

from csg_train.engine import loop as engine
from csg_train.models.backbones import BACKBONES
from csg_train.recipes.reading import load_recipe
from tests.survival import tiny

_NETWORK = ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto", "urllib.Request")


def test_a_training_uses_no_network(tmp_path: Path, monkeypatch):
    monkeypatch.setitem(BACKBONES, "tiny", tiny.SPEC)
    recipe = load_recipe(str(tiny.write_recipe(tmp_path, steps=2)))
    seen: list[str] = []
    watching = True

    def watch(event: str, _arguments: object) -> None:
        if watching and event in _NETWORK:
            seen.append(event)
            raise PermissionError(event)

    sys.addaudithook(watch)  # it cannot be removed, so it ends with `watching`
    try:
        engine.train(recipe, tmp_path / "run", device=torch.device("cpu"), resume=False, overwrite=False, report=print)
    finally:
        watching = False
    assert (tmp_path / "run" / "ckpt.pt").exists()
    assert not seen
