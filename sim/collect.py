"""Recording demonstrations: experts drive the worlds, worker processes write whole shards.

The executed action carries bursts of correlated noise while the label stays the expert's clean
action, so that the data show how to come back from a mistake (Laskey et al. 2017, DART).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from dualsys.errors import DualsysError
from dualsys.learning.shards import (
    Episode,
    finalise,
    mark_failed,
    settings_guard,
    shard_folder,
    write_shard,
)
from dualsys.spec import WorldSpec
from dualsys.workers import completed
from sim import registry
from sim.world import Expert


class Noise(msgspec.Struct, frozen=True):
    """Noise on the executed action, as fractions of half the range of each axis.

    An episode is clean with probability `clean_share`; else its scale is uniform up to `scale`
    (one value per action axis). Bursts begin with probability `burst_rate` per tick.
    """

    clean_share: float
    scale: tuple[float, ...]
    burst_rate: float


class Job(msgspec.Struct, frozen=True):
    """Episodes of one scenario for one worker."""

    root: str
    scenario: str
    seeds: tuple[int, ...]
    noise: Noise
    stop_after_success_ticks: int
    max_ticks: int
    keep_failures: bool


class Report(msgspec.Struct, frozen=True):
    """What a job came to."""

    scenario: str
    episodes: int
    failures: int
    ticks: int


class BurstNoise:
    """Correlated noise in bursts: a random direction held for a while, plus jitter."""

    def __init__(self, noise: Noise, half_range: np.ndarray, rng: np.random.Generator) -> None:
        clean = rng.random() < noise.clean_share
        level = 0.0 if clean else rng.uniform(0.2, 1.0)
        self._scale = level * np.asarray(noise.scale) * half_range
        self._rate, self._rng = noise.burst_rate, rng
        self._value = np.zeros_like(half_range)
        self._bias = np.zeros_like(half_range)
        self._left = 0

    def draw(self) -> np.ndarray:
        """Noise (A,) of the next tick, in the units of the action."""
        rng = self._rng
        if self._left == 0 and rng.random() < self._rate:
            self._left = int(rng.integers(5, 25))
            self._bias = rng.normal(0, 1, self._scale.shape) * self._scale
        if self._left > 0:
            self._left -= 1
            jitter = rng.normal(0, 0.2, self._scale.shape) * self._scale
            self._value = 0.8 * self._value + 0.2 * self._bias + jitter
        else:
            self._value = 0.7 * self._value
        return self._value


def record(world: Any, expert: Expert, seed: int, job: Job) -> Episode:
    """Run the expert through one episode and return what it saw, did and should have done."""
    spec: WorldSpec = world.world_spec
    half_range = (spec.action_high - spec.action_low) / 2
    noise = BurstNoise(job.noise, half_range, np.random.default_rng(seed))
    frame, info = world.reset(seed=seed)
    expert.reset()
    rows: dict[str, list[Any]] = {}
    images: dict[str, list[np.ndarray]] = {camera.name: [] for camera in spec.cameras}
    since_success: int | None = None
    success = done = harmed = False
    for tick in range(job.max_ticks):
        action, plan = expert.act()
        executed = np.clip(action + noise.draw(), spec.action_low, spec.action_high)
        executed = executed.astype(np.float32)
        for name, image in frame["images"].items():
            images[name].append(image)
        before = frame
        frame, reward, terminated, truncated, info = world.step(executed)
        success |= info["success"]
        harmed |= bool(info["collision"]) or info["metrics"].get("offroad", 0.0) > 0
        if info["success"] and since_success is None and spec.domain == "manipulation":
            since_success = 0
        elif since_success is not None:
            since_success += 1
        enough = since_success is not None and since_success >= job.stop_after_success_ticks
        done = terminated or truncated or enough or tick == job.max_ticks - 1
        for name, value in (
            ("observation.state", before["state"]),
            ("observation.scene", before["scene"].ravel()),
            ("action", action),
            ("action.executed", executed),
            ("plan", plan),
            ("next.reward", np.float32(reward)),
            ("next.done", done),
            ("next.terminated", bool(terminated)),
            ("next.success", bool(info["success"])),
        ):
            rows.setdefault(name, []).append(value)
        if done:
            break
    # A drive in which nothing went wrong is worth showing, also when time ran out on the way.
    kept = success or (spec.domain == "driving" and not harmed)
    columns = {name: np.array(values) for name, values in rows.items()}
    return Episode(job.scenario, world.instruction, seed, bool(kept), columns, images)


def work(job: Job) -> Report:
    """Record the missing episodes of a job (runs in a worker process)."""
    root = Path(job.root)
    failures = ticks = 0
    world = registry.make_stepped(job.scenario)
    try:
        expert = registry.expert_for(world)
        for seed in job.seeds:
            episode = record(world, expert, seed, job)
            if episode.success or job.keep_failures:
                write_shard(root, episode, world.world_spec)
                ticks += len(episode.columns["action"])
            else:
                mark_failed(root, job.scenario, seed)
            failures += not episode.success
    finally:
        world.close()
    return Report(job.scenario, len(job.seeds), failures, ticks)


def collect(
    root: Path,
    scenarios: list[str],
    seeds: list[int],
    noise: Noise,
    workers: int,
    stop_after_success_ticks: int,
    max_ticks: int,
    keep_failures: bool,
    progress: Callable[[Report], None],
    episodes_per_job: int = 4,
) -> dict[str, Any]:
    """Record every missing (scenario, seed), then build the dataset. Returns info.json's content.

    Interrupted, it leaves whole episodes; called again, it records the rest.
    """
    registry.require_training([(name, seed) for name in scenarios for seed in seeds])
    first = registry.make(scenarios[0])
    spec: WorldSpec = first.world_spec
    first.close()
    if len(noise.scale) != len(spec.action):
        raise DualsysError(
            f"noise.scale has {len(noise.scale)} values, the world has {len(spec.action)} action "
            f"axes ({[axis.name for axis in spec.action]})"
        )
    settings = {
        "spec": spec.fingerprint,
        "noise": msgspec.to_builtins(noise),
        "stop_after_success_ticks": stop_after_success_ticks,
        "max_ticks": max_ticks,
        "keep_failures": keep_failures,
    }
    settings_guard(root, settings)
    jobs = []
    for scenario in scenarios:
        missing = [s for s in seeds if not shard_folder(root, scenario, s).is_dir()]
        for at in range(0, len(missing), episodes_per_job):
            part = tuple(missing[at : at + episodes_per_job])
            jobs.append(
                Job(
                    str(root),
                    scenario,
                    part,
                    noise,
                    stop_after_success_ticks,
                    max_ticks,
                    keep_failures,
                )
            )
    for _, report in completed(work, jobs, workers):
        progress(report)
    return finalise(root, spec)
