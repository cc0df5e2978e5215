"""Small hand-made models whose pictures are known in closed form."""

from pathlib import Path

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
