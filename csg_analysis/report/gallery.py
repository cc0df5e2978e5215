"""GradCAM of the same pictures under every method, drawn from the raw arrays of the records."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from csg_analysis.drawing.pictures import overlay
from csg_analysis.drawing.svg import INK, plain_label
from csg_analysis.report.arrays import read_maps
from csg_analysis.report.chart import Chart
from csg_analysis.report.compare import gallery_setting
from csg_analysis.report.load import Run
from csg_analysis.report.rows import Row
from csg_analysis.report.wording import explained_class, input_size
from csg_train.errors import UserError
from csg_train.runs.records import Attended
from csg_train.splits import SPLITS

__all__ = ["Gallery", "Photo", "View", "choose", "contact_chart", "how_chosen", "jpeg_uri", "make_gallery"]

MOST = 36
"""Pictures in a gallery; of more, the first ones of each class are shown."""


@dataclass(frozen=True)
class View:
    """One picture under one method.

    Attributes:
        label: The row.
        pixels: The overlay, ``(H, W, 3)`` uint8.
        uri: The same as a data address.
        predicted: Predicted class.
        target: Class that the map explains.
        right: Whether the prediction is right; None without a label.
        flat: The map is zero everywhere.
    """

    label: str
    pixels: np.ndarray
    uri: str
    predicted: str
    target: str
    right: bool | None
    flat: bool


@dataclass(frozen=True)
class Photo:
    """One picture and its views, in the order of the columns."""

    file: str
    label: str | None
    pixels: np.ndarray
    uri: str
    views: tuple[View, ...]


@dataclass(frozen=True)
class Gallery:
    """Columns, pictures and the rules by which they were chosen."""

    columns: tuple[str, ...]
    photos: tuple[Photo, ...]
    notes: tuple[str, ...]


def choose(rows: Sequence[Row], split: str | None = None) -> list[tuple[Row, Run]]:
    """One run for each method: all of one source, each method's lowest seed there.

    The source (and, in a mixed report, the gallery's setting) is the one with most methods; of several, the first by
    name. No result is looked at.

    Args:
        rows: Of the report.
        split: To choose among the runs with predicted masks of it; None for GradCAM.
    """
    found: dict[tuple[str, tuple[str, ...]], dict[str, tuple[Row, Run]]] = {}
    for row in rows:
        for run in sorted(row.runs, key=lambda run: run.info.seed):
            if (run.attention if split is None else run.predicted.get(split)) is not None:
                key = (run.info.source, gallery_setting(run, split))
                found.setdefault(key, {}).setdefault(row.label, (row, run))
    if not found:
        return []
    return list(found[min(found, key=lambda key: (-len(found[key]), key))].values())


def make_gallery(rows: Sequence[Row]) -> Gallery | None:
    """The gallery of these rows; None when no run has an attention record.

    Raises:
        UserError: An array file is missing or damaged, or two runs show different pictures.
    """
    chosen = choose(rows)
    if not chosen:
        return None
    arrays = [read_maps(run) for _, run in chosen]
    records = [run.attention for _, run in chosen if run.attention is not None]
    first, (_, images) = records[0], arrays[0]
    for (_, run), record, (_, other) in zip(chosen, records, arrays, strict=True):
        same = [picture.file for picture in record.pictures] == [picture.file for picture in first.pictures]
        if not same or not np.array_equal(other, images):
            where = f"{run.folder}/attention.json: other pictures than in {chosen[0][1].folder}"
            raise UserError(f"{where}; run csg-analyze gradcam on both again")
    photos = []
    for index in _shown(first.pictures):
        views = tuple(
            _view(row.label, record.pictures[index], images[index], maps[index])
            for (row, _), record, (maps, _) in zip(chosen, records, arrays, strict=True)
        )
        photo = first.pictures[index]
        photos.append(Photo(photo.file, photo.label, images[index], jpeg_uri(images[index]), views))
    return Gallery(
        columns=tuple(row.label for row, _ in chosen),
        photos=tuple(photos),
        notes=_notes(chosen, len(first.pictures), len(photos)),
    )


def _shown(pictures: Sequence[Attended]) -> list[int]:
    if len(pictures) <= MOST:
        return list(range(len(pictures)))
    classes = len({picture.label for picture in pictures})
    seen: dict[str | None, int] = {}
    kept = []
    for index, picture in enumerate(pictures):
        seen[picture.label] = seen.get(picture.label, 0) + 1
        if seen[picture.label] <= max(1, MOST // classes):
            kept.append(index)
    return kept[: max(MOST, classes)]


def _view(label: str, picture: Attended, image: np.ndarray, cam: np.ndarray) -> View:
    pixels = overlay(image, cam)
    right = None if picture.label is None else picture.label == picture.predicted
    flat = picture.flat or not cam.any()
    return View(label, pixels, jpeg_uri(pixels), picture.predicted, picture.target, right, flat)


def jpeg_uri(pixels: np.ndarray) -> str:
    """A picture ``(H, W, 3)`` uint8 as a data address."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, format="JPEG", quality=90, subsampling=0, optimize=True)
    return f"data:image/jpeg;base64,{base64.b64encode(stream.getvalue()).decode()}"


def _notes(chosen: Sequence[tuple[Row, Run]], total: int, shown: int) -> tuple[str, ...]:
    record = chosen[0][1].attention
    assert record is not None
    some = "" if total == shown else f" {shown} of the {total} recorded pictures, the first of each class, are shown."
    return (
        f"{how_chosen(chosen)}{some}",
        _pictures(chosen[0][1]),
        f"GradCAM of {record.layer} for {explained_class(record.explained)}. Colour scale: each map is divided by its "
        "own maximum, blue = 0, "
        "red = maximum; strengths of different maps are not comparable. A flat map is zero everywhere and leaves the "
        "picture grey.",
    )


def _pictures(run: Run) -> str:
    """Which pictures the maps are of, and what the classes below them are."""
    assert run.attention is not None
    data, count = run.attention.data, len(run.attention.pictures)
    drawn = data.split in SPLITS
    origin = f"{data.name} ({data.split}), drawn with a fixed seed" if drawn else f"{data.name}, chosen by hand"
    sizes = {input_size(score.data) for score in run.scores.values()} - {input_size(data)}
    beside = f"; scores of the tables at {' / '.join(sorted(sizes))}" if sizes else ""
    return f"{count} pictures of {origin}. Maps and predicted classes at {input_size(data)}{beside}."


def how_chosen(chosen: Sequence[tuple[Row, Run]]) -> str:
    """The rule of `choose`, and what it gave."""
    seeds = ", ".join(f"{row.label} {run.info.seed}" for row, run in chosen)
    return (
        f"One run a method, chosen without looking at results: source {chosen[0][1].info.source}, the lowest seed that "
        f"has a record ({seeds})."
    )


def contact_chart(gallery: Gallery) -> Chart:
    """The whole gallery as one picture, for Markdown and slides."""

    def draw() -> Figure:
        columns, lines = len(gallery.columns) + 1, len(gallery.photos)
        figure = Figure(figsize=(1.35 * columns, 1.55 * lines + 0.3), layout="constrained")
        grid = figure.subplots(lines, columns, squeeze=False)
        for photo, axes_line in zip(gallery.photos, grid, strict=True):
            _picture(axes_line[0], photo.pixels, photo.label or "")
            for view, axes in zip(photo.views, axes_line[1:], strict=True):
                _picture(axes, view.pixels, view.predicted, right=view.right, flat=view.flat)
        for axes, name in zip(grid[0], ("picture", *gallery.columns), strict=True):
            axes.set_title(plain_label(name), fontsize=8)
        return figure

    return Chart("gradcam", "GradCAM gallery", "The same pictures under each method", draw)


def _picture(axes: Axes, pixels: np.ndarray, text: str, *, right: bool | None = None, flat: bool = False) -> None:
    axes.imshow(pixels)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
    mark = "" if right is None else "✓ " if right else "✗ "
    colour = INK if right is None else "#1d7a46" if right else "#b3372a"
    axes.set_xlabel(f"{mark}{text}{' (flat)' if flat else ''}", fontsize=7, color=colour, labelpad=2)
