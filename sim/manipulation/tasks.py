"""The Meta-World MT10 tasks: upstream name, instruction and the plan that fits it, as one table."""

from __future__ import annotations

import msgspec


class Task(msgspec.Struct, frozen=True):
    """One manipulation task; `upstream` is Meta-World's registry name."""

    name: str
    upstream: str
    instruction: str


_ROWS = (
    ("reach", "move the gripper to the goal marker"),
    ("push", "push the puck to the goal marker"),
    ("pick-place", "pick up the puck and bring it to the goal marker"),
    ("door-open", "open the door by its handle"),
    ("drawer-open", "pull the drawer open"),
    ("drawer-close", "push the drawer shut"),
    ("button-press-topdown", "press the button down from above"),
    ("peg-insert-side", "insert the peg into the hole in the side of the box"),
    ("window-open", "slide the window open"),
    ("window-close", "slide the window shut"),
)

TASKS: dict[str, Task] = {name: Task(name, f"{name}-v3", text) for name, text in _ROWS}
"""Scenario name (without the domain prefix) -> task, in the order of upstream's MT10."""

PLANS: tuple[str, ...] = tuple(TASKS)
"""The plan vocabulary: one skill per task; System 2 chooses it from the instruction."""
