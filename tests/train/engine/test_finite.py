"""Rows of the log: what is still on a device is read in one go, to the numbers that each reading alone gives."""

import torch

from csg_train.engine.finite import numbers_of


def test_numbers_of_rows_are_those_of_each_value(monkeypatch):
    rows = [
        {"loss": torch.tensor(0.1), "lr_factor": 0.5, "right": torch.tensor(3)},
        {"loss": torch.tensor(float("nan")), "lr_factor": 1, "spread": torch.tensor(1 / 3, dtype=torch.float64)},
        {"lr_factor": 0.25},
    ]
    expected = [{name: float(value) for name, value in row.items()} for row in rows]

    def waits(_):
        raise AssertionError("the device is waited for")

    with monkeypatch.context() as patch:
        patch.setattr(torch.Tensor, "__float__", waits)
        patch.setattr(torch.Tensor, "item", waits)
        found = numbers_of(rows)
    assert str(found) == str(expected)
    assert all(type(value) is float for row in found for value in row.values())
    assert numbers_of([]) == []
