"""Predicted masks of the same pictures under every method, and where they differ from the truth, from the records."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from csg_analysis.drawing.masks import differing_text, differs, mask_overlay
from csg_analysis.drawing.svg import class_label, plain_label
from csg_analysis.report.arrays import Masks, read_masks
from csg_analysis.report.chart import Chart
from csg_analysis.report.gallery import choose, how_chosen, jpeg_uri
from csg_analysis.report.load import Run
from csg_analysis.report.part import splits_of
from csg_analysis.report.rows import Row
from csg_analysis.report.tables import Table, Value
from csg_analysis.report.wording import input_size
from csg_train.errors import UserError
from csg_train.runs.records import PREDICTIONS_SIDE, PredictedPicture, PredictionsRecord

__all__ = ["MaskGallery", "MaskPhoto", "MaskView", "mask_chart", "mask_galleries"]

MOST = 12
"""Pictures shown; of more, as many at equal steps."""
OPEN = 4
"""Of these the first ones stand on the page unfolded."""


@dataclass(frozen=True)
class Shown:
    """Pixels ``(H, W, 3)`` uint8."""

    pixels: np.ndarray

    @cached_property
    def uri(self) -> str:
        """As a data address."""
        return jpeg_uri(self.pixels)


@dataclass(frozen=True)
class MaskView:
    """One picture under one method: its predicted mask, where that differs, and on how many pixels."""

    label: str
    mask: Shown
    difference: Shown
    text: str


@dataclass(frozen=True)
class MaskPhoto:
    """One picture, its true mask, and its views in the order of the columns."""

    file: str
    picture: Shown
    truth: Shown
    views: tuple[MaskView, ...]


@dataclass(frozen=True)
class MaskGallery:
    """Predicted masks of one split.

    Attributes:
        split: Of the pictures.
        columns: A method each.
        photos: The first `OPEN` of them unfolded.
        legend: Name and colour, ``#rrggbb``, of the classes that are seen.
        table: Shares of every recorded picture; the files alone.
        notes: Rules of choice and what is drawn.
    """

    split: str
    columns: tuple[str, ...]
    photos: tuple[MaskPhoto, ...]
    legend: tuple[tuple[str, str], ...]
    table: Table
    notes: tuple[str, ...]

    @property
    def heading(self) -> str:
        """Over its section."""
        return f"What the methods predict: masks of {self.split} pictures"

    @property
    def parts(self) -> tuple[tuple[MaskPhoto, ...], tuple[MaskPhoto, ...]]:
        """The unfolded photos, and the others."""
        return self.photos[:OPEN], self.photos[OPEN:]


def mask_galleries(rows: Sequence[Row]) -> list[MaskGallery]:
    """One for each split that some run has such a record of, the target first.

    Raises:
        UserError: An array file is missing or damaged, or two runs show different pictures.
    """
    return [_gallery(choose(rows, split), split) for split in splits_of(rows, "predicted")]


def _gallery(chosen: Sequence[tuple[Row, Run]], split: str) -> MaskGallery:
    arrays = [read_masks(run, split) for _, run in chosen]
    records = [run.predicted[split] for _, run in chosen]
    first = records[0]
    for (_, run), record, own in zip(chosen, records, arrays, strict=True):
        if not _same(record, first) or not all(map(_same_truth, own, arrays[0])):
            where = f"{run.folder}/predictions-{split}.json: other pictures than in {chosen[0][1].folder}"
            raise UserError(f"{where}; run csg-analyze predictions --images {split} on both again")
    count = len(first.pictures)
    places = range(count) if count <= MOST else [place * count // MOST for place in range(MOST)]
    labels = [row.label for row, _ in chosen]
    shown = [masks for own in arrays for index in places for masks in (own[index].true, own[index].predicted)]
    present = sorted({int(label) for mask_HW in shown for label in np.unique(mask_HW)} - {first.unknown})
    return MaskGallery(
        split=split,
        columns=tuple(labels),
        photos=tuple(_photo(first, index, labels, records, [own[index] for own in arrays]) for index in places),
        legend=tuple((first.classes[label], "#{:02x}{:02x}{:02x}".format(*first.colours[label])) for label in present),
        table=_table(chosen, split),
        notes=_notes(chosen, first, len(places)),
    )


def _same(record: PredictionsRecord, first: PredictionsRecord) -> bool:
    names = ("classes", "colours", "unknown")
    files = [picture.file for picture in record.pictures] == [picture.file for picture in first.pictures]
    return files and all(getattr(record, name) == getattr(first, name) for name in names)


def _same_truth(own: Masks, first: Masks) -> bool:
    return np.array_equal(own.picture, first.picture) and np.array_equal(own.true, first.true)


def _photo(
    first: PredictionsRecord,
    index: int,
    labels: Sequence[str],
    records: Sequence[PredictionsRecord],
    arrays: Sequence[Masks],
) -> MaskPhoto:
    picture, true, unknown = arrays[0].picture, arrays[0].true, first.unknown

    def view(label: str, picture_of: PredictedPicture, predicted: np.ndarray) -> MaskView:
        mask = mask_overlay(picture, predicted, first.colours, unknown=unknown)
        difference = differs(picture, true, predicted, unknown=unknown)
        return MaskView(label, Shown(mask), Shown(difference), differing_text(picture_of.differs))

    views = (
        view(label, record.pictures[index], own.predicted)
        for label, record, own in zip(labels, records, arrays, strict=True)
    )
    truth = mask_overlay(picture, true, first.colours, unknown=unknown)
    return MaskPhoto(first.pictures[index].file, Shown(picture), Shown(truth), tuple(views))


def _table(chosen: Sequence[tuple[Row, Run]], split: str) -> Table:
    data: list[dict[str, Value]] = []
    for row, run in chosen:
        record, info = run.predicted[split], run.info
        facts: dict[str, Value] = {"run": run.name, "row": row.label, "seed": info.seed, "selection": info.selection}
        facts |= {"checkpoint_sha256": info.checkpoint_sha256, "arrays_sha256": record.arrays_sha256}
        for picture in record.pictures:
            share = None if picture.differs is None else 100 * picture.differs
            data.append({**facts, "step": info.step, "file": picture.file, "differs_percent": share})
    title = f"Share of each {split} picture that is predicted wrong"
    notes = ["Of the pixels whose true class is known, at the picture's full size."]
    return Table(f"predictions_{split}", title, [], [], data, notes)


def _notes(chosen: Sequence[tuple[Row, Run]], first: PredictionsRecord, shown: int) -> tuple[str, ...]:
    count = len(first.pictures)
    some = "" if shown == count else f"; {shown} of them, evenly spaced, are shown"
    steps = sorted({f"step {run.info.step} ({run.info.selection})" for _, run in chosen})
    checkpoints = ", ".join(f"{row.label} {run.info.checkpoint_sha256[:12]}" for row, run in chosen)
    return (
        f"{how_chosen(chosen)} Measured at {' / '.join(steps)}; checkpoints (SHA-256): {checkpoints}.",
        f"{count} pictures of {first.data.name}, sampled with a fixed seed ({input_size(first.data)}){some}.",
        "Below each predicted mask, in red, where it differs from the true one, in white where no true class is known; "
        "the share is of the pixels with a true class, counted at full size. Mean IoU differs: it weights every class "
        f"alike, over all pictures of the split. Shown with the longer side at most {PREDICTIONS_SIDE} pixels.",
    )


def mask_chart(gallery: MaskGallery) -> Chart:
    """The whole gallery as one picture, for Markdown and slides."""

    def draw() -> Figure:
        columns, lines = len(gallery.columns) + 2, 2 * len(gallery.photos)
        shapes = [photo.picture.pixels.shape for photo in gallery.photos for _ in range(2)]
        heights = [1.5 * rows / across for rows, across, _ in shapes]
        figure = Figure(figsize=(1.5 * columns, sum(heights) + 0.25 * len(gallery.photos) + 0.7), layout="constrained")
        grid = figure.subplots(lines, columns, squeeze=False, height_ratios=heights)
        for axes in grid.flat:
            axes.set_axis_off()
        for place, photo in enumerate(gallery.photos):
            above, below = grid[2 * place], grid[2 * place + 1]
            views = [(view.mask, view.difference, view.text) for view in photo.views]
            for axes, shown in zip(above, [photo.picture, photo.truth, *(mask for mask, _, _ in views)], strict=True):
                axes.imshow(shown.pixels)
            for axes, (_, difference, text) in zip(below[2:], views, strict=True):
                _captioned(axes, difference, text)
        for axes, name in zip(grid[0], ("picture", "true mask", *gallery.columns), strict=True):
            axes.set_title(plain_label(name), fontsize=8)
        handles = [Patch(color=colour, label=class_label(name)) for name, colour in gallery.legend]
        figure.legend(handles=handles, loc="outside lower center", ncols=columns, fontsize=7)
        return figure

    title = f"Predicted masks of {gallery.split} pictures"
    return Chart(f"predictions_{gallery.split}", title, f"{title} under each method, and where they are wrong", draw)


def _captioned(axes: Axes, shown: Shown, text: str) -> None:
    axes.imshow(shown.pixels)
    axes.set_title(text.replace(" of the pixels", ""), fontsize=7, fontweight="normal")
