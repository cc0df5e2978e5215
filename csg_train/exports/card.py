"""The model card of an export: what the network is, what it was made from, what was measured, how it is run."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import timm
import torchvision

from csg_train.exports.compare import Comparison
from csg_train.exports.head import HEAD
from csg_train.exports.subject import Subject
from csg_train.files import sha256_file
from csg_train.methods.table import METHODS
from csg_train.models.timm_models import own_timm_name
from csg_train.names import in_markdown
from csg_train.runs.checkpoint import rule_title
from csg_train.runs.records import AccuracyRecord, EnergyRecord, RunInfo, SegmentationRecord, read_record

__all__ = ["model_card"]

_SCORES = {
    "mean per class": "accuracy, unweighted mean over the classes that have pictures",
    "mean IoU": "intersection over union, pixels of all pictures counted together, unweighted mean over the classes",
}
_MEASURED = ("accuracy-*.json", "segmentation-*.json", "energy-*.json")


def model_card(
    subject: Subject,
    comparison: Comparison,
    folder: Path,
    usage: list[str],
    format_name: str,
    size: Sequence[int | None] | None,
) -> str:
    """``README.md`` of an export, whose files lie in ``folder``; ``size`` in rows and columns, None for any."""
    checkpoint, recipe = subject.checkpoint, subject.recipe
    method = METHODS[recipe.method["name"]].info
    fields = "".join(f", {key} {in_markdown(value)}" for key, value in recipe.method.items() if key != "name")
    data = checkpoint.data
    facts = {
        "task": f"{'a class for every pixel' if subject.masked else 'a class for a picture'}, {len(subject.classes)}: "
        + ", ".join(map(in_markdown, subject.classes)),
        "network": f"{recipe.model.backbone}, {_head_words(subject)}",
        "method": f"{method.title} ({method.name}{fields}), seed {recipe.seed}; {method.source}",
        "trained on": f"{in_markdown(data['name'])}, {data['count']} pictures, identity `{data['identity']}`",
        "step": f"{rule_title(checkpoint)}; rule `{checkpoint.selection}`",
        "starting weights": _origin(subject),
        "checkpoint": f"SHA-256 `{checkpoint.sha256}`",
        "pictures": _shown(subject) + ("" if size is None or size[0] is None else f"; of {size[0]} x {size[1]} alone"),
        "normalisation": f"mean {subject.mean}, deviation {subject.std}, of R, G and B in [0, 1]",
    }
    files = {path.name: path for path in sorted(folder.iterdir())}
    return "\n".join(
        [
            f"# {recipe.name}, {method.name}, seed {recipe.seed}",
            "",
            f"Written by `csg-train export --format {format_name}`.",
            "",
            *_table("fact", facts),
            "",
            "## Run it",
            "",
            *_notes(subject, format_name, apart=HEAD in files),
            "```python",
            *usage,
            "```",
            "",
            f"Before the folder was given its name, it was read so and {in_markdown(comparison.line())}.",
            "",
            "## Measured",
            "",
            *(_measured(subject) or ["Nothing was measured on this very checkpoint."]),
            "",
            "## Files",
            "",
            *_table(
                "file",
                {
                    f"`{name}`": f"{path.stat().st_size:,} bytes, SHA-256 `{sha256_file(path)}`"
                    for name, path in files.items()
                },
            ),
            "",
            "Left out: what only training needs (teacher, projection heads, queues, moving averages, optimiser).",
            "",
        ]
    )


def _table(title: str, rows: Mapping[str, str]) -> list[str]:
    return [
        f"| {title} | |",
        "|---|---|",
        *(f"| {name} | {value} |" for name, value in rows.items()),
    ]


def _head_words(subject: Subject) -> str:
    masks = subject.recipe.segmentation
    if masks is None:
        hidden = subject.recipe.model.hidden
        return "global average pooling, " + (f"a classifier of two layers, {hidden} hidden" if hidden else "one layer")
    return f"{masks.head} at stride {masks.output_stride}, enlarged bilinearly with aligned corners"


def _shown(subject: Subject) -> str:
    data, masks = subject.recipe.data, subject.recipe.segmentation
    if masks is not None:
        shrunk = f"; shrunk to {masks.longest_side} pixels on the longer side" if masks.longest_side else ""
        multiple = subject.network.backbone.spec.grid
        return f"whole, upright, over white{shrunk}" + (f"; sides to multiples of {multiple}" if multiple > 1 else "")
    fitted = "shorter side to it, then the centre" if data.fit == "crop" else "the whole picture on white"
    reduced = f", reduced to {data.shorter_side} pixels on the shorter side before" if data.shorter_side else ""
    return f"{data.size} x {data.size}: {fitted}, bilinear, upright, over white{reduced}"


def _origin(subject: Subject) -> str:
    """Where the weights that training began with are from, and under which terms."""
    checkpoint, name = subject.checkpoint, subject.recipe.model.backbone
    weights, digest = checkpoint.recipe["model"]["weights"], checkpoint.weights
    if released := checkpoint.versions.get("imported from"):
        return f"not recorded; the network is that of the {released}, under the terms of its authors"
    if weights == "none" or digest == "none":
        return "random"
    if weights != "imagenet":
        return f"a file of the user's, SHA-256 `{digest}`; its licence is not recorded"
    if timm.is_model(subject.architecture) and name.startswith(("timm/", "tf_")):
        published = timm.models.get_pretrained_cfg(own_timm_name(name))
        licence = published.license if published else None
        terms = f"which timm says are under {licence}" if licence else "whose licence timm does not state"
        return f"{name}'s published ones, {terms}; SHA-256 `{digest}`"
    first = next(iter(torchvision.models.get_model_weights(name)))
    terms = "torchvision is BSD-3-Clause, and leaves the terms of the weights to ImageNet's"
    if licence := first.meta.get("license"):
        terms = f"under {licence}"
    return f"torchvision's {first.name} of {name}; {terms}; SHA-256 `{digest}`"


def _notes(subject: Subject, format_name: str, *, apart: bool) -> list[str]:
    """What the file does not do by itself; ``apart`` where the head is a file of its own."""
    notes = []
    if apart:
        parts = {
            "timm": "timm's backbone without classifier",
            "torchvision": "torchvision's network with its classifier",
        }
        notes.append(
            f"`model.safetensors` is {parts[format_name]}. The constructor of {format_name} has no classifier like "
            f"this one, so it was left out there and is a file of its own, `{HEAD}`."
        )
    if format_name == "timm" and subject.recipe.data.fit == "pad":
        notes.append("timm's transform fills the border with the mean colour; the network saw white.")
    return [line for note in notes for line in (note, "")]


def _measured(subject: Subject) -> list[str]:
    """A line for each record beside the checkpoint that was measured on it."""
    folder = subject.checkpoint.path.parent
    paths = sorted(path for pattern in _MEASURED for path in folder.glob(pattern))
    found = [read_record(path) for path in paths]
    own = subject.checkpoint.sha256
    records = [one for one in found if isinstance(one.run, RunInfo) and one.run.checkpoint_sha256 == own]
    lines = []
    for record in records:
        data = record.data
        on = f"{data.split}: {in_markdown(data.name)}, {data.count} pictures, identity `{data.identity[:16]}`"
        if isinstance(record, AccuracyRecord | SegmentationRecord):
            interval = record.interval
            within = "no interval" if interval is None else f"95 % {interval.percent} ({interval.kind})"
            flip = ""
            if isinstance(record, AccuracyRecord):
                mirrored = "sigmoids averaged over a picture and its mirror image, where `logits` sees one picture"
                flip = f"; {mirrored}" if record.flip else "; of the picture alone"
            lines.append(f"- {_SCORES[record.score_name]}, on {on}: {100 * record.score:.1f} %, {within}{flip}")
        elif isinstance(record, EnergyRecord):
            values = ", ".join(f"E_{s} {value:.4f}" for s, value in record.mhe.items() if value is not None)
            lines.append(
                f"- hyperspherical energy on {on}: {values} (mhe: means over {record.pairs:,} pairs, E_0 doubled; "
                f"{record.layer}, {record.pool} pooling, {record.dim} dimensions, {record.dtype})"
            )
    return lines
