"""A policy of LeRobot's as System 1, in this process: `system1.driver=lerobot`.

`system1.checkpoint` is a folder that LeRobot saved (0.4 or newer): `config.json`, weights in
safetensors, and the processors that normalise. LeRobot has to be installed beside dualsys; nothing
is fetched.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from dualsys.errors import DualsysError, SpecMismatchError
from dualsys.messages import Guidance, Observation
from dualsys.spec import WorldSpec
from dualsys.system1.tick import Tick

IMAGES, STATE, ACTION = "observation.images.", "observation.state", "action"
PROCESSORS = "policy_preprocessor.json"


class LeRobotPolicy:
    """An `OwnPolicy` around a `PreTrainedPolicy`; see docs/bring_your_own_policy.md.

    A policy that looks at one moment is asked for a chunk every `n_action_steps` ticks; one that
    looks back is asked for one action in every tick, which is held for the next.
    """

    def __init__(self, spec: WorldSpec, checkpoint: Path | None) -> None:
        """Raises `DualsysError` without LeRobot or a policy, and for one of another world."""
        if checkpoint is None or not (checkpoint / "config.json").is_file():
            raise DualsysError(
                f"system1.driver=lerobot needs system1.checkpoint=DIR, a folder that LeRobot saved "
                f"a policy to; {checkpoint} has no config.json"
            )
        self._policy, self._before, self._after = _loaded(checkpoint)
        self._spec, self._config = spec, self._policy.config
        _require_fits(self._config, spec, checkpoint)
        self._looks_back = int(getattr(self._config, "n_obs_steps", 1)) > 1
        self.reset(0)

    def reset(self, epoch: int) -> None:
        """Start the episode `epoch`."""
        self._policy.reset()
        self._epoch, self._chunk, self._from = epoch, np.zeros((0, 0), np.float32), 0

    def act(self, observation: Observation, guidance: Guidance | None, now_ns: int) -> Tick:
        """Answer one tick; LeRobot's policies know nothing of guidance."""
        tick = observation.stamp.tick
        if self._looks_back:
            rows = self._asked("select_action", observation).repeat(2, 0)
            return Tick.of_commands(observation, rows, now_ns)
        behind = tick - self._from
        if not 0 <= behind < min(self._config.n_action_steps, len(self._chunk) - 1):
            self._chunk = self._asked("predict_action_chunk", observation)
            self._from, behind = tick, 0
        return Tick.of_commands(observation, self._chunk[behind:], now_ns)

    def _asked(self, what: str, observation: Observation) -> np.ndarray:
        """Actions float32 (T, A) that the policy gives now, inside the box of the commands."""
        import torch

        batch = self._before(self._batch(observation))
        with torch.inference_mode(), torch.random.fork_rng(devices=[]):
            # What it draws at random belongs to episode and tick, so that runs can be replayed.
            torch.manual_seed(self._epoch * 1_000_003 + observation.stamp.tick)
            given = self._after(getattr(self._policy, what)(batch))
        rows = given.float().cpu().numpy().reshape(-1, len(self._spec.action))
        return np.clip(rows, self._spec.action_low, self._spec.action_high).astype(np.float32)

    def _batch(self, observation: Observation) -> dict[str, Any]:
        import torch

        batch: dict[str, Any] = {
            f"{IMAGES}{name}": torch.from_numpy(image.copy()).permute(2, 0, 1)[None].float() / 255
            for name, image in observation.images.items()
            if f"{IMAGES}{name}" in self._config.input_features
        }
        batch[STATE] = torch.from_numpy(observation.state.copy())[None]
        return batch | {"task": [observation.instruction]}


def _loaded(folder: Path) -> tuple[Any, Any, Any]:
    """The policy, on its device, and what comes before and after it."""
    try:
        from lerobot.configs.policies import PreTrainedConfig
        from lerobot.policies.factory import get_policy_class, make_pre_post_processors
    except ImportError as error:
        raise DualsysError(
            f"system1.driver=lerobot needs LeRobot 0.4 or newer ({error}); install it beside "
            "dualsys, in an environment of its own (docs/interop.md)"
        ) from error
    if not (folder / PROCESSORS).is_file():
        raise DualsysError(
            f"{folder} has no {PROCESSORS}: it was saved by a LeRobot before 0.4, which normalised "
            "inside the policy; migrate it with LeRobot's own script"
        )
    config = PreTrainedConfig.from_pretrained(folder, local_files_only=True)
    kind = get_policy_class(config.type)
    policy = kind.from_pretrained(folder, config=config, local_files_only=True).eval()
    device = {"device_processor": {"device": str(config.device)}}
    before, after = make_pre_post_processors(
        config, str(folder), preprocessor_overrides=device, postprocessor_overrides={}
    )
    return policy, before, after


def _require_fits(config: Any, spec: WorldSpec, folder: Path) -> None:
    """Raise `SpecMismatchError` that names both sides of every feature that differs."""
    ours: dict[str, tuple[int, ...]] = {
        f"{IMAGES}{c.name}": (c.channels, c.height, c.width) for c in spec.cameras
    }
    ours |= {STATE: (len(spec.state),), ACTION: (len(spec.action),)}
    theirs = {
        name: tuple(feature.shape)
        for name, feature in {**config.input_features, **config.output_features}.items()
    }
    off = [name for name, shape in theirs.items() if ours.get(name) != shape]
    if ACTION not in theirs:
        off.append(ACTION)
    if off:
        told = "; ".join(f"{n}: it has {theirs.get(n)}, the world {ours.get(n)}" for n in off)
        raise SpecMismatchError(
            f"the LeRobot policy {folder} does not fit the world: {told}. Train it on a dataset of "
            "this world (`dualsys collect`)"
        )
