"""An epoch of pictures from the cache against decoding JPEGs, and with 0, 1 and 2 workers; prints a Markdown table.

    python -m benchmarks.throughput                             # 200 JPEGs of 500 x 375, about two minutes on 2 cores
    python -m benchmarks.throughput --pictures 40 --turns 3

The pictures are noise whose amplitude falls as 1/f, as that of photographs does, saved at quality 90 (about 115 kB
each). Both ways take turns in one process, so that they meet the same machine. Without workers processor time counts,
which a neighbour's work does not change; with workers only time on the clock says anything, and only on a
machine that is otherwise idle.
"""

import os
import platform
import tempfile
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import click
import numpy as np
import PIL
import torch
from PIL import Image
from torch.utils.data import Dataset

from benchmarks.turns import Spent, table, take_turns
from csg_train.data.batch import Batch
from csg_train.data.images import ImageSet, image_folder
from csg_train.data.loader import load_batches
from csg_train.data.store import open_store, write_store
from csg_train.data.transforms import training_view
from csg_train.seeds import random_for

_WIDTH, _HEIGHT, _SHORTER, _SIZE, _BATCH = 500, 375, 256, 224, 32
_EPOCHS = 5  # in a turn with workers


def jpeg(path: Path, seed: int) -> None:
    """Write one picture."""
    rng = np.random.default_rng(seed)
    frequency = np.hypot(np.fft.fftfreq(_HEIGHT)[:, None], np.fft.rfftfreq(_WIDTH))
    frequency[0, 0] = np.inf  # no mean
    grey_HW = rng.standard_normal((_HEIGHT, _WIDTH))
    noise_3HW = grey_HW + 0.3 * rng.standard_normal((3, _HEIGHT, _WIDTH))  # channels go together, but not wholly
    pixels_3HW = np.fft.irfft2(np.fft.rfft2(noise_3HW) / frequency, s=(_HEIGHT, _WIDTH))
    pixels_3HW = 120 + 50 * pixels_3HW / pixels_3HW.std()
    Image.fromarray(pixels_3HW.clip(0, 255).astype(np.uint8).transpose(1, 2, 0).copy()).save(path, quality=90)


class Epoch(Dataset):
    """Training views of every picture, decoded or from the cache."""

    def __init__(self, images: ImageSet, *, cached: bool, augment: str, views: int) -> None:
        self.images, self.cached, self.augment, self.views = images, cached, augment, views

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, key: tuple[int, int]) -> torch.Tensor:
        _, index = key
        image = self.images.picture(index) if self.cached else self.images.read(index)
        options = {"size": _SIZE, "fit": "crop", "augment": self.augment, "background": "plain"}
        views = [training_view(image, rng=random_for(0, index, view), **options) for view in range(self.views)]
        return torch.stack(views) if views else torch.empty(0)

    def run(self, workers: int, times: int = 1) -> None:
        """Load the epoch, several times over for workers, whose start takes as long as some pictures."""
        keys = [(0, index) for index in range(len(self))] * times
        batches = iter([keys[start : start + _BATCH] for start in range(0, len(keys), _BATCH)])
        for _ in load_batches(self, batches, lambda samples: Batch((torch.stack(samples),), torch.empty(0)), workers):
            pass


@click.command()
@click.option("--pictures", default=200, show_default=True)
@click.option("--turns", default=5, show_default=True, help="Timed epochs of each way, after one that is not.")
def main(pictures: int, turns: int) -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        root = Path(name) / "pictures"
        (root / "any").mkdir(parents=True)
        for index in range(pictures):
            jpeg(root / "any" / f"{index:05d}.jpg", index)
        images = image_folder(root, name="noise")
        reduced = replace(images, shorter_side=_SHORTER)
        for stored in (images, reduced):
            path = Path(name) / f"{stored.shorter_side}.store"
            write_store(path, root, stored.files, lambda index, stored=stored: np.array(stored.read(index)))
            stored.__dict__["store"] = open_store(path, root, stored.files)  # outside the user's data cache
        _print(images, reduced, turns)


def _timed(turns: int, ways: list[Callable[[], None]]) -> list[Spent]:
    """Each way once without counting, then in turns."""
    for way in ways:
        way()
    return list(take_turns(turns, {str(number): way for number, way in enumerate(ways)}).values())


def _print(images: ImageSet, reduced: ImageSet, turns: int) -> None:
    size = sum(images.path(index).stat().st_size for index in range(len(images)))
    click.echo(
        f"{len(images)} JPEGs of {_WIDTH} x {_HEIGHT} pixels, {size / len(images) / 1e3:.0f} kB each "
        f"({len(images.store.pixels) / len(images) / 1e3:.0f} kB in the cache), views of {_SIZE} x {_SIZE}; medians of "
        f"{turns} epochs; {platform.machine()}, {torch.get_num_threads()} thread a process, Python "
        f"{platform.python_version()}, Pillow {PIL.__version__}, torch {torch.__version__}, "
        f"{os.cpu_count()} cores of which {os.getloadavg()[0]:.1f} were busy before\n"
    )
    kinds = {
        "pictures alone": ("none", 0),
        "one view, no augmentation": ("none", 1),
        "one view, RandAugment": ("randaugment", 1),
        "two views, RandAugment (CSG)": ("randaugment", 2),
    }
    each, rows = 1e3 / len(images), []
    for pictures, note in ((images, ""), (reduced, f", data.shorter_side {_SHORTER}")):
        for title, (augment, views) in kinds.items():
            epochs = [Epoch(pictures, cached=cached, augment=augment, views=views) for cached in (False, True)]
            decoding, cache = (spent.processor for spent in _timed(turns, [partial(epoch.run, 0) for epoch in epochs]))
            rows.append([title + note, f"{decoding * each:.2f}", f"{cache * each:.2f}", f"{decoding / cache:.2f}"])
    click.echo(table(["an epoch of", "decoding, ms a picture", "cache, ms a picture", "decoding / cache"], rows))
    click.echo("\nProcessor time without workers: loading, views and batches, no network.\n")
    rows = []
    for title, cached in (("decoded", False), ("from the cache", True)):
        epoch = Epoch(images, cached=cached, augment="randaugment", views=1)
        taken = [spent.wall for spent in _timed(turns, [partial(epoch.run, workers, _EPOCHS) for workers in (0, 1, 2)])]
        rows += [
            [title, str(workers), f"{seconds * each / _EPOCHS:.2f}", f"{taken[0] / seconds:.2f}"]
            for workers, seconds in enumerate(taken)
        ]
    click.echo(table(["pictures", "workers", "ms a picture", "no workers / this"], rows))
    click.echo(
        f"\nTime on the clock of {_EPOCHS} epochs, the start of the workers included: one view, RandAugment. No "
        "network computes meanwhile, which is what workers are for."
    )


if __name__ == "__main__":
    main()
