"""Runs become data: the message log of `dualsys eval` as episodes of a dataset.

What System 1 did under System 2's guidance, successes and failures alike, is what values are
learned from and what distillation trains on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from dualsys.errors import DualsysError
from dualsys.learning.dataset import PLAN_AGE
from dualsys.learning.shards import Episode, finalise, settings_guard, shard_folder, write_shard
from dualsys.messages import Action, Command, Guidance, Label, Message, Observation, Outcome
from dualsys.runtime.log import read_log
from dualsys.spec import WorldSpec
from sim import registry

NO_PLAN = -1
TICK = (Observation, Command, Outcome)  # what every whole tick has
PARTS = (*TICK, Action, Label, Guidance)


def episodes(run: Path) -> Iterator[Episode]:
    """Yield the whole episodes of a run's folder (results.json and log.mcap), as they end.

    The label `action` is what the expert would have done where the run was logged with labels, else
    what was executed; `plan` is that of the guidance System 1 used, -1 without one, `plan_age` its
    age. Raises `DualsysError` when the folder holds no run.
    """
    rows = {row["epoch"]: row for row in _results(run)["episodes"]}
    for recording in recordings(message for _, message in read_log(run / "log.mcap")):
        # One that the run's end cut off in its first tick has no row, or no whole tick.
        if recording.epoch in rows and recording.ticks:
            yield recording.episode(rows[recording.epoch])


def _results(run: Path) -> dict[str, Any]:
    if not (run / "results.json").is_file() or not (run / "log.mcap").is_file():
        raise DualsysError(
            f"{run} is not the folder of a run (results.json or log.mcap is missing); "
            "give the out= of a `dualsys eval`"
        )
    results: dict[str, Any] = msgspec.json.decode((run / "results.json").read_bytes())
    return results


def recordings(messages: Iterable[Message]) -> Iterator[Recording]:
    """Yield the recording of every episode, as soon as no more of it can come.

    A realtime recorder writes topic by topic, so that messages of two episodes lie mixed up about
    the end of the first. Each topic is in order, though: an episode is over when, of each kind of
    message that it is made of, one of a later episode has come. Few are held at a time.
    """
    held: dict[int, Recording] = {}  # in the order in which they began
    over: set[int] = set()
    for message in messages:
        epoch = message.stamp.epoch
        # Signs of life belong to no episode, and an answer may come when its episode is over.
        if not isinstance(message, PARTS) or epoch in over:
            continue
        held.setdefault(epoch, Recording(epoch)).take(message)
        begun = list(held)
        for earlier in begun[: begun.index(epoch)]:
            if held[earlier].ends_before(message):
                over.add(earlier)
                yield held.pop(earlier)
    yield from held.values()


class Recording:
    """One episode, put together from its messages."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch
        self._seen: dict[int, Observation] = {}
        self._done: dict[int, Command] = {}
        self._came: dict[int, Outcome] = {}
        self._labels: dict[int, Label] = {}
        self._used: dict[int, tuple[int, int]] = {}
        self._plans: dict[int, int] = {NO_PLAN: NO_PLAN}
        self._open: set[type] = set(TICK)  # kinds of which more may come

    @property
    def ticks(self) -> list[int]:
        """The whole ticks so far: what was seen, done and came of it."""
        return [t for t in sorted(self._seen) if t in self._done and t in self._came]

    def take(self, message: Message) -> None:
        """Keep what a tick is made of."""
        tick = message.stamp.tick
        if isinstance(message, (Action, Label)):  # which some runs lack
            self._open.add(type(message))
        if isinstance(message, Observation):
            self._seen[tick] = message
        elif isinstance(message, Command):
            self._done[tick] = message
        elif isinstance(message, Outcome):
            self._came[tick] = message
        elif isinstance(message, Label):
            self._labels[tick] = message
        elif isinstance(message, Action):
            self._used[tick] = message.guidance_sequence, message.guidance_age_ticks
        elif isinstance(message, Guidance):
            self._plans[message.stamp.sequence] = message.plan

    def ends_before(self, message: Message) -> bool:
        """Whether all of this episode has come, now that `message` of a later one has.

        None of its own kind follows; the other kinds may still.
        """
        self._open.discard(type(message))
        return not self._open

    def episode(self, row: dict[str, Any], done: bool = True) -> Episode:
        """The episode in the dataset's columns.

        `row` of the results gives scenario, seed and success; `done` is false where only the record
        ended, not the episode.
        """
        ticks = self.ticks
        seen, came = [self._seen[t] for t in ticks], [self._came[t] for t in ticks]
        executed = np.stack([self._done[t].command for t in ticks])
        last = np.arange(len(ticks)) == len(ticks) - 1
        plans, ages = zip(*self._plans_used(ticks), strict=True)
        label = np.stack([self._labels[t].command for t in ticks]) if self._labels else executed
        columns = {
            "observation.state": np.stack([o.state for o in seen]),
            "observation.scene": np.stack([o.scene.ravel() for o in seen]),
            "action": label,
            "action.executed": executed,
            "plan": np.array(plans),
            PLAN_AGE: np.array(ages),
            "next.reward": np.array([o.reward for o in came], np.float32),
            "next.done": last & done,
            "next.terminated": np.array([o.terminated for o in came]),
            "next.success": np.array([o.success for o in came]),
        }
        images = {name: [o.images[name] for o in seen] for name in seen[0].images}
        return Episode(
            row["scenario"], seen[0].instruction, row["seed"], row["success"], columns, images
        )

    def _plans_used(self, ticks: list[int]) -> list[tuple[int, int]]:
        """Plan behind each tick's action and its age [ticks]; without an action: those before."""
        used = [(NO_PLAN, NO_PLAN)]
        for tick in ticks:
            sequence, age = self._used.get(tick, (None, NO_PLAN))
            plan, before = used[-1]
            if sequence is None:
                used.append((plan, before + 1 if before >= 0 else before))
            else:
                told = self._plans.get(sequence, NO_PLAN)
                used.append((told, age if told >= 0 else NO_PLAN))
        return used[1:]


