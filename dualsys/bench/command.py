"""`dualsys bench`: from the command line's words to the tables on the terminal."""

from __future__ import annotations

from pathlib import Path

from dualsys.bench.printout import show
from dualsys.bench.run import Order, bench
from dualsys.bench.settled import configured
from dualsys.bench.store import SITTINGS, read_header
from dualsys.bench.table import PLACEHOLDER, Variant, load_table
from dualsys.config import load, parse_seeds
from dualsys.console import answered, progress_bar, table_console
from dualsys.errors import DualsysError
from dualsys.occupied import occupied
from dualsys.runtime.assembly import require_no_code

OWN_KEYS = (
    *("table", "variants", "ray_address"),
    *("suite", "scenario", "seeds", "workers", "out", "videos"),
)
RESUME, MARKDOWN = "--resume", "--markdown"


def run_bench(words: list[str]) -> int:
    """Run or go on running a benchmark and print its tables.

    With `--resume out=DIR` the words are those that began it; `--markdown` prints for a document.
    """
    markdown, words = MARKDOWN in words, [word for word in words if word != MARKDOWN]
    resuming = RESUME in words
    if resuming:
        words = resumed([word for word in words if word != RESUME])
    config = load("bench", words)
    from sim import registry

    scenarios = registry.chosen(config["scenario"], config["suite"])
    seeds = parse_seeds(config["seeds"])
    variants = load_table(config["table"], config["variants"])
    if resuming:
        require_no_places(Path(config["out"]), shared_words(words), variants)
    with occupied(Path(config["out"])), progress_bar() as bar:
        total = len(scenarios) * len(seeds)
        tasks = {name: bar.add_task(name, total=total, note="") for name in variants}
        order = Order(
            words,
            shared_words(words),
            variants,
            scenarios,
            seeds,
            Path(config["out"]),
            config["workers"],
            config["ray_address"],
        )
        report = bench(order, lambda name, count: bar.update(tasks[name], advance=count))
    show(report, table_console(), markdown)
    answered(report)
    return 0


def resumed(words: list[str]) -> list[str]:
    """The words that began the benchmark in out=DIR, with out= and workers= as given now."""
    given = dict(word.partition("=")[::2] for word in words)
    if set(given) - {"out", "workers", "ray_address"} or "out" not in given:
        raise DualsysError(f"{RESUME} takes out=DIR, and workers= or ray_address= if they change")
    before: list[str] = read_header(Path(given["out"]))[SITTINGS][-1]["command"]
    kept = [word for word in before if word.partition("=")[0] not in given]
    return [*kept, *words]


def require_no_places(root: Path, shared: list[str], variants: dict[str, Variant]) -> None:
    """Raise `DualsysError` where words that were read from a folder name code by its place."""
    for variant in variants.values():
        filled = tuple(PLACEHOLDER.sub("0", word) for word in variant.words)
        require_no_code(configured(shared, filled), f"the benchmark in {root}")


def shared_words(words: list[str]) -> list[str]:
    """The overrides of `dualsys eval` among the words of a benchmark."""
    return [word for word in words if word.lstrip("+~").partition("=")[0].split(".")[0] not in
            OWN_KEYS]  # fmt: skip
