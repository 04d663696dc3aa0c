"""System 1 at the ticks of a dataset: its own chunks, and what its Laplace head misses."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from dualsys.learning.joined import JoinedDataset
from dualsys.system1 import checkpoint
from dualsys.system1.network import Context, Guided
from dualsys.system1.sampler import Sampler


@torch.inference_mode()
def system1_samples(
    folder: Path, dataset: JoinedDataset, rows: np.ndarray, count: int = 1, seed: int = 0
) -> np.ndarray:
    """Chunks (N, K, T, A) that the checkpoint in `folder` proposes at `rows` (N,), `count` at each.

    Without guidance. As in a run the first one, which would be carried out, starts from the calm
    source, the others from noise. Raises `SpecMismatchError` when the checkpoint is of another
    world than the dataset.
    """
    sampler, _ = checkpoint.load(folder, dataset.spec)
    network, sizes = sampler.network, sampler.network.config
    mean, std = sampler.get_buffer("action_mean"), sampler.get_buffer("action_std")
    generator = torch.Generator().manual_seed(seed)
    found = []
    for context in _contexts(sampler, dataset, rows):
        shape = (len(context.mean), sizes.horizon, sizes.action_size)
        sources = [torch.zeros(shape)]
        sources += [torch.randn(shape, generator=generator) for _ in range(count - 1)]
        chunks = [network.flow(source, context, sizes.flow_steps) for source in sources]
        found.append((torch.stack(chunks, 1) * std + mean).numpy())
    return np.concatenate(found)


@torch.inference_mode()
def laplace_errors(
    folder: Path, dataset: JoinedDataset, rows: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What the Laplace head misses at `rows` (N,) and its scale b, both (M, A), normalised.

    Compared tick by tick over the chunks, inside the episodes: M ticks of N chunks. The third array
    (M,) says of which chunk each tick is.
    """
    sampler, _ = checkpoint.load(folder, dataset.spec)
    mean, std = (sampler.get_buffer(f"action_{name}").numpy() for name in ("mean", "std"))
    contexts = list(_contexts(sampler, dataset, rows))
    centre = torch.cat([context.mean for context in contexts]).numpy()
    scale = torch.cat([context.log_scale for context in contexts]).exp().numpy()
    _, end = dataset.episode_bounds()
    ticks = rows[:, None] + np.arange(centre.shape[1])
    inside = ticks < end[rows][:, None]
    action = (dataset.action[np.minimum(ticks, end[rows][:, None] - 1)] - mean) / std
    return (action - centre)[inside], scale[inside], np.nonzero(inside)[0]


def _contexts(
    sampler: Sampler, dataset: JoinedDataset, rows: np.ndarray, batch: int = 256
) -> Iterator[Context]:
    """What System 1 encodes at `rows`, without guidance."""
    network, sizes = sampler.network, sampler.network.config
    frames = [dataset.frames(camera.name) for camera in dataset.spec.cameras]
    frame_of = [dataset.frame_index(camera.name) for camera in dataset.spec.cameras]
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
        yield network.encode(images, state, alone)
