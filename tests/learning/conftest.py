from __future__ import annotations

import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dualsys.learning.dataset import EPISODES


def with_success(drives: Path, folder: Path, *success: bool) -> Path:
    """A copy of the two drives that says which of them succeeded."""
    root = shutil.copytree(drives, folder)
    table = pq.read_table(root / EPISODES)
    at = table.column_names.index("success")
    pq.write_table(table.set_column(at, "success", pa.array(success)), root / EPISODES)
    return root


@pytest.fixture(scope="session")
def outcomes(drives: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two drives, of which the second counts as failed."""
    return with_success(drives, tmp_path_factory.mktemp("outcomes") / "data", True, False)