def everything(episode: Episode) -> bool:
    """Every episode, whatever came of it."""
    return True


def collect_runs(
    runs: list[Path],
    root: Path,
    recorded: Callable[[Episode], None],
    keep: Callable[[Episode], bool] = everything,
) -> Any:
    """Write the episodes of `runs` as a dataset to `root` and return info.json's content.

    Episodes that `keep` refuses are left out. Interrupted, it leaves whole episodes; called again,
    it goes on. Raises `DualsysError` for an episode (scenario and seed) that two runs hold, and for
    a `root` with episodes of other runs: an episode's name does not tell them apart.
    """
    names = sorted(_name_of(run) for run in runs)
    settings_guard(root, {"runs": names, "episodes": keep.__name__})
    spec: WorldSpec | None = None
    origin: dict[tuple[str, int], Path] = {}
    for run in runs:
        for episode in episodes(run):
            spec = spec or registry.spec_of(episode.scenario)
            name = (episode.scenario, episode.seed)
            if origin.setdefault(name, run) != run:
                raise DualsysError(
                    f"{name[0]} seed {name[1]} is in {origin[name]} and in {run}; "
                    "make a dataset of each, or run them with other seeds"
                )
            if keep(episode):
                if not shard_folder(root, *name).is_dir():
                    write_shard(root, episode, spec)
                recorded(episode)
    if spec is None:
        raise DualsysError(f"no episode in {', '.join(map(str, runs))}")
    return finalise(root, spec)


def _name_of(run: Path) -> str:
    """A run's folder with a digest of what was run and of what came of it."""
    results = _results(run)
    told = msgspec.json.encode([results.get("config"), results["episodes"]], order="sorted")
    return f"{run.name} {hashlib.sha256(told).hexdigest()[:12]}"
