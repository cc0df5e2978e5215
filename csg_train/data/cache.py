"""``csg-train data cache``: decodes every file of a set once, into the store that its pictures are then read from."""

import shutil
from collections.abc import Callable

import numpy as np
from filelock import FileLock, Timeout

from csg_train.data.readers.images import UNDECODABLE, opened, reduced_size
from csg_train.data.readers.masks import MaskedSet
from csg_train.data.readers.sets import AnySet
from csg_train.data.readers.store import Store, open_store, write_store
from csg_train.errors import UserError
from csg_train.files import remove_abandoned

__all__ = ["build_cache", "decoded_bytes", "picture_source"]


def decoded_bytes(images: AnySet) -> int:
    """Bytes of all decoded pictures and masks, by their headers; a file that is no picture counts nothing."""
    total = 0
    for index, file in enumerate(images.stored_files):
        try:
            with opened(images.root / file) as image:
                alpha = image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info
                width, height = reduced_size(image.size, images.shorter_side)
                total += width * height * (1 if index >= len(images) else 3 + alpha)
        except UNDECODABLE:
            continue  # the build says what is wrong with it
    return total


def build_cache(images: AnySet, report: Callable[[str], None]) -> Store:
    """Decode every picture and mask of a set into its store, unless it is there and every byte of it is right.

    Two processes may call this at the same time: one builds, the other waits and finds the store.

    Args:
        images: From `csg_train.recipes.pictures.load_split`.
        report: Receives a line for each step; the room on the disk before anything is decoded.

    Raises:
        UserError: A file does not decode or the disk is too small; nothing is left behind.
    """
    folder = images.store_path.parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = _locked(images, report)
    except OSError as error:
        if (store := _found(images, lambda _line: None)) is not None:  # another user's, who may write there
            return store
        raise UserError(f"{folder}: cannot write ({error.strerror or error}); set CSG_DATA_DIR") from error
    try:
        return _found(images, report) or _built(images, report)
    finally:
        lock.release()


def _locked(images: AnySet, report: Callable[[str], None]) -> FileLock:
    lock = FileLock(images.store_path.with_suffix(".lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        report(f"waiting for another process that builds {images.store_path}")
        lock.acquire()
    return lock


def _found(images: AnySet, report: Callable[[str], None]) -> Store | None:
    """A store that need not be built again."""
    try:
        store = open_store(images.store_path, images.root, images.stored_files)
    except UserError as error:  # damaged, or of files that have changed
        report(f"replacing {error.format_message()}")
        return None
    if store is not None and not store.intact():
        report(f"replacing {store.path}: its pixels lack their hash")
        return None
    return store


def _built(images: AnySet, report: Callable[[str], None]) -> Store:
    path = images.store_path
    remove_abandoned(path)  # before the room is measured
    needed, free = decoded_bytes(images), shutil.disk_usage(path.parent).free
    report(f"decoding {len(images.stored_files)} files to {needed / 1e6:.1f} MB, {free / 1e6:.0f} MB are free; {path}")
    if needed > free:
        raise UserError(
            f"{path.parent}: needs {needed / 1e6:.1f} MB and has {free / 1e6:.1f} MB; "
            "free space, or set CSG_DATA_DIR to a folder on a larger disk"
        )
    return write_store(path, images.root, images.stored_files, lambda index: _decoded(images, index))


def _decoded(images: AnySet, index: int) -> np.ndarray:
    """``(H, W, C)`` uint8 of a picture, or of a mask, which follow the pictures."""
    if isinstance(images, MaskedSet) and index >= len(images):
        return images.read_mask(index - len(images))[..., None]
    return np.array(images.read(index))


def picture_source(images: AnySet) -> str:
    """Where the pictures of a set come from, for people."""
    if images.store is None:
        return f"{len(images)} pictures of {images.name}, decoded from their files"
    return f"{len(images)} pictures of {images.name}, from the cache {images.store.path}"
