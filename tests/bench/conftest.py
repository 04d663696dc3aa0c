from __future__ import annotations

from pathlib import Path

import pytest

from dualsys.bench.command import run_bench
from tests.benchmarks import TABLE, words


@pytest.fixture(scope="session")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("table") / "mine.yaml"
    path.write_text(TABLE)
    return path


@pytest.fixture(scope="session")
def done(untrained: Path, table: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("bench") / "whole"
    assert run_bench(words(untrained, table, out, "workers=1")) == 0
    return out
