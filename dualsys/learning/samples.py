"""System 1's own chunks at the ticks of a dataset: what visual prompts show while training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from dualsys.learning.dataset import JoinedDataset
from dualsys.system1 import checkpoint
from dualsys.system1.network import Guided


@torch.inference_mode()
def system1_samples(
    folder: Path, dataset: JoinedDataset, rows: np.ndarray, seed: int = 0, batch: int = 256
) -> np.ndarray:
    """Chunks (N, T, A) that the checkpoint in `folder` proposes at `rows` (N,), without guidance.

    Raises `SpecMismatchError` when the checkpoint is of another world than the dataset.
    """
    sampler, _ = checkpoint.load(folder, dataset.spec)
    network, sizes = sampler.network, sampler.network.config
    mean, std = sampler.get_buffer("action_mean"), sampler.get_buffer("action_std")
    frames = [dataset.frames(camera.name) for camera in dataset.spec.cameras]
    frame_of = [dataset.frame_index(camera.name) for camera in dataset.spec.cameras]
    generator = torch.Generator().manual_seed(seed)
    found = []
    for at in range(0, len(rows), batch):
        part = rows[at : at + batch]
        images = [
            torch.from_numpy(np.ascontiguousarray(seen[of[part]]))
            for seen, of in zip(frames, frame_of, strict=True)
        ]
        raw = torch.from_numpy(dataset.state[part].astype(np.float32))
        state = (raw - sampler.get_buffer("state_mean")) / sampler.get_buffer("state_std")
        alone = Guided(
            torch.zeros(len(part), sizes.plans),
            torch.zeros(len(part), sizes.plan_vector_size),
            torch.zeros(len(part), 3),
        )
        context = network.encode(images, state, alone)
        shape = (len(part), sizes.horizon, sizes.action_size)
        chunk = network.flow(torch.randn(shape, generator=generator), context, sizes.flow_steps)
        found.append((chunk * std + mean).numpy())
    return np.concatenate(found)
