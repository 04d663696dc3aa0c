"""Pages of the site that are made from what the repository holds: nothing is written twice."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from dualsys.cli import USAGE
from dualsys.config import choices_of, config_folder, defaults
from dualsys.schemas import COMMANDS

ROOT = Path(__file__).parents[2]
WEIGHTS = ROOT / "dualsys" / "weights"

# What others build on, in the order in which one meets it.
PUBLIC = (
    *("dualsys.spec", "dualsys.messages", "sim.world", "sim.contract", "sim.registry"),
    *("dualsys.system1.policy", "dualsys.system1.chunk", "dualsys.system2.planner"),
    *("dualsys.trigger.rules", "dualsys.trigger.situation", "dualsys.shield.shield"),
    *("dualsys.shield.ladder", "dualsys.limits", "kernels.engine", "kernels.parity"),
    *("dualsys.codec", "dualsys.bus", "dualsys.requests", "dualsys.inbox", "dualsys.clock"),
    *("dualsys.statistics", "dualsys.errors"),
)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made here."""
    made = {
        "index.md": _home(),
        "changelog.md": (ROOT / "CHANGELOG.md").read_text(),
        "contributing.md": (ROOT / "CONTRIBUTING.md").read_text(),
        "commands.md": _commands(),
        "configuration.md": _configuration(),
        "python.md": "# Python\n\n" + "\n\n".join(f"::: {module}" for module in PUBLIC),
        "cards.md": _cards(),
    }
    for name, content in made.items():
        files.append(File.generated(config, name, content=content))
    return files


def _home() -> str:
    """The README, its links as they are from here."""
    return re.sub(r"\]\(docs/", "](", (ROOT / "README.md").read_text())


def _commands() -> str:
    parts = ["# Commands", "", "```text", USAGE.strip(), "```", ""]
    for command in COMMANDS:
        choices = choices_of(command)
        parts += [f"## dualsys {command}", ""]
        if choices:
            parts += ["| group | choices |", "|---|---|"]
            parts += [f"| `{group}` | {', '.join(names)} |" for group, names in choices.items()]
            parts.append("")
        parts += ["Keys and defaults; `???` has to be given:", ""]
        parts += ["```yaml", defaults(command).strip(), "```", ""]
    return "\n".join(parts)


def _configuration() -> str:
    folder = config_folder()
    parts = ["# Configuration", "", "Every group of `conf/` and its choices, as they are."]
    for group in sorted(path for path in folder.iterdir() if path.is_dir()):
        parts += ["", f"## {group.name}", ""]
        for file in sorted(group.rglob("*.yaml")):
            name = file.relative_to(group).with_suffix("")
            parts += [
                f"### {group.name}={name}",
                "",
                "```yaml",
                file.read_text().strip(),
                "```",
                "",
            ]
    return "\n".join(parts)


def _cards() -> str:
    parts = [
        "# Model and data cards",
        "",
        "What the shipped weights are, learned from, and scored.",
    ]
    for file in sorted([*WEIGHTS.glob("*/card.json"), *WEIGHTS.glob("*/planner.json")]):
        card: dict[str, Any] = json.loads(file.read_text())
        sizes = card.get("network") or card.get("model") or {}
        place = f"`dualsys/weights/{file.parent.name}`, licence {card['licence']}."
        parts += ["", f"## {file.parent.name}", "", place, "", "| | |", "|---|---|"]
        parts += [f"| data | {_said(card['data'])} |", f"| sizes | {_said(sizes)} |"]
        for name, how in {"": card["training"], **card["training"]}.items():
            if isinstance(how, dict) and "steps" in how:
                flat = {k: v for k, v in how.items() if not isinstance(v, dict | list)}
                parts.append(f"| training {name} | {_said(flat)} |")
        parts += _scores(card["scores"])
    return "\n".join(parts)


def _scores(scores: dict[str, Any]) -> list[str]:
    """Closed-loop success by scenario, or the planner's answers by question."""
    if not scores:
        return ["", "Scores: not measured yet with these weights."]
    parts = ["", "| | right | 95% interval | of |", "|---|---|---|---|"]
    for name, row in scores.items():
        if "success_rate" in row:
            low, high = row["success_ci95"]
            cells = (
                f"{row['success_rate']:.1%} | {low:.1%} .. {high:.1%} | {row['episodes']} episodes"
            )
            parts.append(f"| {name} | {cells} |")
    answers = scores.get("answers", {})
    for name, row in answers.get("questions", {}).items():
        low, high = row["answer_accuracy_ci95"]
        cells = f"{row['answer_accuracy']:.1%} | {low:.1%} .. {high:.1%} | {answers['ticks']} ticks"
        parts.append(f"| question: {name} | {cells} |")
    return parts


def _said(values: dict[str, Any]) -> str:
    plain = {k: v for k, v in values.items() if isinstance(v, int | float | str) and v != ""}
    return ", ".join(f"{name} {value}" for name, value in plain.items())
