"""What a cut link between the two systems' machines came to, read off the robot's log. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import msgspec

from dualsys.bench.faulted import unsafe
from dualsys.messages import Action, Command, Guidance
from dualsys.spec import WorldSpec

EVERY_S = 0.25  # of the line of ages
ROUND_S = 0.5  # what was on its way when the link was cut may still arrive


class Parting(msgspec.Struct, frozen=True):
    """One cut of the link. Times are since the run's first tick [s]."""

    cut_s: tuple[float, float]
    ticks: int
    missed: int  # ticks that System 1 missed, but for stalls of the machine
    missed_in_stalls: int
    stalls: int
    unsafe: int  # commands not finite, outside the box, or changed faster than their rate
    fallback: int  # ticks without a command of System 1, after the first two of an episode
    answers: dict[str, int]  # before the cut, while it lasted, after it
    oldest_s: dict[str, float]  # guidance in use: before, while it lasted, after
    rungs: dict[str, dict[str, int]]
    heard_after_s: float | None  # from the end of the cut to the first answer; None: never
    fresh_after_s: float | None  # ... to the first tick on the rung "fresh"
    line: list[tuple[float, float | None, str]]  # time, age of the guidance in use, rung

    @property
    def amiss(self) -> tuple[str, ...]:
        """What is not as it should be, in words; () when all is."""
        checks = {
            f"System 1 missed {self.missed} ticks": self.missed > 0,
            f"{self.unsafe} unsafe commands": self.unsafe > 0,
            f"{self.fallback} ticks without System 1": self.fallback > 0,
            "nothing was answered before the cut": self.answers["before"] == 0,
            f"{self.answers['during']} answers came through the cut": self.answers["during"] > 0,
            "the guidance did not age": self.oldest_s["during"] <= self.oldest_s["before"],
            "nothing was answered after the cut": self.heard_after_s is None,
            "the guidance was never fresh again": self.fresh_after_s is None,
        }
        return tuple(words for words, true in checks.items() if true)


def parting(
    log: Sequence[Any], cut_ns: tuple[int, int], ticks: dict[str, Any], spec: WorldSpec
) -> Parting:
    """Judge a run's messages; `ticks` is that of its results, times of the robot's clock [ns]."""
    commands = sorted(
        (m for m in log if isinstance(m, Command)), key=lambda m: (m.stamp.epoch, m.stamp.tick)
    )
    begin_ns = commands[0].stamp.time_ns
    # Of the answers, and of the ticks, those in the first moment of the cut tell nothing of it.
    spans = {
        "before": (0, cut_ns[0]),
        "during": (cut_ns[0] + round(ROUND_S * 1e9), cut_ns[1]),
        "after": (cut_ns[1], commands[-1].stamp.time_ns + 1),
    }
    told = [m.stamp.time_ns for m in log if isinstance(m, Guidance)]
    ages = {
        m.observation_ns: m.guidance_age_ticks * spec.period_ns / 1e9
        for m in log
        if isinstance(m, Action) and m.guidance_age_ticks >= 0
    }
    heard = [t for t in told if t >= cut_ns[1]]
    fresh = [m.stamp.time_ns for m in commands if m.rung == "fresh"]
    fresh_again = [t for t in fresh if heard and t >= heard[0]]
    return Parting(
        cut_s=(_since(cut_ns[0], begin_ns), _since(cut_ns[1], begin_ns)),
        ticks=len(commands),
        missed=ticks["missed_outside_stalls"],
        missed_in_stalls=ticks["missed"] - ticks["missed_outside_stalls"],
        stalls=ticks["stalls"],
        unsafe=len(unsafe(commands, spec)),
        fallback=sum(m.source != "system1" for m in commands if m.stamp.tick > 2),
        answers={n: sum(a <= t < b for t in told) for n, (a, b) in spans.items()},
        oldest_s={
            n: max((age for t, age in ages.items() if a <= t < b), default=0.0)
            for n, (a, b) in spans.items()
        },
        rungs={
            n: dict(Counter(m.rung for m in commands if a <= m.stamp.time_ns < b))
            for n, (a, b) in spans.items()
        },
        heard_after_s=_since(heard[0], cut_ns[1]) if heard else None,
        fresh_after_s=_since(fresh_again[0], cut_ns[1]) if fresh_again else None,
        line=_line(commands, ages, begin_ns),
    )


def _since(time_ns: int, begin_ns: int) -> float:
    return (time_ns - begin_ns) / 1e9


def _line(
    commands: Sequence[Command], ages: dict[int, float], begin_ns: int
) -> list[tuple[float, float | None, str]]:
    """Every `EVERY_S`: the age [s] of the guidance behind the command of that moment, its rung."""
    line: list[tuple[float, float | None, str]] = []
    for command in commands:
        at = _since(command.stamp.time_ns, begin_ns)
        if line and at - line[-1][0] < EVERY_S:
            continue
        seen_ns = command.stamp.time_ns - command.observation_age_ns
        age = ages.get(seen_ns)
        line.append((round(at, 3), None if age is None else round(age, 3), command.rung))
    return line
