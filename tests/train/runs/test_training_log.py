"""``log.jsonl`` at a resume."""

import pytest

from csg_train.errors import UserError
from csg_train.runs.training_log import TrainingLog, read_log

LINES = b'{"step": 1, "loss": 0.5}\n{"step": 2, "loss": 0.25}\n'


def test_a_resume_cuts_what_the_checkpoint_does_not_count(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_bytes(LINES + b'{"step": 3, "lo')
    with TrainingLog(path, len(LINES)) as log:
        log.write({"step": 3, "loss": 0.125})
    assert read_log(path) == [(1, {"loss": 0.5}), (2, {"loss": 0.25}), (3, {"loss": 0.125})]


@pytest.mark.parametrize("edited", [LINES[:-1], LINES.replace(b"0.5", b"0.55"), LINES.replace(b"\n", b"\r\n")])
def test_an_edited_log_is_not_cut_within_a_line(edited, tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_bytes(edited)
    with pytest.raises(UserError, match=r"log\.jsonl: .*restore it or use --overwrite"):
        TrainingLog(path, len(LINES))
    assert path.read_bytes() == edited


@pytest.mark.parametrize(
    "line",
    [
        '{"step": 2e400, "loss": 1}',
        '{"step": 1, "loss": 1' + "0" * 400 + "}",
        "[" * 100_000,
        '{"step": 99999999999999999999999, "loss": 1}',
        '{"step": true, "loss": 1}',
        '{"step": -5, "loss": 1}',
        '{"step": 1.5, "loss": 1}',
        '{"loss": 1}',
    ],
)
def test_a_line_of_no_training_log_is_named(line, tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_text(f"{LINES.decode()}{line}\n")
    with pytest.raises(UserError, match=r"log\.jsonl:3: not a line of a training log"):
        read_log(path)
