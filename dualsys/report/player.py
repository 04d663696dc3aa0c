"""Single episodes for the report's player: frames, uncertainty, calls and thoughts, by tick."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from PIL import Image

from dualsys.messages import Action, Command, Observation, Outcome, PlanRequest
from dualsys.runtime import assembly
from dualsys.runtime.fates import Story, fate_of, tell
from dualsys.runtime.log import read_log
from dualsys.spec import WorldSpec
from dualsys.system2.prompts import prompted
from sim import registry

FRAMES_HZ = 10.0
QUALITY = 80


class Frame(msgspec.Struct):
    """What the player shows at one moment; `image` is a data URL of all cameras side by side."""

    tick: int
    second: float
    image: str
    uncertainty: float | None
    caption: str


class Said(msgspec.Struct):
    """One story, for the player's text: what was thought, and what came of it."""

    asked_tick: int
    shown_from: int  # tick of the first frame after it arrived, or was asked in vain
    title: str
    lines: list[str]


class Episode(msgspec.Struct):
    """One episode in the player."""

    name: str
    frames: list[Frame]
    calls: list[int]  # ticks
    said: list[Said]


def chosen(results: dict[str, Any], count: int) -> list[dict[str, Any]]:
    """Rows of the episodes worth a look: failures first, then successes, of many scenarios."""
    rows = sorted(results["episodes"], key=lambda row: (row["success"], row["seed"]))
    found: list[dict[str, Any]] = []
    while rows and len(found) < count:
        seen = [row["scenario"] for row in found]
        # The first in the order above of a scenario that was seen least.
        found.append(rows.pop(min(range(len(rows)), key=lambda i: seen.count(rows[i]["scenario"]))))
    return found


def episodes(run: Path, results: dict[str, Any], count: int) -> list[Episode]:
    """Some episodes of a run's folder, ready for the player; none where it has no log."""
    if not (run / "log.mcap").is_file():
        return []
    rows = {row["epoch"]: row for row in chosen(results, count)}
    messages: dict[int, list[Any]] = {epoch: [] for epoch in rows}
    for _, message in read_log(run / "log.mcap"):
        if message.stamp.epoch in rows:
            messages[message.stamp.epoch].append(message)
    return [
        _episode(rows[epoch], told, results["config"]) for epoch, told in messages.items() if told
    ]


def _episode(row: dict[str, Any], messages: list[Any], config: dict[str, Any]) -> Episode:
    spec = registry.spec_of(row["scenario"])
    limits = assembly.make_acceptance(config, spec)
    actions = {m.stamp.tick: m for m in messages if isinstance(m, Action)}
    commands = {m.stamp.tick: m for m in messages if isinstance(m, Command)}
    outcomes = {m.stamp.tick: m for m in messages if isinstance(m, Outcome)}
    every = max(1, round(spec.control_rate_hz / FRAMES_HZ))
    seen = [m for m in messages if isinstance(m, Observation) and m.stamp.tick % every == 0]
    end = "success" if row["success"] else "collision" if row["collision"] else "failed"
    return Episode(
        f"{row['scenario']} seed {row['seed']}: {end}",
        [
            Frame(
                o.stamp.tick,
                o.stamp.tick / spec.control_rate_hz,
                _picture(spec, o, actions.get(o.stamp.tick)),
                _unsure(actions.get(o.stamp.tick)),
                _caption(spec, o.stamp.tick, actions, commands, outcomes),
            )
            for o in seen
        ],
        [m.observation.stamp.tick for m in messages if isinstance(m, PlanRequest)],
        [_said(spec, story) for story in tell(messages, limits)],
    )


def _picture(spec: WorldSpec, observation: Observation, action: Action | None) -> str:
    """All cameras with the running chunk drawn in, as a data URL."""
    samples = np.zeros((0, 0, len(spec.action)), np.float32)
    if action is not None and spec.motion:
        samples = action.commands[None]
    images = prompted(spec, observation, samples)
    joined = np.concatenate([images[camera.name][..., :3] for camera in spec.cameras], 1)
    file = io.BytesIO()
    Image.fromarray(joined).save(file, "JPEG", quality=QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"


def _unsure(action: Action | None) -> float | None:
    return action.uncertainty if action is not None and np.isfinite(action.uncertainty) else None


def _caption(
    spec: WorldSpec,
    tick: int,
    actions: dict[int, Action],
    commands: dict[int, Command],
    outcomes: dict[int, Outcome],
) -> str:
    parts = []
    if tick in actions:
        age = actions[tick].guidance_age_ticks
        told = f"guided, {age / spec.control_rate_hz:.1f} s old" if age >= 0 else "System 1 alone"
        parts.append(told)
    if tick in commands:
        parts += [commands[tick].source, *commands[tick].interventions]
    if tick in outcomes:
        wrong = [n for n in ("collision", "offroad") if outcomes[tick].metrics.get(n, 0) > 0]
        parts += [*wrong, *(["success"] if outcomes[tick].success else [])]
    return ", ".join(parts)


def _said(spec: WorldSpec, story: Story) -> Said:
    guidance, thought = story.guidance, story.thought
    lines = [f"why: {story.request.reason}"] if story.request is not None else []
    if thought is not None:
        lines += [f"{question}: {answer}" for question, answer in thought.answers.items()]
        if len(thought.values):
            ranked = ", ".join(
                f"{value:.2f}{' (chosen)' if n == thought.chosen else ''}"
                for n, value in enumerate(thought.values.tolist())
            )
            lines.append(f"values of the candidates: {ranked}")
        if thought.votes:
            lines.append(f"votes: {dict(thought.votes)}")
    elif guidance is not None:
        lines.append(guidance.text)
    lines.append(f"fate: {fate_of(story)}, used in {story.used_ticks} ticks")
    if guidance is None:
        return Said(story.tick, story.tick, f"tick {story.tick}: no answer", lines)
    arrived = int(guidance.stamp.time_ns / spec.period_ns) + 1
    return Said(story.tick, arrived, f"tick {story.tick}: {spec.plans[guidance.plan]}", lines)
