"""What a report is made of, told apart by what the files say of themselves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from dualsys.bench.store import HEADER, REPORT
from dualsys.bench.store import SCHEMA as BENCH_SCHEMA
from dualsys.errors import DualsysError
from dualsys.runtime.results import SCHEMA as RUN_SCHEMA
from dualsys.whatif.call_trials import SCHEMA as CALLS_SCHEMA


class Source(msgspec.Struct, frozen=True):
    """One file of results. kind: "bench", "run", "calibration", "values" or "calls"."""

    kind: str
    name: str
    path: Path
    content: dict[str, Any]


def read_source(path: Path) -> Source:
    """A folder of `dualsys eval`, `run` or `bench`, or a file of calibrate, value_check, try_calls.

    Raises `DualsysError` for anything else, naming what is understood.
    """
    file = path
    if path.is_dir():
        found = [path / name for name in (REPORT, "results.json") if (path / name).is_file()]
        if not found and (path / HEADER).is_file():
            done = len(list(path.glob("episodes/*/*/*.json")))
            raise DualsysError(
                f"{path} is a benchmark that is not finished ({done} episodes are there); complete "
                f"it with: dualsys bench --resume out={path}"
            )
        if not found:
            raise DualsysError(
                f"{path} holds neither bench.json nor results.json; give the out= of a finished "
                "`dualsys bench`, `eval` or `run`"
            )
        file = found[0]
    try:
        content = msgspec.json.decode(file.read_bytes())
    except (OSError, msgspec.DecodeError) as error:
        raise DualsysError(f"{file} can not be read as JSON: {error}") from error
    kind = _kind(content) if isinstance(content, dict) else ""
    if not kind:
        raise DualsysError(
            f"{file} is nothing that a report shows (schema {content.get('schema')!r}); give runs, "
            f"benchmarks of schema {BENCH_SCHEMA!r}, files of `dualsys calibrate`, value_check or "
            "try_calls"
            if isinstance(content, dict)
            else f"{file} holds no JSON object"
        )
    return Source(kind, path.stem if path.is_file() else path.name, path, content)


def _kind(content: dict[str, Any]) -> str:
    if content.get("schema") == BENCH_SCHEMA:
        return "bench"
    if content.get("schema") == RUN_SCHEMA:
        return "run"
    if "reliability" in content and "thresholds" in content:
        return "calibration"
    if content.get("schema") == CALLS_SCHEMA:
        return "calls"
    return "values" if "rankings" in content and "pairs" in content else ""
