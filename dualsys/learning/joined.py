"""Several recorded datasets of one world, read as one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from dualsys.learning.dataset import Dataset
from dualsys.learning.preparation import Told, quiet
from dualsys.spec import require_same


class JoinedDataset:
    """Several datasets of one world, one after the other, with what training reads of them."""

    def __init__(self, parts: list[Dataset]) -> None:
        first = parts[0]
        for part in parts[1:]:
            require_same(first.spec, part.spec, f"the dataset {first.root}", f"{part.root}")
        self.parts, self.spec = parts, first.spec
        self._bases = np.cumsum([0, *(len(part.state) for part in parts)])
        for name in ("state", "action", "executed", "scene", "plan", "plan_age", "reward"):
            setattr(self, name, np.concatenate([getattr(part, name) for part in parts]))

    state: np.ndarray
    action: np.ndarray
    executed: np.ndarray
    scene: np.ndarray
    plan: np.ndarray
    plan_age: np.ndarray
    reward: np.ndarray

    @property
    def terminated(self) -> np.ndarray:
        """As `Dataset.terminated`."""
        return np.concatenate([part.terminated for part in self.parts])

    @property
    def done(self) -> np.ndarray:
        """As `Dataset.done`."""
        return np.concatenate([part.done for part in self.parts])

    @property
    def info(self) -> dict[str, int]:
        """Total episodes and frames."""
        names = ("total_episodes", "total_frames")
        return {name: sum(part.info[name] for part in self.parts) for name in names}

    def episode_bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """As `Dataset.episode_bounds`."""
        bounds = [part.episode_bounds() for part in self.parts]
        start, end = zip(*bounds, strict=True)
        return self._shifted(list(start)), self._shifted(list(end))

    def _shifted(self, parts: list[np.ndarray]) -> np.ndarray:
        return np.concatenate([p + base for p, base in zip(parts, self._bases[:-1], strict=True)])

    def instructions(self) -> list[str]:
        """As `Dataset.instructions`."""
        return [text for part in self.parts for text in part.instructions()]

    def scenarios(self) -> list[str]:
        """As `Dataset.scenarios`."""
        return [name for part in self.parts for name in part.scenarios()]

    def drives(self) -> list[tuple[str, int]]:
        """As `Dataset.drives`."""
        return [drive for part in self.parts for drive in part.drives()]

    def seeds(self) -> np.ndarray:
        """As `Dataset.seeds`."""
        return np.concatenate([part.seeds() for part in self.parts])

    def successes(self) -> np.ndarray:
        """As `Dataset.successes`."""
        return np.concatenate([part.successes() for part in self.parts])

    def trials(self) -> np.ndarray:
        """As `Dataset.trials`."""
        return np.concatenate([part.trials() for part in self.parts])

    def frame_index(self, camera: str) -> np.ndarray:
        """As `Dataset.frame_index`, for `frames`."""
        parts, base = [], 0
        for part in self.parts:
            index = part.frame_index(camera)
            parts.append(index + base)
            base += int(index[-1]) + 1
        return np.concatenate(parts)

    def frames(self, camera: str) -> Frames:
        """As `Dataset.frames`, indexed by integers or index arrays."""
        return Frames([part.frames(camera) for part in self.parts])


class Frames:
    """Images of several files as one array, read by index; nothing is copied into memory."""

    def __init__(self, parts: list[np.ndarray]) -> None:
        self._parts = parts
        self._bases = np.cumsum([0, *(len(part) for part in parts)])

    def __len__(self) -> int:
        return int(self._bases[-1])

    def __getitem__(self, index: Any) -> np.ndarray:
        """Images (..., H, W, C) at an index or an array of indices."""
        wanted = np.asarray(index)
        which = np.searchsorted(self._bases, wanted, "right") - 1
        found = np.empty((*wanted.shape, *self._parts[0].shape[1:]), np.uint8)
        for number, part in enumerate(self._parts):
            here = which == number
            found[here] = part[wanted[here] - self._bases[number]]
        return found


def statistics(dataset: JoinedDataset) -> dict[str, np.ndarray]:
    """Mean and standard deviation of state and action, float32."""
    found = {}
    for name in ("state", "action"):
        values = getattr(dataset, name)
        found[f"{name}_mean"] = values.mean(0).astype(np.float32)
        found[f"{name}_std"] = np.maximum(values.std(0), 1e-3).astype(np.float32)
    return found


def open_datasets(data: str | list[str], told: Told = quiet) -> JoinedDataset:
    """The dataset in a folder, or those in several, as one; `told` hears of their decoding."""
    folders = [data] if isinstance(data, str) else data
    return JoinedDataset([Dataset(Path(folder), told) for folder in folders])
