"""Small hand-made models whose pictures are known in closed form."""

import base64
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

CUBE = [(x, y, z) for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)]
CUBE_FACES = [(1, 3, 4, 2), (5, 6, 8, 7), (1, 2, 6, 5), (3, 7, 8, 4), (1, 5, 7, 3), (2, 4, 8, 6)]


def write_box(path: Path, *, width: float = 1, height: float = 1, depth: float = 1) -> Path:
    """A box with the origin in its middle, as OBJ of quads."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [f"v {x * width / 2} {y * height / 2} {z * depth / 2}" for x, y, z in CUBE]
    lines += ["f " + " ".join(map(str, face)) for face in CUBE_FACES]
    path.write_text("\n".join(lines) + "\n")
    return path


def write_square(path: Path, image_HW4: np.ndarray, *, back: str = "") -> Path:
    """A square that looks along z, textured, as OBJ with MTL and PNG; ``back`` adds a twin of that Kd, turned."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image_HW4).save(path.with_suffix(".png"))
    path.with_suffix(".mtl").write_text(
        f"newmtl front\nKd 1 1 1\nmap_Kd {path.stem}.png\nnewmtl back\nKd {back or '1 1 1'}\n"
    )
    corners = "v -1 -1 0\nv 1 -1 0\nv 1 1 0\nv -1 1 0\nvt 0 0\nvt 1 0\nvt 1 1\nvt 0 1\n"
    twin = "usemtl back\nf 4/4 3/3 2/2 1/1\n" if back else ""
    path.write_text(f"mtllib {path.stem}.mtl\n{corners}usemtl front\nf 1/1 2/2 3/3 4/4\n{twin}")
    return path


def write_gltf(
    path: Path, material: dict[str, Any] | None = None, *, image_HW4: np.ndarray | None = None, points: Any = None
) -> Path:
    """A square of side 2 in the plane z = 0, as glTF: its material, texture, and the colours of its four points."""
    parts = {
        "POSITION": np.array([[-1, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]], dtype=np.float32),
        "TEXCOORD_0": np.array([[0, 1], [1, 1], [1, 0], [0, 0]], dtype=np.float32),
    }
    if points is not None:
        parts["COLOR_0"] = np.array(points, dtype=np.float32)
    arrays = [*parts.values(), np.array([0, 1, 2, 0, 2, 3], dtype=np.uint16)]
    data = b"".join(array.tobytes() for array in arrays)
    starts = np.cumsum([0, *(array.nbytes for array in arrays)])
    content: dict[str, Any] = {
        "asset": {"version": "2.0"},
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0}],
        "meshes": [{"primitives": [{"attributes": {n: i for i, n in enumerate(parts)}, "indices": len(parts)}]}],
        "buffers": [{"byteLength": len(data), "uri": _uri("application/octet-stream", data)}],
        "bufferViews": [
            {"buffer": 0, "byteOffset": int(start), "byteLength": array.nbytes}
            for start, array in zip(starts, arrays, strict=False)
        ],
        "accessors": [
            {
                "bufferView": number,
                "componentType": {"f": 5126, "u": 5123}[array.dtype.kind],
                "count": len(array),
                "type": "SCALAR" if array.ndim == 1 else f"VEC{array.shape[1]}",
            }
            for number, array in enumerate(arrays)
        ],
    }
    if material is not None:
        content["materials"] = [material]
        content["meshes"][0]["primitives"][0]["material"] = 0
    if image_HW4 is not None:
        stream = io.BytesIO()
        Image.fromarray(image_HW4).save(stream, "PNG")
        content |= {"images": [{"uri": _uri("image/png", stream.getvalue())}], "textures": [{"source": 0}]}
    path.write_text(json.dumps(content))
    return path


def _uri(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"
