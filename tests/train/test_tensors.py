"""What a file is that holds no tensors is said in words of ours; none of torch's reach the user."""

import argparse
import errno
import os
import pickle
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from csg_train.errors import UserError
from csg_train.models.backbones import Backbone
from csg_train.models.weights import load_weights
from csg_train.runs.checkpoint import load_checkpoint
from csg_train.runs.importing import _read
from csg_train.tensors import fits
from tests.survival import tiny


def test_what_stands_for_whole_numbers_is_whole():
    """An index that was multiplied would be cut to another index."""
    index = torch.tensor([0, 3, 48])
    assert fits(index.float(), index)
    assert fits(index.int(), index)
    assert not fits(1.1 * index, index)
    assert not fits(index[:2], index)
    assert not fits(index, torch.rand(3))
    assert fits(torch.rand(3).bfloat16(), torch.rand(3))
    assert not fits(torch.rand(3).to(torch.float8_e4m3fn), torch.rand(3))


def write(content: object) -> object:
    return lambda path: torch.save(content, path)


def scripted(path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), path)


def nested(path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.save({"a": torch.nested.nested_tensor([torch.ones(2), torch.ones(3)])}, path)


def exported(path: Path) -> None:
    torch.export.save(torch.export.export(torch.nn.Linear(2, 2), (torch.zeros(1, 2),)), path)


def arrays(path: Path) -> None:
    with path.open("wb") as stream:
        np.savez(stream, a=np.zeros(2))


def cut_safetensors(path: Path) -> None:
    save_file({"a": torch.zeros(100)}, path)
    path.write_bytes(path.read_bytes()[:200])


def names_in_no_encoding(path: Path) -> None:
    torch.save({"a": torch.zeros(2)}, path)
    contents, mark, entries = path.read_bytes().partition(b"PK\1\2")
    path.write_bytes(contents + mark + entries.replace(b"file/", b"\xff\xff\xff\xff/"))


FILES = {
    "a whole model": (write(torch.nn.Linear(2, 2)), "pickled object (torch.nn.modules.linear.Linear)"),
    "options of a script": (write({"args": argparse.Namespace(lr=1)}), "pickled object (argparse.Namespace)"),
    "a number of numpy": (write({"best": np.float64(1)}), "pickled object (numpy."),
    "a pickle": (lambda path: path.write_bytes(pickle.dumps({"a": 1}, protocol=4)), "not a torch file"),
    "TorchScript": (scripted, "a TorchScript archive"),
    "torch.export": (exported, "a program of torch.export"),
    "a tensor without values": (
        write({"a": {"b": torch.zeros(2, device="meta")}}),
        "b is a meta tensor, without values",
    ),
    "a sparse tensor": (write({"a": [torch.eye(2).to_sparse()]}), "a is a sparse tensor; save dense"),
    "a row repeated": (write({"a": torch.zeros(1, 512).expand(20_000_000, 512)}), "a is a tensor larger than the file"),
    "a nested tensor": (
        nested,
        "a is a nested tensor" if torch.__version__ < (2, 15) else "object (torch._utils._rebuild_nested_tensor)",
    ),
    "a damaged list of entries": (names_in_no_encoding, "not a complete torch file"),
    "an archive of numpy": (arrays, "not a complete torch file"),
    "HDF5": (lambda path: path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(99)), "an HDF5 file"),
    "a pointer": (lambda path: path.write_bytes(b"version https://git-lfs.github.com/spec/v1\n"), "a git-lfs pointer"),
    "a page": (lambda path: path.write_bytes(b"<!DOCTYPE html><html>Sign in</html>"), "a web page"),
    "text": (lambda path: path.write_bytes(b"hello world, this is a text"), "not a torch file, and no safetensors"),
    "cut safetensors": (cut_safetensors, "a safetensors file that is cut or damaged"),
}


@pytest.mark.parametrize("file", FILES)
def test_each_is_named_without_advice_to_switch_the_safety_off(file, tmp_path):
    path = tmp_path / "file.pth"
    make, part = FILES[file]
    make(path)
    for read in (
        lambda: load_weights(Backbone(tiny.SPEC), "tiny", path),
        lambda: _read(path),
        lambda: load_checkpoint(path),
    ):
        with pytest.raises(UserError) as caught:  # and a warning would be an error
            read()
        message = caught.value.format_message()
        assert message.startswith(f"{path}: ")
        assert part in message
        for advice in ("weights_only", "safe_globals", "trusted source", "options", "issue"):
            assert advice not in message


def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for read in (lambda path: load_weights(Backbone(tiny.SPEC), "tiny", path), _read, load_checkpoint):
        with pytest.raises(UserError, match="not a regular file"):
            read(tmp_path / "pipe")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.EIO, "Input/output error"), "Input/output error; fix the disk or its server"),
        (RuntimeError("[enforce fail] . \nDefaultCPUAllocator: can't allocate memory: you tried"), "out of memory"),
    ],
)
@pytest.mark.parametrize("read", [load_checkpoint, _read])
def test_a_whole_file_is_not_called_damaged_where_the_machine_gave_out(read, error, said, tmp_path, monkeypatch):
    """“train again or restore it”: who did, with --overwrite, lost a run."""
    torch.save({"format": "csg-train/9"}, tmp_path / "ckpt.pt")

    def failing(*_arguments: object, **_options: object) -> None:
        raise error

    monkeypatch.setattr(torch, "load", failing)
    with pytest.raises(UserError, match=rf"ckpt\.pt: {said}") as caught:
        read(tmp_path / "ckpt.pt")
    assert "train again" not in str(caught.value)
