"""Imitation training of System 1: flow matching + Laplace likelihood + perceived scene.

Loss = E |v_theta(x_tau, tau, c) - (expert - source)|^2            (flow matching, arXiv 2210.02747)
     + laplace_weight * E [log 2b + |expert - mu| / b]             (Laplace negative log-likelihood)
     + perceive_weight * E |scene_hat - scene|^2                   (object positions, labels only)
Repeatable: equal data, configuration, seed and versions give equal weights. Resumable.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from dualsys.learning.batches import Batch, Batches
from dualsys.system1.network import Guided, System1Network

Progress = Callable[[int, dict[str, float]], None]


class TrainConfig(msgspec.Struct, frozen=True):
    """Optimisation settings; one step is one batch."""

    steps: int = 6000
    batch_size: int = 256
    learning_rate: float = 1e-3
    weight_decay: float = 1e-4
    warmup_steps: int = 300
    average_decay: float = 0.999
    laplace_weight: float = 0.1
    perceive_weight: float = 1.0
    clip_norm: float = 1.0
    seed: int = 0
    device: str = "cpu"
    bfloat16: bool = True
    save_every: int = 500
    log_every: int = 50


class Trainer:
    """Holds network, running average and optimiser; `run` trains, `save` and resume are atomic."""

    def __init__(self, network: System1Network, config: TrainConfig, folder: Path) -> None:
        self._config, self._folder = config, folder
        # Channels-last convolutions are twice as fast on a processor.
        self.network = network.to(config.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = {k: v.detach().clone() for k, v in self.network.state_dict().items()}
        self._optimiser = torch.optim.AdamW(
            self.network.parameters(),
            lr=config.learning_rate,
            weight_decay=config.weight_decay,
            betas=(0.9, 0.99),
        )
        self.step = 0
        self._curve: list[dict[str, float]] = []

    def run(self, batches: Batches, progress: Progress | None = None) -> None:
        """Train to `steps`, saving every `save_every` steps; continues where it was resumed."""
        config = self._config
        while self.step < config.steps:
            # Each step has its own stream, so that a resumed run draws what the whole one would.
            batches.reseed(config.seed, self.step)
            torch.manual_seed(config.seed * 1_000_003 + self.step)
            parts = self._update(batches.draw(config.batch_size))
            self.step += 1
            if self.step % config.log_every == 0 or self.step == config.steps:
                self._curve.append({"step": self.step, **parts})
                if progress is not None:
                    progress(self.step, parts)
            if self.step % config.save_every == 0 or self.step == config.steps:
                self.save()

    def averaged(self) -> System1Network:
        """Return a copy of the network with the running average of its weights."""
        network = System1Network(self.network.config)
        network.load_state_dict({k: v.cpu() for k, v in self.average.items()})
        return network.eval()

    def _update(self, batch: Batch) -> dict[str, float]:
        config = self._config
        for group in self._optimiser.param_groups:
            group["lr"] = config.learning_rate * schedule(self.step, config)
        with torch.autocast(config.device.split(":")[0], torch.bfloat16, enabled=config.bfloat16):
            parts = losses(self.network, to_device(batch, config.device))
        total = (
            parts["flow"]
            + config.laplace_weight * parts["laplace"]
            + config.perceive_weight * parts["perceive"]
        )
        self._optimiser.zero_grad(set_to_none=True)
        total.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.network.parameters(), config.clip_norm)
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
        for name, value in self.network.state_dict().items():
            self.average[name].lerp_(value, 1 - decay)

    def save(self) -> None:
        """Write everything that resuming needs; the file is replaced as a whole."""
        self._folder.mkdir(parents=True, exist_ok=True)
        state = {f"network.{k}": v.contiguous() for k, v in self.network.state_dict().items()}
        state |= {f"average.{k}": v.contiguous() for k, v in self.average.items()}
        for index, entry in self._optimiser.state_dict()["state"].items():
            state |= {f"optimiser.{index}.{k}": v.contiguous() for k, v in entry.items()}
        partial = self._folder / "state.safetensors.partial"
        save_file(state, partial, metadata={"step": str(self.step)})
        partial.replace(self._folder / "state.safetensors")
        self._write_curve()

    def resume(self) -> bool:
        """Continue from the folder's saved state; False when there is none."""
        path = self._folder / "state.safetensors"
        if not path.is_file():
            return False
        from safetensors import safe_open

        with safe_open(path, "pt") as file:
            self.step = int(file.metadata()["step"])
        state = load_file(path)
        self.network.load_state_dict(_part(state, "network."))
        self.average = _part(state, "average.")
        entries: dict[int, dict[str, Tensor]] = {}
        for key, value in _part(state, "optimiser.").items():
            index, name = key.split(".", 1)
            entries.setdefault(int(index), {})[name] = value
        saved = self._optimiser.state_dict()
        self._optimiser.load_state_dict({**saved, "state": entries})
        self._curve = _read_curve(self._folder / "curve.csv", self.step)
        return True

    def _write_curve(self) -> None:
        if self._curve:
            with (self._folder / "curve.csv").open("w", newline="") as file:
                writer = csv.DictWriter(file, list(self._curve[0]))
                writer.writeheader()
                writer.writerows(self._curve)


def losses(network: System1Network, batch: Batch) -> dict[str, Tensor]:
    """The three terms of the loss on one batch, each a scalar."""
    context = network.encode(batch.images, batch.state, Guided(batch.plan, batch.z, batch.phase))
    tau = torch.rand(len(batch.state), device=batch.state.device)
    mixed = (1 - tau)[:, None, None] * batch.source + tau[:, None, None] * batch.chunk
    velocity = network.velocity(mixed, tau, context).float()
    flow = (velocity - (batch.chunk - batch.source)).square().mean(-1)
    log_scale = context.log_scale.float()
    miss = (batch.chunk - context.mean.float()).abs()
    laplace = (math.log(2.0) + log_scale + miss * (-log_scale).exp()).mean(-1)
    seen = (context.perceived.float() - batch.perceived).square() * batch.perceived_mask
    ticks = batch.mask.sum()
    return {
        "flow": (flow * batch.mask).sum() / ticks,
        "laplace": (laplace * batch.mask).sum() / ticks,
        "perceive": seen.sum() / batch.perceived_mask.sum().clamp(min=1.0),
    }


def schedule(step: int, config: TrainConfig) -> float:
    """Learning-rate factor: linear warm-up, then a cosine down to a hundredth."""
    if step < config.warmup_steps:
        return (step + 1) / config.warmup_steps
    part = (step - config.warmup_steps) / max(1, config.steps - config.warmup_steps)
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, part)))


def to_device(batch: Batch, device: str) -> Batch:
    """Move every tensor of the batch to `device`."""
    if device == "cpu":
        return batch

    def move(value: Any) -> Any:
        return [v.to(device) for v in value] if isinstance(value, list) else value.to(device)

    return Batch(**{name: move(getattr(batch, name)) for name in Batch.__struct_fields__})


def _part(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}


def _read_curve(path: Path, step: int) -> list[dict[str, float]]:
    if not path.is_file():
        return []
    with path.open(newline="") as file:
        rows = [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file)]
    return [row for row in rows if row["step"] <= step]
