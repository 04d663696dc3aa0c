"""Carried out in .venv-lerobot: what LeRobot makes of ours, and we of its policies."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import torch
from lerobot.configs.types import FeatureType, PolicyFeature
from lerobot.datasets.lerobot_dataset import LeRobotDataset
from lerobot.policies.act.configuration_act import ACTConfig
from lerobot.policies.act.modeling_act import ACTPolicy
from lerobot.policies.factory import make_pre_post_processors

from dualsys.errors import SpecMismatchError
from dualsys.interop.lerobot import LeRobotPolicy
from dualsys.system1.contract import check_policy
from sim.driving.spec import SPEC


def dataset(root: Path) -> dict[str, object]:
    """Every frame of a dataset of ours, through LeRobot's own loader."""
    found = LeRobotDataset("dualsys/test", root=root)
    rows = [found[index] for index in range(len(found))]
    image = rows[0]["observation.images.topdown"]
    return {
        "frames": len(rows),
        "episodes": found.num_episodes,
        "fps": found.fps,
        "state": [row["observation.state"].tolist() for row in rows],
        "action": [row["action"].tolist() for row in rows],
        "image": [list(image.shape), float(image.min()), float(image.max())],
        "means": [float(row["observation.images.topdown"].mean()) for row in rows],
        "task": rows[0]["task"],
    }


def saved_policy(folder: Path, state: int) -> Path:
    """A small ACT with random weights, saved as LeRobot saves it."""
    camera = SPEC.cameras[0]
    pixels = (camera.channels, camera.height, camera.width)
    config = ACTConfig(
        input_features={
            f"observation.images.{camera.name}": PolicyFeature(FeatureType.VISUAL, pixels),
            "observation.state": PolicyFeature(FeatureType.STATE, (state,)),
        },
        output_features={"action": PolicyFeature(FeatureType.ACTION, (2,))},
        chunk_size=10,
        n_action_steps=4,
        dim_model=32,
        n_heads=2,
        dim_feedforward=64,
        n_encoder_layers=1,
        n_vae_encoder_layers=1,
        pretrained_backbone_weights=None,
        device="cpu",
    )
    torch.manual_seed(0)
    ACTPolicy(config).save_pretrained(folder)
    stats = {
        "observation.state": {"mean": torch.zeros(state), "std": torch.ones(state)},
        "action": {"mean": torch.tensor([0.5, 0.0]), "std": torch.tensor([1.0, 0.1])},
        f"observation.images.{camera.name}": {
            "mean": torch.zeros(3, 1, 1),
            "std": torch.ones(3, 1, 1),
        },
    }
    for part in make_pre_post_processors(config, dataset_stats=stats):
        part.save_pretrained(folder)
    return folder


def policy(folder: Path) -> dict[str, object]:
    """A policy of LeRobot's against our contract, and one of another world."""
    check_policy(LeRobotPolicy(SPEC, saved_policy(folder / "fits", len(SPEC.state))), SPEC)
    try:
        LeRobotPolicy(SPEC, saved_policy(folder / "other", 3))
    except SpecMismatchError as error:
        return {"refused": str(error)}
    return {"refused": ""}


def page(script: Path) -> dict[str, object]:
    """What the documentation's block of code loads."""
    found: dict[str, object] = {}
    exec(script.read_text(), found)
    return {"frames": len(found["frames"])}  # type: ignore[arg-type]


if __name__ == "__main__":
    what, where = sys.argv[1], Path(sys.argv[2])
    np.set_printoptions(threshold=10)
    print(json.dumps({"dataset": dataset, "policy": policy, "page": page}[what](where)))  # noqa: T201
