"""Hostile records and the arrays beside them: accepted, or refused in one line."""

import io
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from csg_analysis.report.arrays import read_arrays
from csg_train.data.readers.lists import VISDA_CLASSES
from csg_train.errors import UserError
from csg_train.recipes.reading import load_recipe
from csg_train.runs.records import read_record
from csg_train.tensors import load_tensors
from tests.survival import tiny
from tests.survival.mutations import altered, damaged, fuzz, refused_or_fine
from tests.survival.test_fuzz_tensors import use

RECORD = {
    "format": "csg-record/1",
    "kind": "accuracy",
    "run": {
        **dict.fromkeys(("recipe", "method", "backbone", "weights", "source", "source_identity"), "x"),
        **{"method_config": {}, "seed": 0, "step": 1, "checkpoint_sha256": "0" * 64, "versions": {"torch": "2"}},
    },
    "data": {"split": "target", "name": "d", "identity": "i", "count": 2, "size": 16, "fit": "crop"},
    "classes": ["a", "b"],
    "confusion": [[1, 0], [0, 1]],
    "flip": True,
    "per_class": [1.0, None],
    "mean_per_class": 1.0,
    "overall": 1.0,
    "interval": {"low": 0.0, "high": 1.0, "level": 0.95, "kind": "bootstrap"},
}


@fuzz
@given(
    content=st.one_of(
        altered(RECORD).map(lambda value: json.dumps(value).encode()),
        damaged(json.dumps(RECORD).encode()),
        st.sampled_from([b"[" * 100_000, b'{"a":' * 100_000, b"9" * 10_000, b"\xff\xfe", b"", b"null"]),
    )
)
def test_records(place, content):
    path = place / "accuracy-target.json"
    path.write_bytes(content)
    refused_or_fine("records", lambda: read_record(path))


def archive() -> bytes:
    """Compressed, as GradCAM's maps are."""
    stream = io.BytesIO()
    np.savez_compressed(stream, maps=np.arange(48.0).reshape(3, 4, 4), images=np.ones((3, 4, 4, 3), np.uint8))
    return stream.getvalue()


@fuzz
@given(content=damaged(archive()))
def test_arrays(place, content):
    path = place / "attention.npz"
    path.write_bytes(content)
    refused_or_fine("arrays", lambda: read_arrays(path, ("maps", "images"), again="make it again"))


def test_the_good_ones_are_accepted(place, whole, tmp_path):
    """Else the tests above would pass by refusing everything."""
    (tmp_path / "accuracy-target.json").write_text(json.dumps(RECORD))
    assert read_record(tmp_path / "accuracy-target.json").classes == ["a", "b"]
    assert use(whole).step == 2
    assert load_recipe(str(place / "tiny.yaml")).name == "tiny"
    assert load_tensors(place / "tiny.pt").keys() == tiny.build().state_dict().keys()
    assert len(VISDA_CLASSES) == 12
    (tmp_path / "attention.npz").write_bytes(archive())
    assert read_arrays(tmp_path / "attention.npz", ["maps"], again="")[0][2, 3, 3] == 47


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e400"])
def test_a_number_that_json_lacks_is_refused_where_it_stands(number, tmp_path):
    """A report of it ended with json's own error, which named no file."""
    path = tmp_path / "accuracy-target.json"
    path.write_text(json.dumps(RECORD | {"mean_per_class": 0.625}).replace("0.625", number))
    with pytest.raises(UserError, match=r"accuracy-target\.json: .*mean_per_class"):
        read_record(path)
