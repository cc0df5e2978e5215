"""Predicted masks on the page: from the arrays beside the records, of one run a method, refused if they do not fit."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from csg_analysis.drawing.masks import WRONG, differs, mask_overlay, reduced, share_differing
from csg_analysis.report.build import build_report
from csg_analysis.report.gallery import choose
from csg_analysis.report.mask_gallery import MOST, OPEN, mask_galleries
from csg_train.errors import UserError
from csg_train.files import sha256_file
from tests.analysis.report.cases import (
    built_text,
    command,
    refused,
    rows_of,
    table,
    visible_text,
    write_predictions,
    write_run,
)

pytestmark = pytest.mark.usefixtures("sketched")


def made(root: Path, methods: tuple[str, ...] = ("baseline", "csg"), **changes: int) -> Path:
    """Two seeds of each method, a row of twelve pixels wrong with every one but the first."""
    for place, method in enumerate(methods):
        for seed in range(2):
            folder = write_run(root, method, seed, masks=True, attention=False)
            write_predictions(folder, wrong=12 * bool(place), **changes)
    return root


def test_drawings_by_hand():
    """Two pixels known, one of them wrong, one unknown; the second class is white, 0.65 of it over a grey of 100."""
    picture = np.full((1, 3, 3), 100, dtype=np.uint8)
    true, predicted = np.array([[1, 0, 255]], dtype=np.uint8), np.array([[1, 1, 1]], dtype=np.uint8)
    assert mask_overlay(picture, true, [(0, 0, 0), (255, 255, 255)], unknown=255)[0, :, 0].tolist() == [201, 35, 100]
    assert differs(picture, true, predicted, unknown=255)[0].tolist() == [[185] * 3, list(WRONG), [255] * 3]
    assert share_differing(true, predicted, unknown=255) == 0.5
    assert share_differing(np.full((1, 3), 255), predicted, unknown=255) is None


def test_a_large_mask_keeps_its_classes_and_a_large_picture_is_averaged():
    mask = np.repeat([[7], [200]], 2, axis=0).repeat(8, axis=1).astype(np.uint8)
    assert reduced(mask, 4).tolist() == [[7] * 4, [200] * 4]
    picture = np.zeros((2, 4, 3), dtype=np.uint8)
    picture[:, 0] = 100
    assert reduced(picture, 2).tolist() == [[[50] * 3, [0] * 3]]
    assert reduced(mask, 8) is mask


def test_the_page_shows_one_run_a_method_beside_the_truth(drawn, tmp_path):
    root = made(tmp_path / "runs")
    page = build_report([root], tmp_path / "out", allow_mixed=False).read_text()
    text = visible_text(page)
    assert "What the methods predict: masks of target pictures" in text
    assert 'href="#masks-target"' in page
    assert text.count("0.0 % of the pixels differ") == text.count("14.3 % of the pixels differ") == 2
    assert "the lowest seed that has a record (baseline 0, csg 0). Measured at step 20 (last)" in text
    assert "bird fish Picture True mask baseline csg" in text, "a legend of the classes that are seen"
    sha256 = json.loads((root / "clean-csg-0/energy-target.json").read_text())["run"]["checkpoint_sha256"]
    assert f"csg {sha256[:12]}" in text
    rows = table(tmp_path / "out", "predictions_target")
    assert [(row["row"], row["seed"], row["file"]) for row in rows] == [
        (method, 0, f"{index}.png") for method in ("baseline", "csg") for index in range(2)
    ]
    assert rows[2]["differs_percent"] == pytest.approx(100 * 12 / 84)
    assert rows[2]["arrays_sha256"] == sha256_file(root / "clean-csg-0/predictions-target.npz")
    with Image.open(tmp_path / "out/figures/predictions_target.png") as sheet:
        assert sheet.width > sheet.height / 2
    assert "figures/predictions_target.png" in (tmp_path / "out/report.md").read_text()
    (gallery,) = mask_galleries(rows_of(root))
    wrong = [(view.difference.pixels == WRONG).all(axis=2).sum() for view in gallery.photos[0].views]
    assert wrong == [0, 12]


def test_nothing_of_it_without_such_records(tmp_path):
    write_run(tmp_path / "runs", "csg", masks=True)
    page = build_report([tmp_path / "runs"], tmp_path / "out", allow_mixed=False).read_text()
    assert "masks-" not in page
    assert "What the methods predict" not in page


def test_many_pictures_are_folded_and_more_are_left_out_by_their_place(tmp_path):
    root = made(tmp_path / "runs", ("baseline",), count=25)
    (gallery,) = mask_galleries(rows_of(root))
    assert [photo.file for photo in gallery.photos] == [f"{place * 25 // MOST}.png" for place in range(MOST)]
    page = build_report([root], tmp_path / "out", allow_mixed=False).read_text()
    assert f"{MOST - OPEN} more" in visible_text(page)
    assert page.index("<details>") > page.index('aria-label="Enlarge 6.png"')
    assert page.index("<details>") < page.index('aria-label="Enlarge 8.png"')
    assert "12 of them, evenly spaced, are shown" in visible_text(page)
    assert len(table(tmp_path / "out", "predictions_target")) == 25


def test_each_split_has_its_own_section_the_target_first(tmp_path):
    root = made(tmp_path / "runs")
    write_predictions(root / "clean-csg-1", split="validation")
    rows = rows_of(root)
    assert [(own.split, own.columns) for own in mask_galleries(rows)] == [
        ("target", ("baseline", "csg")),
        ("validation", ("csg",)),
    ]
    assert [run.info.seed for _, run in choose(rows, "validation")] == [1]
    text = built_text(root, tmp_path / "out")
    assert text.index("masks of target pictures") < text.index("masks of validation pictures")


def test_two_strengths_of_a_method_stand_under_their_rows_labels(tmp_path):
    for seed, weight in enumerate((0.1, 1.0)):
        folder = write_run(tmp_path, "asg", seed, masks=True, attention=False, method_config={"weight": weight})
        write_predictions(folder)
    (gallery,) = mask_galleries(rows_of(tmp_path))
    assert gallery.columns == ("asg weight=0.1", "asg weight=1.0")


def test_verify_knows_the_arrays_and_the_sheet(tmp_path):
    root, out = made(tmp_path / "runs"), tmp_path / "out"
    build_report([root], out, allow_mixed=False)
    other = root / "clean-csg-1/predictions-target.npz"  # of no run that is shown
    sheet = out / "figures/predictions_target.png"
    drawn = sheet.read_bytes()
    other.write_bytes(other.read_bytes() + b" ")
    sheet.write_bytes(b"other")
    result = command(out, root, name="verify")
    assert result.exit_code == 2
    assert f"{other}: not the arrays that predictions-target.json is of" in result.output
    assert "figures/predictions_target.png: changed" in result.output
    other.unlink()
    sheet.write_bytes(drawn)
    assert command(out, root, name="verify").exit_code == 0, "arrays of no run that is shown may be left out"


def test_arrays_that_are_not_the_records_are_one_line(tmp_path):
    root = made(tmp_path / "runs")
    path = root / "clean-csg-0/predictions-target.npz"
    kept = path.read_bytes()
    again = "run csg-analyze predictions --images target again"
    path.write_bytes(kept + b" ")
    assert f"{path}: not what predictions-target.json is of (SHA-256); {again}" in refused(
        root, "--out", tmp_path / "o"
    )
    path.unlink()
    assert f"{path}: missing or damaged; {again}" in refused(root, "--out", tmp_path / "o")
    np.savez_compressed(path, picture_0=np.zeros((4, 4, 3), np.uint8))
    record = path.with_suffix(".json")
    record.write_text(json.dumps(json.loads(record.read_text()) | {"arrays_sha256": sha256_file(path)}))
    assert f"{path}: missing or damaged; {again}" in refused(root, "--out", tmp_path / "o")
    zeros = {f"{name}_{i}": np.zeros((4, 4), np.uint8) for name in ("true", "predicted") for i in range(2)}
    pictures = {f"picture_{i}": np.zeros((4, 5, 3), np.uint8) for i in range(2)}
    np.savez_compressed(path, **zeros, **pictures)
    record.write_text(json.dumps(json.loads(record.read_text()) | {"arrays_sha256": sha256_file(path)}))
    assert f"{path}: does not fit predictions-target.json; {again}" in refused(root, "--out", tmp_path / "o")
    assert not (tmp_path / "o").exists()


def test_other_pictures_stand_in_no_one_gallery(tmp_path):
    root = made(tmp_path / "runs")
    write_predictions(root / "clean-csg-0", shift=1)
    with pytest.raises(UserError, match="other pictures than in"):
        mask_galleries(rows_of(root))
    write_predictions(root / "clean-csg-0", count=3)
    line = refused(root, "--out", tmp_path / "o")
    assert "not comparable: predicted masks of target: photos, 2 pictures" in line
    assert "--allow-mixed" in line
    (gallery,) = mask_galleries(rows_of(root, allow_mixed=True))
    assert gallery.columns == ("baseline", "csg"), "csg by its other seed, whose pictures are the same"
