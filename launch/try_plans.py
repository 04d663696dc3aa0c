"""Try every plan out from recorded states: `python launch/try_plans.py DATASET --out FILE`.

The dataset is one of runs (`dualsys collect runs=...`); System 1 follows each plan in turn until
the planner would be asked again, goes on alone, and the drive is judged. The file feeds
`dualsys train instruct scores=FILE`; it is written as states are done, and the same command again
goes on.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from rich.table import Table

from dualsys.config import load
from dualsys.console import progress_bar, table_console
from dualsys.environment import set_headless_defaults
from dualsys.errors import DualsysError
from dualsys.whatif.plan_scores import PlanScores, Trial, score_plans
from sim.driving.terms import Terms


def show(scores: PlanScores) -> None:
    """Print the mean of each term per plan."""
    table = Table(title=f"every plan tried out from {len(scores.rows)} states")
    for name in ("plan", *Terms.__struct_fields__):
        table.add_column(name, justify="left" if name == "plan" else "right", no_wrap=True)
    for number, plan in enumerate(scores.plans):
        means = (
            np.mean([getattr(row[number], name) for row in scores.terms])
            for name in Terms.__struct_fields__
        )
        table.add_row(plan, *(f"{mean:.3f}" for mean in means))
    table_console().print(table)


def main() -> None:
    """Try the plans and write the scores."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, default=Path("runs/plan_scores.json"))
    parser.add_argument("--states", type=int, default=400)
    parser.add_argument(
        "--before-harm", type=float, default=0.0, help="share of states shortly before harm"
    )
    parser.add_argument("--told-s", type=float, default=1.0, help="until it would be asked again")
    parser.add_argument("--horizon-s", type=float, default=4.0, help="of the drive that is judged")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("overrides", nargs="*", help="as of dualsys eval: system1.checkpoint=...")
    options = parser.parse_intermixed_args()
    trial = Trial(
        str(options.data),
        options.states,
        options.told_s,
        options.horizon_s,
        options.seed,
        options.before_harm,
    )
    set_headless_defaults()
    try:
        config = load("eval", ["scenario=driving/merge", *options.overrides])
        with progress_bar() as bar:
            task = bar.add_task("states", total=options.states, note="")
            scores = score_plans(
                config, trial, options.workers, options.out, lambda n: bar.update(task, advance=n)
            )
    except DualsysError as error:
        parser.exit(2, f"try_plans: {error}\n")
    show(scores)


if __name__ == "__main__":
    main()
