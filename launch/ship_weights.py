"""Ship a checkpoint of either system: `python launch/ship_weights.py CHECKPOINT RESULTS.json ...`.

Copies weights (System 1's early exits, too) and card into dualsys/weights/DOMAIN (System 1) or
DOMAIN-planner (System 2) and writes the scores of the results files (of `dualsys eval`, for a
planner also of `dualsys score`) into the card, for a planner also which model it is. Refuses
results that another checkpoint made, be it one that stood in the same folder at the commit that
they name.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import msgspec

import dualsys
from dualsys.errors import DualsysError
from dualsys.learning.cards import model_of
from dualsys.learning.lineage import VALUE, tensors_digest
from dualsys.system1 import checkpoint as system1
from dualsys.system1.depth import EXITS
from dualsys.system1.exits import CARD as EXITS_CARD
from dualsys.system2 import checkpoint as system2

KEPT = ("episodes", "success_rate", "success_ci95", "collision_rate", "collision_ci95")
ANSWERS = ("questions", "candidate_rmse", "bits_measured", "ticks")
WEIGHTS = Path(dualsys.__file__).parent / "weights"


def scores(checkpoint: Path, files: list[Path], system: str) -> dict[str, Any]:
    """Scores per scenario with the conditions under which they were reached."""
    found: dict[str, Any] = {}
    for file in files:
        results = json.loads(file.read_text())
        config = results["config"]
        scored = "questions" in results
        used = config["planner"] if scored else config[system]["checkpoint"]
        if used != "auto" and Path(used).resolve() != checkpoint.resolve():
            raise DualsysError(f"{file} was made with the checkpoint {used}, not {checkpoint}")
        # No answer and no candidate depends on what the critics say.
        require_unchanged(file, results.get("git", {}), checkpoint, VALUE if scored else "")
        if scored:
            found["answers"] = {name: results[name] for name in ANSWERS}
            found["answers"] |= {"data": results["config"].get("data"), "git": results.get("git")}
            continue
        conditions = {
            "runtime": results["runtime"],
            "system2": results["system2"]["name"],
            "latency": results["latency"],
        }
        for scenario, summary in results["summary"]["by_scenario"].items():
            found[scenario] = {**{k: summary[k] for k in KEPT}, **conditions}
    return found


def require_unchanged(file: Path, git: dict[str, Any], checkpoint: Path, without: str) -> None:
    """Refuse results if the checkpoint's weights, but those named `without`..., changed since.

    What they were then is read from git; where that holds none of them, nobody can tell.
    """
    commit = git.get("commit")
    with tempfile.TemporaryDirectory() as folder:
        then = Path(folder)
        names = _git(checkpoint, "ls-tree", "--name-only", str(commit), "./").decode().splitlines()
        for name in names:
            if name.endswith(".safetensors"):
                (then / name).write_bytes(_git(checkpoint, "show", f"{commit}:./{name}"))
        known = any(then.iterdir())
        if known and tensors_digest(then, without) != tensors_digest(checkpoint, without):
            raise DualsysError(
                f"{file} was measured at the commit {commit}, the weights in {checkpoint} have "
                "changed since; measure them again"
            )


def _git(folder: Path, *words: str) -> bytes:
    """What git says; nothing where it knows nothing."""
    done = subprocess.run(["git", "-C", str(folder), *words], capture_output=True, check=False)
    return done.stdout if done.returncode == 0 else b""


def ship(checkpoint: Path, files: list[Path]) -> Path:
    """Copy the checkpoint and write its card anew with the scores. Returns the new folder."""
    planner = (checkpoint / system2.CARD).is_file()
    if planner:
        planning = system2.load(checkpoint)
        card: Any = msgspec.structs.replace(planning.card, model=model_of(planning))
        folder, name = WEIGHTS / f"{card.spec.domain}-planner", system2.CARD
    else:
        card = system1.load_card(checkpoint)
        folder, name = WEIGHTS / card.spec.domain, system1.CARD
    card = msgspec.structs.replace(
        card, scores=scores(checkpoint, files, "system2" if planner else "system1")
    )
    folder.mkdir(parents=True, exist_ok=True)
    if folder.resolve() != checkpoint.resolve():
        named = {system1.WEIGHTS, EXITS, EXITS_CARD}
        for path in checkpoint.iterdir():
            if path.is_file() and (planner or path.name in named):
                shutil.copyfile(path, folder / path.name)
    (folder / name).write_bytes(msgspec.json.format(msgspec.json.encode(card), indent=1))
    return folder


def main() -> None:
    """Ship, or say why not."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("results", type=Path, nargs="*", help="none: the card holds no scores yet")
    options = parser.parse_args()
    try:
        folder = ship(options.checkpoint, options.results)
    except (DualsysError, OSError, KeyError) as error:
        parser.exit(2, f"ship_weights: {error}\n")
    print(f"shipped: {folder}")  # noqa: T201  a script's only output


if __name__ == "__main__":
    main()
