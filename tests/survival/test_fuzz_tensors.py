"""Hostile checkpoints, starting weights and released files: accepted, or refused in one line."""

import hashlib
import pickle
import zipfile
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from csg_train.engine.optimizer import build_optimizer
from csg_train.errors import UserError
from csg_train.models.backbones import Backbone
from csg_train.models.weights import load_weights
from csg_train.runs.checkpoint import Checkpoint, load_checkpoint, load_optimizer, load_state
from csg_train.runs.importing import _read, _unwrap, map_state
from csg_train.runs.layouts import LAYOUTS
from csg_train.tensors import load_tensors
from tests.nested import equal
from tests.survival import tiny
from tests.survival.mutations import altered, damaged, fuzz, plain, refused_or_fine

CPU = torch.device("cpu")


def use(path: Path) -> Checkpoint:
    """Everything that is done with a checkpoint when it is measured or resumed."""
    saved = load_checkpoint(path)
    recipe = saved.resolved_recipe()
    network = saved.build_network(CPU)
    method = recipe.build_method()
    load_state(method, saved.method, path)
    load_optimizer(build_optimizer(network, method, recipe.train), saved.optimizer, path)
    return saved


def odd_tensors():
    return st.sampled_from(
        [
            torch.zeros(0),
            torch.zeros(3, 1),
            torch.zeros(1).expand(1 << 40),
            torch.zeros(2, dtype=torch.complex64),
            torch.eye(2).to_sparse(),
            torch.zeros(4, dtype=torch.uint8),
            torch.full((4,), float("nan")),
            torch.zeros(4, device="meta"),
        ]
    )


