"""The one training loop: schedule, running average of weights, atomic saves, exact resume.

Repeatable: equal data, configuration, seed and versions give equal weights, also when interrupted.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from dualsys.device import device_of
from dualsys.errors import DualsysError
from dualsys.learning.curve import draw_curve
from dualsys.learning.journal import journal

Progress = Callable[[int, dict[str, float]], None]
Losses = Callable[[Any], dict[str, Tensor]]
FREE_TO_CHANGE = (
    *("steps", "threads", "device", "save_every", "log_every", "out"),
    *("track", "ray_address", "ray_gpus"),
)
"""Settings that a training may be gone on with after a change."""
STATE = "state.safetensors"


class OptimiserConfig(msgspec.Struct, frozen=True):
    """Optimisation settings; one step is one batch."""

    steps: int = 6000
    batch_size: int = 256
    learning_rate: float = 1e-3
    weight_decay: float = 1e-4
    warmup_steps: int = 300
    average_decay: float = 0.999
    clip_norm: float = 1.0
    seed: int = 0
    device: str = "cpu"
    bfloat16: bool = True
    save_every: int = 500
    log_every: int = 50


def optimiser_of(config: dict[str, Any]) -> OptimiserConfig:
    """The optimiser's part of a training command's configuration; device "auto" is resolved."""
    known = {k: v for k, v in config.items() if k in OptimiserConfig.__struct_fields__}
    known["device"] = device_of(known["device"])
    return msgspec.convert(known, OptimiserConfig)


class Trainer:
    """Trains `module` on `losses(batch)`, whose weighted sum is minimised.

    Holds module, running average and optimiser. `draw(step)` gives the batch of a step, on the
    processor; a resumed run draws what the whole one would have drawn.
    """

    def __init__(
        self,
        module: nn.Module,
        losses: Losses,
        weights: dict[str, float],
        config: OptimiserConfig,
        folder: Path,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        """`settings` are what else decides the result: no state of other ones is gone on with."""
        told = {**msgspec.to_builtins(config), **(settings or {}), "weights": weights}
        self._settings = {k: v for k, v in sorted(told.items()) if k not in FREE_TO_CHANGE}
        self._losses, self._weights = losses, weights
        self._config, self._folder = config, folder
        # Channels-last convolutions are twice as fast on a processor.
        self.module = module.to(config.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = {k: v.detach().clone() for k, v in self.module.state_dict().items()}
        self._optimiser = torch.optim.AdamW(
            [p for p in self.module.parameters() if p.requires_grad],
            lr=config.learning_rate,
            weight_decay=config.weight_decay,
            betas=(0.9, 0.99),
        )
        self.step = 0
        self._curve: list[dict[str, float]] = []

    def run(self, draw: Callable[[int], Any], progress: Progress | None = None) -> None:
        """Train to `steps`, saving every `save_every` steps; continues where it was resumed."""
        config = self._config
        while self.step < config.steps:
            # Each step has its own stream, so that a resumed run draws what the whole one would.
            torch.manual_seed(config.seed * 1_000_003 + self.step)
            parts = self._update(to_device(draw(self.step), config.device))
            self.step += 1
            if self.step % config.log_every == 0 or self.step == config.steps:
                self._curve.append({"step": self.step, **parts})
                if progress is not None:
                    progress(self.step, parts)
            if self.step % config.save_every == 0 or self.step == config.steps:
                self.save()

    def averaged(self) -> dict[str, Tensor]:
        """The running average of the weights, on the processor."""
        return {k: v.cpu() for k, v in self.average.items()}

    def _update(self, batch: Any) -> dict[str, float]:
        config = self._config
        for group in self._optimiser.param_groups:
            group["lr"] = config.learning_rate * schedule(self.step, config)
        with torch.autocast(config.device.split(":")[0], torch.bfloat16, enabled=config.bfloat16):
            parts = self._losses(batch)
        total = torch.stack([self._weights[name] * value for name, value in parts.items()]).sum()
        self._optimiser.zero_grad(set_to_none=True)
        total.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.module.parameters(), config.clip_norm)
        if not torch.isfinite(norm):
            raise FloatingPointError(
                f"training step {self.step}: the gradient is not finite; "
                "lower train.learning_rate or look for broken values in the dataset"
            )
        self._optimiser.step()
        self._average()
        return {name: float(value.detach()) for name, value in parts.items()}

    @torch.no_grad()
    def _average(self) -> None:
        # A short memory at the start: the first averages would be of random weights.
        decay = min(self._config.average_decay, (1 + self.step) / (10 + self.step))
        for name, value in self.module.state_dict().items():
            if value.is_floating_point():
                self.average[name].lerp_(value, 1 - decay)

    def save(self) -> None:
        """Write everything that resuming needs; the file is replaced as a whole."""
        self._folder.mkdir(parents=True, exist_ok=True)
        state = {f"network.{k}": v.contiguous() for k, v in self.module.state_dict().items()}
        state |= {f"average.{k}": v.contiguous() for k, v in self.average.items()}
        for index, entry in self._optimiser.state_dict()["state"].items():
            state |= {f"optimiser.{index}.{k}": v.contiguous() for k, v in entry.items()}
        partial = self._folder / f"{STATE}.partial"
        # Tied weights share memory, which the format does not allow.
        about = {"step": str(self.step), "settings": msgspec.json.encode(self._settings).decode()}
        save_file({k: v.clone() for k, v in state.items()}, partial, about)
        partial.replace(self._folder / STATE)
        self._write_curve()

    def resume(self) -> bool:
        """Continue from the folder's saved state; False when there is none.

        Raises `DualsysError` for the state of a training with other settings.
        """
        path = self._folder / STATE
        if not path.is_file():
            return False
        from safetensors import safe_open

        with safe_open(path, "pt") as file:
            about = file.metadata()
        self._check_settings(msgspec.json.decode(about.get("settings", "{}")), path)
        self.step = int(about["step"])
        state = load_file(path)
        self.module.load_state_dict(_part(state, "network."))
        device = self._config.device
        self.average = {k: v.to(device) for k, v in _part(state, "average.").items()}
        entries: dict[int, dict[str, Tensor]] = {}
        for key, value in _part(state, "optimiser.").items():
            index, name = key.split(".", 1)
            entries.setdefault(int(index), {})[name] = value
        saved = self._optimiser.state_dict()
        self._optimiser.load_state_dict({**saved, "state": entries})
        self._curve = _read_curve(self._folder / "curve.csv", self.step)
        return True

    def _check_settings(self, saved: dict[str, Any], path: Path) -> None:
        mine = msgspec.json.decode(msgspec.json.encode(self._settings))
        keys = sorted(k for k in {*mine, *saved} if mine.get(k) != saved.get(k))
        if keys:
            raise DualsysError(
                f"{path} was begun with {', '.join(f'{k}={saved.get(k)}' for k in keys)}, this "
                f"training has {', '.join(f'{k}={mine.get(k)}' for k in keys)}; give the same "
                f"again, or remove {path.parent} to begin anew"
            )

    def _write_curve(self) -> None:
        if self._curve:
            with (self._folder / "curve.csv").open("w", newline="") as file:
                writer = csv.DictWriter(file, list(self._curve[0]))
                writer.writeheader()
                writer.writerows(self._curve)
            draw_curve(self._curve, self._folder / "curve.png")


def trained(
    module: nn.Module,
    losses: Losses,
    weights: dict[str, float],
    draw: Callable[[int, int, int], Any],
    config: dict[str, Any],
    folder: Path,
    progress: Progress,
    ground: Mapping[str, Any],
) -> dict[str, Tensor]:
    """Train `module` as the command's `config` says, or go on; returns the averaged weights.

    `draw(seed, step, batch size)` gives a batch; the state is kept in `folder`. `ground` tells what
    the training builds on (`dualsys.learning.lineage`): it is gone on with on the same only.
    """
    optimiser = optimiser_of(config)
    trainer = Trainer(module, losses, weights, optimiser, folder, {**config, **ground})
    trainer.resume()
    seed, size = optimiser.seed, optimiser.batch_size
    with journal(config["track"], folder, trainer.step, config) as row:

        def told(step: int, parts: dict[str, float]) -> None:
            row(step, parts)
            progress(step, parts)

        trainer.run(lambda step: draw(seed, step, size), told)
    return trainer.averaged()


def schedule(step: int, config: OptimiserConfig) -> float:
    """Learning-rate factor: linear warm-up, then a cosine down to a hundredth."""
    if step < config.warmup_steps:
        return (step + 1) / config.warmup_steps
    part = (step - config.warmup_steps) / max(1, config.steps - config.warmup_steps)
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, part)))


def to_device(value: Any, device: str) -> Any:
    """Move every tensor of a batch (structs, lists, dicts) to `device`."""
    if device == "cpu":
        return value
    if isinstance(value, Tensor):
        return value.to(device)
    if isinstance(value, list):
        return [to_device(v, device) for v in value]
    if isinstance(value, dict):
        return {k: to_device(v, device) for k, v in value.items()}
    if isinstance(value, msgspec.Struct):
        names = value.__struct_fields__
        return type(value)(**{n: to_device(getattr(value, n), device) for n in names})
    return value


def _part(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}


def _read_curve(path: Path, step: int) -> list[dict[str, float]]:
    if not path.is_file():
        return []
    with path.open(newline="") as file:
        rows = [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file)]
    return [row for row in rows if row["step"] <= step]
