"""Where a training's curve goes besides `curve.csv`: TensorBoard's files, Weights & Biases, or not.

Both are for looking on; nothing is read back from them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dualsys.errors import DualsysError, UnknownNameError

Row = Callable[[int, dict[str, float]], None]
EVENTS = "tensorboard"  # folder beside the curve


@contextmanager
def journal(name: str, folder: Path, step: int, settings: Mapping[str, Any]) -> Iterator[Row]:
    """Takes rows of the curve while it lasts, for a training that goes on from `step`.

    Raises `UnknownNameError` for a name that is none, `DualsysError` for one whose library is
    missing.
    """
    if name not in JOURNALS:
        raise UnknownNameError("track", name, JOURNALS)
    with JOURNALS[name](folder, step, settings) as row:
        yield row


@contextmanager
def _none(folder: Path, step: int, settings: Mapping[str, Any]) -> Iterator[Row]:
    yield lambda step, values: None


@contextmanager
def _tensorboard(folder: Path, step: int, settings: Mapping[str, Any]) -> Iterator[Row]:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise DualsysError(
            f"track=tensorboard needs TensorBoard ({error}); pip install 'dualsys[train]', or set "
            "track=none"
        ) from error
    # What an interrupted training logged behind its last saved step was never trained.
    writer: Any = SummaryWriter(str(folder / EVENTS), purge_step=step + 1)

    def row(step: int, values: dict[str, float]) -> None:
        for term, value in values.items():
            writer.add_scalar(term, value, step)

    try:
        yield row
    finally:
        writer.close()


@contextmanager
def _wandb(folder: Path, step: int, settings: Mapping[str, Any]) -> Iterator[Row]:
    try:
        import wandb
    except ImportError as error:
        raise DualsysError(
            f"track=wandb needs Weights & Biases ({error}); pip install 'dualsys[wandb]'"
        ) from error
    folder.mkdir(parents=True, exist_ok=True)
    # A folder is a run: a training that goes on goes on there. Whom it is sent to, and whether,
    # its own settings say (WANDB_PROJECT, WANDB_MODE).
    kept = folder / "wandb-run"
    run_id = kept.read_text() if kept.is_file() else wandb.util.generate_id()
    kept.write_text(run_id)
    run = wandb.init(
        id=run_id, resume="allow", name=folder.name, dir=str(folder), config=dict(settings)
    )
    try:
        yield lambda step, values: run.log(values, step=step)
    finally:
        run.finish(quiet=True)


JOURNALS = {"tensorboard": _tensorboard, "wandb": _wandb, "none": _none}
