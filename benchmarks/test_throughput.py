"""An epoch of pictures from the cache against decoding JPEGs, and with 0, 1 and 2 workers, in one thread.

The pictures are noise whose amplitude falls as 1/f, as that of photographs does, saved at quality 90 (about 115 kB
each). Without workers processor time counts, which a neighbour's work does not change; with workers only time on the
clock says anything, and only on a machine that is otherwise idle.
"""

import time
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset

from benchmarks.pictures import jpeg
from csg_train.data.loaders.batch import Batch, stacked
from csg_train.data.loaders.loader import load_batches
from csg_train.data.readers.images import ImageSet, image_folder
from csg_train.data.readers.store import open_store, write_store
from csg_train.data.views.transforms import training_view
from csg_train.seeds import random_for

_SHORTER, _SIZE, _BATCH = 256, 224, 32
_EPOCHS = 5  # in a round with workers
_VIEWS = {
    "pictures alone": ("none", 0),
    "one view, no augmentation": ("none", 1),
    "one view, RandAugment": ("randaugment", 1),
    "two views, RandAugment (CSG)": ("randaugment", 2),
}


def _collate(samples: list[list[torch.Tensor]]) -> Batch:
    return Batch(tuple(map(stacked, zip(*samples, strict=True))), torch.empty(0))


class _Epoch(Dataset):
    """Training views of every picture, decoded or from the cache."""

    def __init__(self, images: ImageSet, *, cached: bool, augment: str, views: int) -> None:
        self.images, self.cached, self.augment, self.views = images, cached, augment, views

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, key: tuple[int, int]) -> list[torch.Tensor]:
        _, index = key
        image = self.images.picture(index) if self.cached else self.images.read(index)
        options = {"size": _SIZE, "fit": "crop", "augment": self.augment, "background": "plain"}
        return [training_view(image, rng=random_for(0, index, view), **options) for view in range(self.views)]

    def run(self, workers: int, times: int = 1) -> None:
        """Load the epoch, several times over for workers, whose start takes as long as some pictures."""
        keys = [(0, index) for index in range(len(self))] * times
        batches = iter([keys[start : start + _BATCH] for start in range(0, len(keys), _BATCH)])
        for _ in load_batches(self, batches, _collate, workers):
            pass


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def pictures(request, tmp_path_factory) -> dict[str, ImageSet]:
    """JPEGs as they are and reduced, with a cache of both outside the user's."""
    folder = tmp_path_factory.mktemp("throughput")
    root = folder / "pictures"
    (root / "any").mkdir(parents=True)
    for index in range(request.param):
        jpeg(root / "any" / f"{index:05d}.jpg", index)
    images = image_folder(root, name="noise")
    sets = {"": images, f", data.shorter_side {_SHORTER}": replace(images, shorter_side=_SHORTER)}
    for stored in sets.values():
        path = folder / f"{stored.shorter_side}.store"
        write_store(path, root, stored.files, lambda index, stored=stored: np.array(stored.read(index)))
        stored.__dict__["store"] = open_store(path, root, stored.files)
    return sets


_pictures = pytest.mark.parametrize(
    ("pictures", "rounds"), [pytest.param(20, 1, marks=pytest.mark.quick), (200, 3)], indirect=["pictures"]
)


@pytest.mark.benchmark(timer=time.process_time)
@pytest.mark.parametrize("program", ["decoding", "cache"])
@pytest.mark.parametrize("views", _VIEWS)
@pytest.mark.parametrize("size", ["", f", data.shorter_side {_SHORTER}"])
@_pictures
def test_cache(benchmark, pictures, rounds, size, views, program):
    """Loading, views and batches without workers, no network."""
    benchmark.group = views + size
    augment, number = _VIEWS[views]
    epoch = _Epoch(pictures[size], cached=program == "cache", augment=augment, views=number)
    benchmark.pedantic(epoch.run, (0,), rounds=rounds, warmup_rounds=1)


@pytest.mark.parametrize("program", [0, 1, 2])
@pytest.mark.parametrize("cached", [False, True])
@_pictures
def test_workers(benchmark, pictures, rounds, cached, program):
    """Several epochs, the start of the workers included: one view, RandAugment."""
    benchmark.group = f"{_EPOCHS} epochs {'from the cache' if cached else 'decoded'}, workers"
    epoch = _Epoch(pictures[""], cached=cached, augment="randaugment", views=1)
    benchmark.pedantic(epoch.run, (program, _EPOCHS), rounds=rounds, warmup_rounds=1)
