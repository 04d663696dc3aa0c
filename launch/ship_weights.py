"""Ship a checkpoint: `python launch/ship_weights.py CHECKPOINT RESULTS.json ...`.

Copies model and card into dualsys/weights/DOMAIN and writes the scores of the results files into
the card. Refuses results that another checkpoint made.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

import msgspec

import dualsys
from dualsys.errors import DualsysError
from dualsys.system1.checkpoint import CARD, WEIGHTS, load_card

KEPT = ("episodes", "success_rate", "success_ci95", "collision_rate", "collision_ci95")


def scores(checkpoint: Path, files: list[Path]) -> dict[str, Any]:
    """Scores per scenario with the conditions under which they were reached."""
    found: dict[str, Any] = {}
    for file in files:
        results = json.loads(file.read_text())
        used = results["system1"]["checkpoint"]
        if used != "auto" and Path(used).resolve() != checkpoint.resolve():
            raise DualsysError(f"{file} was made with the checkpoint {used}, not {checkpoint}")
        conditions = {
            "runtime": results["runtime"],
            "system2": results["system2"]["name"],
            "latency": results["latency"],
        }
        for scenario, summary in results["summary"]["by_scenario"].items():
            found[scenario] = {**{k: summary[k] for k in KEPT}, **conditions}
    return found


def main() -> None:
    """Copy, and write the card anew with the scores."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("results", type=Path, nargs="+")
    options = parser.parse_args()
    try:
        card = load_card(options.checkpoint)
        card = msgspec.structs.replace(card, scores=scores(options.checkpoint, options.results))
    except (DualsysError, OSError, KeyError) as error:
        parser.exit(2, f"ship_weights: {error}\n")
    folder = Path(dualsys.__file__).parent / "weights" / card.spec.domain
    folder.mkdir(parents=True, exist_ok=True)
    if folder.resolve() != options.checkpoint.resolve():
        shutil.copyfile(options.checkpoint / WEIGHTS, folder / WEIGHTS)
    (folder / CARD).write_bytes(msgspec.json.format(msgspec.json.encode(card), indent=1))
    print(f"shipped {card.spec.domain}: {folder}")  # noqa: T201  a script's only output


if __name__ == "__main__":
    main()
