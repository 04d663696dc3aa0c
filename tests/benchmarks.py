"""A small benchmark for tests: three variants, five short drives each."""

from __future__ import annotations

from pathlib import Path

TABLE = """
variants:
  never: {words: [system2=none]}
  periodic: {words: [], against: never}
  as_often:
    words: [trigger=random, "trigger.rate={rate of periodic}"]
    against: periodic
"""


def words(untrained: Path, table: Path, out: Path, *more: str) -> list[str]:
    """What `dualsys bench` is given; one worker, for each takes seconds to start."""
    fixed = ["scenario=driving/merge", "seeds=0:5", f"system1.checkpoint={untrained}"]
    fixed += ["system2=scripted", "runtime.episode_s=2", f"table={table}", f"out={out}"]
    workers = [] if any(word.startswith("workers=") for word in more) else ["workers=1"]
    return [*fixed, *workers, *more]
