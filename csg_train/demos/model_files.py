"""Whether a user's model can be drawn as its maker meant it: trimesh passes over what it cannot read without a word."""

import contextlib
import json
import struct
import urllib.parse
from pathlib import Path
from typing import Any

import numpy as np
import trimesh
from trimesh.resolvers import FilePathResolver

from csg_train.errors import UserError

__all__ = ["Resolver", "require_whole"]

_HEADER = struct.Struct("<4sIII")
"""Of a GLB file: magic, version, length; and the length of its first chunk, which is JSON."""
_LOOKS = "KHR_materials_"
"""Extensions of glTF that say how a surface shines; the shape and the base colour are without them what they are."""
_FAN = 6
"""What glTF calls a fan of triangles (2.0, section 3.7.2.1)."""


class Resolver(FilePathResolver):  # type: ignore[misc]  # untyped
    """Files that a model names, and which of them are ``missing``; a glTF file writes a blank in a name as ``%20``."""

    def __init__(self, path: Path) -> None:
        super().__init__(str(path))
        self.missing: list[str] = []

    def get(self, name: str) -> bytes:
        """The bytes of a file beside the model."""
        for written in (name, urllib.parse.unquote(name)):
            with contextlib.suppress(OSError):
                return bytes(super().get(written))
        self.missing.append(name)
        raise FileNotFoundError(f"{name} is missing")


def require_whole(path: Path) -> None:
    """Refuse a model of which a part would not be drawn, or not in its colours.

    Raises:
        UserError: Files that it names are missing, a point is not finite, or a glTF file needs what is not read.
    """
    # what cannot be loaded is said when it is drawn
    if path.suffix.lower() in (".gltf", ".glb"):
        with contextlib.suppress(AttributeError, TypeError):
            _require_read(path, _gltf(path))
    resolver = Resolver(path)
    meshes: dict[str, Any] = {}
    with contextlib.suppress(Exception), np.errstate(all="ignore"):
        meshes = trimesh.load_scene(path, resolver=resolver, process=False).geometry
    if resolver.missing:
        raise UserError(f"{path}: {resolver.missing[0]}, which it names, is missing; put it there, or fix the model")
    if not all(np.isfinite(mesh.vertices).all() for mesh in meshes.values()):
        raise UserError(f"{path}: a point that is not finite; fix or remove it")


def _gltf(path: Path) -> Any:
    """The JSON of a glTF or GLB file; an empty one where it is neither."""
    with contextlib.suppress(OSError, ValueError, struct.error):
        content = path.read_bytes()
        if content[:4] == b"glTF":
            *_, length = _HEADER.unpack_from(content)
            content = content[_HEADER.size + 4 :][:length]
        return json.loads(content)
    return {}


def _require_read(path: Path, content: Any) -> None:
    needed = [name for name in content.get("extensionsRequired", []) if not str(name).startswith(_LOOKS)]
    if needed:
        raise UserError(f"{path}: needs glTF's {needed[0]}, which is not read; export the model without it")
    if any("sparse" in accessor for accessor in content.get("accessors", [])):
        raise UserError(f"{path}: has sparse accessors, which are not read; export the model without them")
    primitives = [part for mesh in content.get("meshes", []) for part in mesh.get("primitives", [])]
    if any(part.get("mode") == _FAN for part in primitives):
        raise UserError(f"{path}: has triangle fans, which are not read; export the model as triangles")
