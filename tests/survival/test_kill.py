"""The short form of `make crash`: a run that is disturbed in every way ends as one that is not."""

import re
import subprocess
import sys
from pathlib import Path

from csg_train.files import atomic_write, write_text


def test_a_run_survives_every_fault_once():
    result = subprocess.run(
        [sys.executable, "-m", "tests.survival.kill", "--kills", "10"],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert re.search(r"\d\d faults[\s\S]*killed[\s\S]*one-line error, exit 2[\s\S]*\nlost: 0\n", result.stdout), (
        result.stdout
    )


def test_a_killed_writers_file_is_removed_and_a_living_ones_is_not(tmp_path):
    path = tmp_path / "a.txt"
    for name in (".a.txt.dead.tmp", ".a.txt.extra.dead.tmp", ".b.txt.other.tmp"):
        (tmp_path / name).write_text("half")

    def while_another_writes(stream):
        stream.write(b"first")
        write_text(path, "second")
        assert path.read_text() == "second"

    atomic_write(path, while_another_writes)
    assert path.read_text() == "first"
    assert sorted(file.name for file in tmp_path.iterdir()) == [".b.txt.other.tmp", "a.txt"]
