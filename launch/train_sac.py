"""Train the learned peer: `python launch/train_sac.py --steps 100000 --out DIR`.

stable-baselines3's soft actor-critic on the scenarios' own reward, with its own defaults but for a
discount of 0.97 (five decisions a second) and 2,000 steps before it learns; the actor is written
every 10,000 steps, so an interrupted training leaves its last one.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from dualsys.console import progress_bar
from dualsys.environment import set_headless_defaults
from dualsys.errors import DualsysError
from dualsys.runtime.results import git_state, machine, versions
from sim import registry
from sim.experts.sac import StateWorld, actor_layers, save_actor

EVERY = 10_000  # steps between two saved actors


def train(options: argparse.Namespace) -> None:
    """Train on the suites' scenarios by turns."""
    try:
        import torch
        from stable_baselines3 import SAC
        from stable_baselines3.common.callbacks import BaseCallback
        from stable_baselines3.common.monitor import Monitor
    except ImportError as error:
        raise DualsysError(f"the learned peer needs the extra `peers` ({error})") from error
    torch.set_num_threads(options.threads)
    names = [name for suite in options.suites for name in registry.suite(suite)]
    world = Monitor(StateWorld([registry.make(name) for name in names]))
    model = SAC(
        "MlpPolicy", world, gamma=0.97, learning_starts=2_000, seed=options.seed, device="cpu"
    )
    about = {
        "algorithm": "stable_baselines3 SAC, defaults but gamma 0.97, learning_starts 2000",
        "scenarios": names,
        "seed": options.seed,
        "git": git_state(),
        "machine": machine(),
        "versions": versions(),
    }

    def save(steps: int) -> None:
        recent = [episode["r"] for episode in model.ep_info_buffer or ()]
        done = {"steps": steps, "mean_return_of_last_100": sum(recent) / max(1, len(recent))}
        save_actor(options.out, actor_layers(model), {**about, **done})

    with progress_bar() as bar:
        task = bar.add_task("steps", total=options.steps, note="")

        class Watch(BaseCallback):
            def _on_step(self) -> bool:
                if self.num_timesteps % 100 == 0:
                    bar.update(task, completed=self.num_timesteps)
                if self.num_timesteps % EVERY == 0:
                    save(self.num_timesteps)
                return True

        model.learn(options.steps, callback=Watch())
    save(options.steps)


def main() -> None:
    """Train and write the actor."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--suites", nargs="+", default=["driving", "longtail_seen"])
    parser.add_argument("--steps", type=int, default=100_000)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    set_headless_defaults()
    try:
        train(options)
    except DualsysError as error:
        parser.exit(2, f"train_sac: {error}\n")


if __name__ == "__main__":
    main()
