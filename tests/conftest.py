from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings

# Before any import of a simulator: rendering without a display, one thread per process.
os.environ.setdefault("MUJOCO_GL", "egl")
os.environ.setdefault("PYOPENGL_PLATFORM", "egl")
os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Engines are built for these tests alone.
if "DUALSYS_CACHE" not in os.environ:
    os.environ["DUALSYS_CACHE"] = tempfile.mkdtemp(prefix="dualsys-cache-")
    atexit.register(shutil.rmtree, os.environ["DUALSYS_CACHE"], ignore_errors=True)
# Before any import of Triton: without a GPU its kernels run in the interpreter.
if not Path("/dev/nvidiactl").exists():
    os.environ.setdefault("TRITON_INTERPRET", "1")


# No test asserts a time: a busy machine makes any example slow.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


@pytest.fixture(scope="session")
def language_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.planners import build_language

    return build_language(tmp_path_factory.mktemp("language"))


@pytest.fixture(scope="session")
def planner_folder(language_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.planners import build_planner

    return build_planner(language_folder, tmp_path_factory.mktemp("planner") / "planner")


@pytest.fixture(scope="session")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small untrained checkpoint of the driving worlds: it need not drive well to be logged."""
    import torch

    from dualsys.system1 import checkpoint
    from dualsys.system1.network import NetworkConfig, System1Network
    from sim.driving.spec import SPEC

    folder = tmp_path_factory.mktemp("checkpoint")
    torch.manual_seed(0)
    cameras = tuple((c.name, c.height, c.width, c.channels) for c in SPEC.cameras)
    config = NetworkConfig(cameras, len(SPEC.state), 2, len(SPEC.plans), 3, width=32, layers=1)
    scale = {"state_std": torch.full((len(SPEC.state),), 10.0), "action_std": torch.full((2,), 0.1)}
    centre = {"state_mean": torch.zeros(len(SPEC.state)), "action_mean": torch.zeros(2)}
    card = checkpoint.Card(config, SPEC, {}, {}, {}, {})
    checkpoint.save(folder, System1Network(config), scale | centre, card)
    return folder


@pytest.fixture(scope="session")
def layered(untrained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As `untrained`, with two blocks that say something, and an untrained early exit."""
    import msgspec
    import torch

    from dualsys.system1 import checkpoint, exits
    from dualsys.system1.network import System1Network

    folder = tmp_path_factory.mktemp("layered")
    sampler, card = checkpoint.load(untrained)
    config = msgspec.structs.replace(card.network, layers=2)
    torch.manual_seed(0)
    network = System1Network(config)
    torch.nn.init.normal_(network.action_out.weight, std=0.2)
    norm = {name: sampler.get_buffer(name) for name in checkpoint.NORMALISATION}
    checkpoint.save(folder, network, norm, msgspec.structs.replace(card, network=config))
    weights = checkpoint.digest_of(folder / checkpoint.WEIGHTS)
    sizes = (2, config.width, 16, config.action_size)
    exits.save(folder, exits.exits_of(*sizes), exits.ExitCard(weights, *sizes, {}, {}, {}, {}))
    return folder


@pytest.fixture(scope="session")
def drives(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of two short drives."""
    from dualsys.learning.shards import finalise, write_shard
    from sim import registry
    from sim.collect import Job, Noise, record
    from sim.driving.spec import SPEC

    root = tmp_path_factory.mktemp("drives")
    world = registry.make("driving/merge")
    job = Job("", "driving/merge", (), Noise(0.0, (0.3, 0.05), 0.1), 20, 40, True)
    for seed in (1_000_000, 1_000_001):
        write_shard(root, record(world, registry.expert_for(world), seed, job), SPEC)
    world.close()
    finalise(root, SPEC)
    return root


@pytest.fixture(scope="session")
def run_folder(untrained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two guided drives in lockstep, with results and log."""

    from dualsys.bench.evaluate import evaluate
    from dualsys.config import load

    out = tmp_path_factory.mktemp("run")
    words = ["scenario=driving/merge", "system2=scripted", f"out={out}"]
    words.append(f"system1.checkpoint={untrained}")
    config = load("eval", words)
    evaluate(config, ["driving/merge"], [1_000_000, 1_000_001], lambda result: None)
    return out


@pytest.fixture(scope="session")
def thinking_run(
    untrained: Path, planner_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A run of one short drive with an untrained vision-language planner."""

    from dualsys.bench.evaluate import evaluate
    from dualsys.config import load

    out = tmp_path_factory.mktemp("thinking")
    words = ["scenario=driving/merge", f"system1.checkpoint={untrained}", f"out={out}"]
    words += ["system2=vlm", f"system2.checkpoint={planner_folder}", "runtime.episode_s=4"]
    words += ["system2.candidates=5", "system2.send_code=true"]
    config = load("eval", words)
    evaluate(config, ["driving/merge"], [3], lambda result: None)
    return out
