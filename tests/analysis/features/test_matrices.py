"""Plain matrices of others through the real command: each format gives the energy of its rows, or one line."""

import hashlib
import json
import os
import pickle

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from csg_analysis.energy.energy import hyperspherical_energy
from csg_analysis.features import open_matrix
from csg_train.files import sha256_file
from csg_train.runs.records import read_record
from tests.analysis.conftest import analyze, refused

ROWS = np.random.default_rng(0).normal(size=(12, 5)).astype(np.float32)


def save_npy(path):
    np.save(path.with_suffix(".npy"), ROWS)
    return path.with_suffix(".npy"), None, ROWS, "float32"


def save_swapped(path):
    np.save(path.with_suffix(".npy"), np.asfortranarray(ROWS.astype(">f8")))
    return path.with_suffix(".npy"), None, ROWS.astype(np.float64), "float64"


def save_npz(path):
    np.savez_compressed(path, ROWS.astype(np.float16))
    return path.with_suffix(".npz"), None, ROWS.astype(np.float16), "float16"


def save_named(path):
    np.savez(path, labels=np.arange(12), layer4=ROWS, files=np.array(["a"] * 12))
    return path.with_suffix(".npz"), "layer4", ROWS, "float32"


def save_safetensors(path):
    tensors = {"ids": torch.arange(12), "net/avgpool": torch.from_numpy(ROWS).bfloat16()}
    save_file(tensors, path.with_suffix(".safetensors"))
    return path.with_suffix(".safetensors"), "net/avgpool", tensors["net/avgpool"], "bfloat16"


@pytest.mark.parametrize("save", [save_npy, save_swapped, save_npz, save_named, save_safetensors])
def test_the_energy_of_a_file_is_that_of_its_rows(save, tmp_path):
    path, name, rows, dtype = save(tmp_path / "rows")
    file = path if name is None else f"{path}:{name}"
    result = analyze("energy", "--features", file, "--json")
    assert result.exit_code == 0, result.output
    (printed,) = json.loads(result.stdout)
    expected = hyperspherical_energy(rows)
    for s, estimate in expected.mhe.items():
        assert printed["mhe"][f"{s:g}"] == pytest.approx(estimate.value, rel=1e-12)
    model = path.name if name is None else f"{path.name}:{name}"
    assert printed["run"]["model"] == model
    assert printed["run"]["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert (printed["dtype"], printed["layer"], printed["pool"]) == (dtype, "unknown", "unknown")
    assert (printed["data"]["count"], printed["data"]["split"], printed["data"]["size"]) == (12, "unknown", None)
    (written,) = tmp_path.glob("*.energy.json")
    assert written.name == f"{model.replace(':', '.').replace('/', '-')}.energy.json"
    assert read_record(written).model_dump(mode="json") == printed


def test_a_colon_in_the_name_of_a_file_is_of_the_file(tmp_path):
    np.save(tmp_path / "a:b.npy", ROWS)
    assert analyze("energy", "--features", tmp_path / "a:b.npy").exit_code == 0


def test_two_matrices_of_one_record_are_refused(tmp_path):
    np.savez(tmp_path / "a.npz", **{"x/y": ROWS, "x-y": ROWS[:5]})
    result = analyze(
        "energy", *(part for name in ("x/y", "x-y") for part in ("--features", f"{tmp_path}/a.npz:{name}"))
    )
    assert result.exit_code == 2
    assert "a.npz:x-y: would take the place of another one's a.npz.x-y.energy.json; give it by itself" in result.stderr


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".safetensors"])
def test_a_pipe_is_not_waited_for(suffix, tmp_path):
    os.mkfifo(tmp_path / f"rows{suffix}")
    refused(analyze("energy", "--features", tmp_path / f"rows{suffix}"), "not a regular file")


def test_files_of_one_name_are_told_apart(tmp_path):
    files = [tmp_path / folder / "rows.npy" for folder in "ab"]
    for file in files:
        file.parent.mkdir()
        np.save(file, ROWS)
    shown = analyze("energy", *(part for file in files for part in ("--features", file))).stdout
    assert all(f"rows ({file})" in " ".join(shown.split()) for file in files)


def test_mistakes_are_one_line_and_leave_nothing(tmp_path):
    np.savez(tmp_path / "two.npz", a=ROWS, b=ROWS, words=np.array(["x"]), objects=np.array([{}], dtype=object))
    np.save(tmp_path / "flat.npy", ROWS[0])
    np.save(tmp_path / "whole.npy", np.arange(12).reshape(4, 3))
    zero = ROWS.copy()
    zero[7] = 0
    np.save(tmp_path / "zero.npy", zero)
    (tmp_path / "cut.npy").write_bytes((tmp_path / "zero.npy").read_bytes()[:-9])
    (tmp_path / "cut.npz").write_bytes((tmp_path / "two.npz").read_bytes()[:-40])
    (tmp_path / "cut.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0{")
    (tmp_path / "rows.csv").write_text("1,2")
    (tmp_path / "pickled.npy").write_bytes(pickle.dumps([1, 2]))
    before = sorted(tmp_path.iterdir())
    for file, *parts in (
        ("two.npz", "two.npz", "a, b, words, objects", "two.npz:a"),
        ("two.npz:c", "two.npz", "no 'c'", "a, b"),
        ("two.npz:words", "words is (1,)", "float32"),
        ("two.npz:objects", "two.npz", "not a complete .npz"),
        ("flat.npy", "flat.npy", "(5,)", "(N, D)"),
        ("flat.npy:a", "flat.npy", "no 'a'", "one array without a name"),
        ("whole.npy", "whole.npy", "int64", "float32"),
        ("zero.npy", "zero.npy", "row 7"),
        ("cut.npy", "cut.npy", "not a complete"),
        ("cut.npz", "cut.npz", "not a complete"),
        ("cut.safetensors", "cut.safetensors", "not a complete"),
        ("rows.csv", "rows.csv", ".safetensors"),
        ("pickled.npy", "(it holds pickled objects, which are not read)"),
        ("none.npy", "none.npy", "no such file"),
    ):
        refused(analyze("energy", "--features", tmp_path / file), *parts)
    refused(analyze("energy", "--features", tmp_path / "zero.npy", "--layer", "layer3"), "--layer")
    assert sorted(tmp_path.iterdir()) == before


def test_what_is_no_matrix_is_named(tmp_path):
    (tmp_path / "text.npz").write_text("hello")
    refused(analyze("energy", "--features", tmp_path / "text.npz"), "text.npz", "not an archive of NumPy")
    refused(analyze("energy", "--features", tmp_path), f"{tmp_path}: a folder")
    np.save(tmp_path / "rows.npy", ROWS)
    (tmp_path / "features.json").write_text("{}")
    refused(analyze("energy", "--features", f"{tmp_path / 'rows.npy'}:layer4"), "rows.npy", "has no 'layer4'")


def test_rows_and_hash_are_of_one_file_where_another_takes_its_place_meanwhile(tmp_path, monkeypatch):
    path, later = tmp_path / "rows.npy", tmp_path / "later.npy"
    np.save(path, ROWS)
    np.save(later, ROWS[:6])

    def replace_first(file):
        if later.exists():
            later.replace(path)
        return sha256_file(file)

    monkeypatch.setattr("csg_train.files.sha256_file", replace_first)
    matrix = open_matrix(path)
    assert matrix.run.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert np.array_equal(matrix.rows_ND, ROWS[:6])
