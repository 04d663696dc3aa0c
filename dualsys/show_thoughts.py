"""`dualsys thoughts`: what System 2 was asked and thought in an episode, or all about one tick."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table

from dualsys.errors import DualsysError
from dualsys.runtime import assembly
from dualsys.runtime.fates import Story, fate_of, tell
from dualsys.runtime.log import read_log
from dualsys.spec import WorldSpec
from sim import registry


def stories_of(run: Path, epoch: int) -> tuple[WorldSpec, list[Story]]:
    """The world of one episode of a run's folder, its requests and what came of them.

    Raises `DualsysError` when there is no run, or nothing was asked in that episode.
    """
    log, results = run / "log.mcap", run / "results.json"
    for file in (log, results):
        if not file.is_file():
            raise DualsysError(f"{file} is missing; give run=DIR, the out= of a `dualsys eval`")
    found = msgspec.json.decode(results.read_bytes())
    scenarios = [row["scenario"] for row in found["episodes"] if row["epoch"] == epoch]
    messages = (message for _, message in read_log(log) if message.stamp.epoch == epoch)
    if scenarios:
        spec = registry.spec_of(scenarios[0])
        stories = tell(messages, assembly.make_acceptance(found["config"], spec))
        if stories:
            return spec, stories
    raise DualsysError(
        f"episode {epoch} of {run} holds no request; it ran without System 2, or has another "
        "number (results.json lists them as epoch)"
    )


def newest_at(stories: list[Story], tick: int) -> Story:
    """The last story about an observation at or before `tick`. Raises `DualsysError`."""
    before = [story for story in stories if story.tick <= tick]
    if not before:
        first = min(story.tick for story in stories)
        raise DualsysError(f"nothing was asked up to tick {tick}; the first is about tick {first}")
    return before[-1]


def list_thoughts(stories: list[Story], plans: tuple[str, ...], console: Console) -> None:
    """One row per guidance, and one per request without any."""
    table = Table(title="what System 2 was asked and said")
    for name in ("tick", "request", "why asked", "plan", "value", "final", "fate", "used for"):
        table.add_column(name, overflow="fold")
    for story in stories:
        said, asked = story.guidance, story.request
        known = asked if said is None else said
        assert known is not None
        answer = ("-", "-", "-") if said is None else (
            plans[said.plan],
            f"{said.value:.2f}" if said.value == said.value else "-",
            "yes" if said.final else "no",
        )  # fmt: skip
        table.add_row(
            str(story.tick),
            str(known.request_id),
            asked.reason if asked else "-",
            *answer,
            fate_of(story),
            f"{story.used_ticks} ticks",
        )
    console.print(table)


def explain(story: Story, spec: WorldSpec, console: Console) -> None:
    """Everything about one story: question and answer, candidates, choice and fate."""
    said, asked, thought = story.guidance, story.request, story.thought
    say = console.print
    if asked is not None:
        say(f"asked at tick {asked.stamp.tick} because of: {asked.reason} ", end="")
        say(f"(uncertainty {asked.uncertainty:.2f} nat, budget {asked.budget})")
        say(f"instruction: {asked.observation.instruction}", markup=False)
        state = asked.observation.state
        words = (f"{a.name} {v:.2f} {a.unit}" for a, v in zip(spec.state, state, strict=True))
        say(f"state: {', '.join(words)}", markup=False, highlight=False)
    if thought is not None:
        for question, answer in thought.answers.items():
            say(f"{question}: {answer}", markup=False)
        if thought.votes:
            say(f"votes: {thought.votes}", markup=False)
        for number, value in enumerate(thought.values.tolist()):
            mark = "  <- chosen" if number == thought.chosen else ""
            first = ", ".join(f"{v:.2f}" for v in thought.candidates[number, 0])
            say(f"candidate {number + 1}: value {value:.3f}, begins with ({first}){mark}")
    if said is not None:
        code = said.z.round(2).tolist()
        say(f"said: {said.text}", markup=False)
        say(f"plan {spec.plans[said.plan]}, code {code}, ", end="", markup=False)
        say(f"after {said.thinking_ns / 1e6:.0f} ms of thinking, final: {said.final}")
    span = f", ticks {story.first_used} to {story.last_used}" if story.used_ticks else ""
    say(f"fate: {fate_of(story)} ({story.used_ticks} ticks{span})")


def contents_of(story: Story, spec: WorldSpec) -> dict[str, Any]:
    """All about one story but its pictures, as plain values."""
    said, asked, thought = story.guidance, story.request, story.thought
    told: dict[str, Any] = {"tick": story.tick, "fate": fate_of(story)}
    told |= {"used_ticks": story.used_ticks, "asked": None, "said": None, "thought": None}
    if asked is not None:
        told["asked"] = {name: getattr(asked, name) for name in ("reason", "uncertainty", "budget")}
        told["asked"] |= {"request_id": asked.request_id, "at_tick": asked.stamp.tick}
    if thought is not None:
        told["thought"] = {name: getattr(thought, name) for name in ("answers", "votes", "chosen")}
        told["thought"]["values"] = thought.values.tolist()
    if said is not None:
        told["said"] = {name: getattr(said, name) for name in ("value", "final", "text")}
        told["said"] |= {"plan": spec.plans[said.plan], "code": said.z.tolist()}
        told["said"]["thinking_s"] = said.thinking_ns / 1e9
    return told


def save_images(story: Story, folder: Path) -> list[Path]:
    """Write what System 2 saw, visual prompts drawn in, as PNG files. Returns their paths.

    Where no thought tells, it is the plain picture that was sent.
    """
    from PIL import Image

    seen: dict[str, Any] = dict(story.thought.images) if story.thought else {}
    if not seen and story.request is not None:
        seen = dict(story.request.observation.images)
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, image in seen.items():
        path = folder / f"tick{story.tick:05d}-{name}.png"
        Image.fromarray(image).resize((256, 256), Image.Resampling.NEAREST).save(path)
        paths.append(path)
    return paths