class Shell:
    """Pickles as a call of ``os.system``."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        import os

        return os.system, (f"touch {self.marker}",)


@fuzz
@given(data=st.data())
def test_damaged_bytes_of_a_checkpoint(place, whole, data):
    path = place / "damaged.pt"
    path.write_bytes(data.draw(damaged(whole.read_bytes())))
    saved = refused_or_fine("checkpoints, bytes", lambda: use(path))
    if saved is not None:  # what no tensor and no value depends on
        good = load_checkpoint(whole)
        assert all(equal(getattr(saved, name), getattr(good, name)) for name in ("recipe", "model", "optimizer", "rng"))


@fuzz
@given(data=st.data())
def test_changed_values_of_a_checkpoint(place, whole, data):
    content = torch.load(whole, weights_only=True)
    content["model"], content["method"] = dict(content["model"]), dict(content["method"])
    path = place / "changed.pt"
    torch.save(data.draw(altered(content, plain | odd_tensors())), path)
    refused_or_fine("checkpoints, values", lambda: use(path))


@fuzz
@given(data=st.data())
def test_starting_weights_and_released_files(place, data):
    good = dict(tiny.build().state_dict())
    path = place / "weights.pt"
    torch.save(data.draw(altered(good, plain | odd_tensors())), path)
    if data.draw(st.booleans()):
        path.write_bytes(data.draw(damaged(path.read_bytes())))
    refused_or_fine("weights", lambda: load_weights(Backbone(tiny.SPEC), "tiny", path))

    def released():
        theirs, _ = _unwrap(_read(path)[0], path)
        return map_state(theirs, good, LAYOUTS["torchvision"], origin=str(path))

    refused_or_fine("released files", released)


@pytest.mark.parametrize("form", ["zip", "old", "plain pickle", "in the recipe"])
def test_a_pickle_that_runs_a_command_is_refused_and_not_run(form, place, whole):
    marker, path = place / f"ran-{form}", place / "evil.pt"
    if form == "plain pickle":
        path.write_bytes(pickle.dumps(Shell(marker)))
    elif form == "in the recipe":
        torch.save(torch.load(whole, weights_only=True) | {"recipe": Shell(marker)}, path)
    else:
        torch.save({"a": Shell(marker)}, path, _use_new_zipfile_serialization=form == "zip")
    for call in (
        lambda: load_checkpoint(path),
        lambda: load_weights(Backbone(tiny.SPEC), "tiny", path),
        lambda: _read(path),
    ):
        assert refused_or_fine("pickles that run a command", call) is None
    assert not marker.exists()


def test_a_flipped_bit_of_a_weight_is_found(place, whole):
    """torch itself loads such a file without a word."""
    path = place / "flipped.pt"
    weight = load_checkpoint(whole).model["head.0.weight"].numpy().tobytes()
    content = bytearray(whole.read_bytes())
    content[content.index(weight) + 5] ^= 1
    path.write_bytes(content)
    assert not equal(torch.load(path, weights_only=True)["model"], torch.load(whole, weights_only=True)["model"])
    with pytest.raises(UserError, match="checksum"):
        load_checkpoint(path)


def test_a_compressed_archive_is_not_unpacked(place, whole):
    path = place / "bomb.pt"
    with zipfile.ZipFile(whole) as old, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
        for entry in old.infolist():
            new.writestr(entry.filename, old.read(entry))
        new.writestr("archive/data/99", bytes(1 << 26))
    assert path.stat().st_size < 1 << 20
    with pytest.raises(UserError, match="compressed"):
        load_checkpoint(path)


def test_a_tensor_that_claims_more_than_the_file_holds(place, whole):
    path = place / "claim.pt"
    with zipfile.ZipFile(whole) as old, zipfile.ZipFile(path, "w") as new:
        for entry in old.infolist():
            content = old.read(entry)
            if entry.filename.endswith("data.pkl"):
                content = content.replace(b"K\x04K\x03K\x03K\x03", b"J\xff\xff\xff\x7fK\x03K\x03K\x03")
            new.writestr(entry.filename, content)
    assert path.read_bytes() != whole.read_bytes()
    with pytest.raises(UserError, match=r"claim\.pt"):
        use(path)


def test_values_that_double_at_every_level_are_named_in_short(place, whole):
    """2^60 values, shared: a few bytes in the file, more than there is time for in a message."""
    bomb: list = ["x"]
    for _ in range(60):
        bomb = [bomb, bomb]
    good, path = torch.load(whole, weights_only=True), place / "doubled.pt"
    for change in ({"format": bomb}, {"recipe": good["recipe"] | {"name": bomb}}, {"classes": bomb}):
        torch.save(good | change, path)
        assert refused_or_fine("checkpoints, values", lambda: use(path)) is None


def test_a_checkpoint_without_classes_is_refused_before_a_network_is_made(place, whole):
    path = place / "classless.pt"
    torch.save(torch.load(whole, weights_only=True) | {"classes": []}, path)
    with pytest.raises(UserError, match=r"classless\.pt: damaged checkpoint \(classes: "):
        load_checkpoint(path)


@pytest.mark.parametrize(
    ("field", "changes", "words"),
    [
        ("data", {"name": 5}, "data.name"),
        ("data", {"identity": None}, "data.identity"),
        ("data", {"count": torch.tensor(3)}, "data.count"),
        ("averaged", {"rule": "ema"}, "averaged.first_step"),
        ("averaged", {"x": 1}, "averaged.rule"),
        ("averaged", {"rule": "soup", "of": 3}, "averaged.of"),
        ("averaged", {"rule": "wise-ft", "of": [], "alpha": "x"}, "averaged.alpha"),
        ("averaged", {"rule": "soup", "of": [{"method": "csg"}]}, "averaged.of.options"),
    ],
)
def test_what_records_copy_from_a_checkpoint_has_its_types(field, changes, words, place, whole):
    good, path = torch.load(whole, weights_only=True), place / "typed.pt"
    torch.save(good | {field: good.get(field, {}) | changes}, path)
    with pytest.raises(UserError, match=rf"typed\.pt: damaged checkpoint \({words}: "):
        load_checkpoint(path)


@pytest.mark.parametrize("dtype", [torch.int32, torch.int8, torch.float8_e4m3fn])
def test_weights_of_another_kind_of_number_are_refused(dtype, place, whole):
    """Integers are loaded by torch without a word; such a network gives all pictures the same."""
    good, path = torch.load(whole, weights_only=True), place / "kinds.pt"
    torch.save(good | {"model": {name: value.to(dtype) for name, value in good["model"].items()}}, path)
    with pytest.raises(UserError, match=rf"kinds\.pt: damaged checkpoint, .* is of {str(dtype)[6:]}; restore it"):
        load_checkpoint(path).build_network(CPU)


def test_a_hash_is_that_of_what_was_read(place, whole, monkeypatch):
    """Training replaces its checkpoint, and does so while another command reads it."""
    first, second = whole.read_bytes(), place / "second.pt"
    torch.save(torch.load(whole, weights_only=True) | {"step": 77}, second)
    path, late = place / "moving.pt", second.read_bytes()
    path.write_bytes(first)
    tries = []

    def replaced(file):
        content = load_tensors(file)
        tries.append(content["step"])
        if len(tries) == 1:
            second.replace(path)
        return content

    monkeypatch.setattr("csg_train.runs.checkpoint.load_tensors", replaced)
    found = load_checkpoint(path)
    assert (found.step, found.sha256) == (77, hashlib.sha256(late).hexdigest())
    assert len(tries) == 2

    def always(file):
        content = load_tensors(file)
        file.write_bytes(first + bytes(len(tries)))
        tries.append(0)
        return content

    monkeypatch.setattr("csg_train.runs.checkpoint.load_tensors", always)
    path.write_bytes(first)
    with pytest.raises(UserError, match=r"moving\.pt: .*it changes while it is read"):
        load_checkpoint(path)


@pytest.mark.parametrize("change", ["shape", "group", "text", "missing"])
def test_an_optimiser_state_that_does_not_fit_is_refused(change, place, whole):
    saved = load_checkpoint(whole)
    network, method = saved.build_network(CPU), saved.resolved_recipe().build_method()
    optimizer = build_optimizer(network, method, saved.resolved_recipe().train)
    state = saved.optimizer
    if change == "shape":
        state["state"][0]["momentum_buffer"] = torch.zeros(3)
    elif change == "group":
        del state["param_groups"][0]["momentum"]
    elif change == "text":
        state["state"] = "momentum"
    else:
        del state["param_groups"]
    with pytest.raises(UserError, match="optimiser state does not fit"):
        load_optimizer(optimizer, state, whole)
