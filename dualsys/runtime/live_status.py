"""What a realtime run does right now, from its processes' signs of life. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from statistics import median

from dualsys.messages import Health
from dualsys.runtime.health import PERIOD_NS

SLOW_NS = 2 * PERIOD_NS  # a sign of life older than this is told as such
CALLS_OVER = 10  # signs of life over which System 2's thoughts are counted


class LiveStatus:
    """Keeps the newest `Health` of each process and puts them into a few words."""

    def __init__(self) -> None:
        self._newest: dict[str, Health] = {}
        self._begun_ns: int | None = None  # the world's first sign of life
        self._thoughts: list[int] = []  # per sign of life of System 2
        self._rates: dict[str, float] = {}  # ticks per second

    def take(self, health: Health) -> None:
        """Take in one sign of life."""
        name, now = health.process, health.stamp.time_ns
        before = self._newest.get(name)
        self._newest[name] = health
        if name == "world" and self._begun_ns is None:
            self._begun_ns = now
        if name == "system2":
            self._thoughts = [*self._thoughts, len(health.timing_ns.get("think", ()))][-CALLS_OVER:]
        if name == "system1" and before is not None and now > before.stamp.time_ns:
            ticks = len(health.timing_ns.get("act", ()))
            self._rates[name] = 1e9 * ticks / (now - before.stamp.time_ns)

    def told(self, now_ns: int) -> dict[str, str]:
        """What there is to say, each under its name; empty before the world has begun."""
        if self._begun_ns is None:
            return {}
        world = self._newest["world"]
        said = {
            "time": f"{(world.stamp.time_ns - self._begun_ns) / 1e9:.0f} s",
            "episode": str(world.stamp.epoch),
            "System 1": self._acting(now_ns),
        }
        if "system2" in self._newest:
            said["System 2"] = self._thinking(now_ns)
        shield = _counted(world.counters, "shield_")
        drops = _counted(world.counters, "action_")
        for name in ("system1", "system2"):
            drops += (
                _counted(self._newest[name].counters, "") if name in self._newest else Counter()
            )
        said["shield"] = _listed(shield) or "never intervened"
        said["drops"] = _listed(drops) or "none"
        return said

    def _acting(self, now_ns: int) -> str:
        health = self._newest.get("system1")
        if health is None:
            return "not there yet"
        acts, ages = (health.timing_ns.get(stage, []) for stage in ("act", "guidance_age"))
        said = [f"{self._rates.get('system1', 0):.0f} ticks/s"]
        said += [f"{median(acts) / 1e6:.1f} ms each"] if acts else []
        said += [f"guidance {median(ages) / 1e9:.2f} s old" if ages else "alone"]
        return ", ".join(said + self._silence("system1", now_ns))

    def _thinking(self, now_ns: int) -> str:
        times = self._newest["system2"].timing_ns.get("think", [])
        said = [f"{60 * sum(self._thoughts) / len(self._thoughts):.0f} calls/min"]
        said += [f"{median(times) / 1e6:.0f} ms each"] if times else []
        return ", ".join(said + self._silence("system2", now_ns))

    def _silence(self, name: str, now_ns: int) -> list[str]:
        since = now_ns - self._newest[name].stamp.time_ns
        return [f"silent for {since / 1e9:.0f} s"] if since > SLOW_NS else []


def _counted(counters: Mapping[str, int], part: str) -> Counter[str]:
    """The counters of a part that are not zero, without its name."""
    return Counter(
        {k.removeprefix(part): n for k, n in counters.items() if k.startswith(part) and n}
    )


def _listed(counts: Counter[str], most: int = 3) -> str:
    """The largest of them, and how many more there are."""
    said = [f"{name} {count}" for name, count in counts.most_common(most)]
    more = len(counts) - most
    return ", ".join(said + ([f"{more} more"] if more > 0 else []))
