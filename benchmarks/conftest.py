"""Adds to pytest-benchmark's JSON the programs that were skipped, and why."""

import pytest

_SKIPPED = pytest.StashKey[list[dict]]()


def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo) -> None:
    if call.excinfo and call.excinfo.errisinstance(pytest.skip.Exception):
        group, reason = item.funcargs["benchmark"].group, str(call.excinfo.value)
        one = {"name": item.name, "group": group, "params": item.callspec.params, "reason": reason}
        item.config.stash.setdefault(_SKIPPED, []).append(one)


def pytest_benchmark_update_json(config: pytest.Config, output_json: dict) -> None:
    output_json["skipped"] = config.stash.get(_SKIPPED, [])
