from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from dualsys.errors import DualsysError, SpecMismatchError
from dualsys.spec import CameraSpec
from dualsys.system1 import checkpoint
from dualsys.system1.network import NetworkConfig, System1Network
from dualsys.system1.sampler import Sampler, sampler_inputs
from kernels.torch_engine import TorchEngine
from tests.fakes import SPEC

CONFIG = NetworkConfig((("eye", 16, 16, 3),), 2, 2, 2, 2, horizon=8, width=32, layers=2,
                       plan_vector_size=4, keypoints=4, token_grid=2,
                       commit_ticks=3)  # fmt: skip


def sampler() -> Sampler:
    torch.manual_seed(0)
    network = System1Network(CONFIG)
    # The output layer starts at zero; any other weights let inputs show in the output.
    torch.nn.init.normal_(network.action_out.weight, std=0.5)
    ones = {f"{k}_std": torch.full((2,), 2.0) for k in ("state", "action")}
    zeros = {f"{k}_mean": torch.ones(2) for k in ("state", "action")}
    return Sampler(network, ones | zeros).eval()


def arrays(engine: TorchEngine, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {
        name: rng.integers(0, 255, spec.shape, np.uint8)
        if spec.dtype == "uint8"
        else np.zeros(spec.shape, np.float32)
        for name, spec in engine.inputs.items()
    }


@pytest.fixture(scope="module")
def engine() -> TorchEngine:
    module = sampler()
    return TorchEngine(module, sampler_inputs(module))


def test_equal_inputs_give_equal_chunks(engine: TorchEngine) -> None:
    one, two = (engine.run(arrays(engine))["chunk"] for _ in range(2))
    np.testing.assert_array_equal(one, two)
    assert one.shape == (1, 8, 2)


@pytest.mark.parametrize("name", ["image_eye", "state", "plan", "z", "phase", "noise"])
def test_every_input_reaches_the_chunk(engine: TorchEngine, name: str) -> None:
    given = arrays(engine)
    before = engine.run(given)["chunk"]
    given[name] = (given[name] + 3).astype(given[name].dtype)
    assert np.abs(engine.run(given)["chunk"] - before).max() > 1e-6


def test_a_candidate_replaces_noise_as_the_source_of_the_flow(engine: TorchEngine) -> None:
    given = arrays(engine)
    given["candidate"][:] = 5.0
    without = engine.run(given)["chunk"]
    given["use_candidate"][:] = 1.0
    with_candidate = engine.run(given)["chunk"]
    # Source moves by (5 - mean) / std = 2 in normalised units.
    assert np.abs(with_candidate - without).max() > 0.5


def test_a_wrong_input_is_refused_with_both_sides(engine: TorchEngine) -> None:
    given = arrays(engine)
    given["state"] = np.zeros((1, 3), np.float32)
    with pytest.raises(SpecMismatchError, match=r"float32 \(1, 2\), it is float32 \(1, 3\)"):
        engine.run(given)
    del given["state"]
    with pytest.raises(SpecMismatchError, match="takes inputs"):
        engine.run(given)


def save(folder: Path) -> Sampler:
    module = sampler()
    buffers = {name: module.get_buffer(name) for name in checkpoint.NORMALISATION}
    card = checkpoint.Card(CONFIG, SPEC, {}, {}, {}, {})
    checkpoint.save(folder, module.network, buffers, card)
    return module


def test_a_checkpoint_comes_back_exactly(tmp_path: Path) -> None:
    module = save(tmp_path)
    loaded, card = checkpoint.load(tmp_path, SPEC)
    inputs = sampler_inputs(module)
    one, two = TorchEngine(module, inputs), TorchEngine(loaded, inputs)
    np.testing.assert_array_equal(one.run(arrays(one))["chunk"], two.run(arrays(two))["chunk"])
    assert card.spec == SPEC


def test_a_checkpoint_of_another_world_is_refused_with_both_sides(tmp_path: Path) -> None:
    save(tmp_path)
    other = msgspec.structs.replace(SPEC, cameras=(CameraSpec("lens", 32, 32),))
    with pytest.raises(SpecMismatchError, match=r"lens 32x32x3/1.*eye 16x16x3/2"):
        checkpoint.load(tmp_path, other)


def test_a_folder_without_a_checkpoint_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(DualsysError, match="dualsys train system1"):
        checkpoint.load(tmp_path)


def test_weights_that_are_not_those_of_the_card_are_refused(tmp_path: Path) -> None:
    save(tmp_path)
    card = checkpoint.load_card(tmp_path)
    wider = msgspec.structs.replace(card, network=msgspec.structs.replace(CONFIG, width=64))
    (tmp_path / checkpoint.CARD).write_bytes(msgspec.json.encode(wider))
    with pytest.raises(DualsysError, match="not those of its model card"):
        checkpoint.load(tmp_path)


def test_weights_that_are_no_numbers_are_refused_by_name(tmp_path: Path) -> None:
    save(tmp_path)
    tensors = load_file(tmp_path / checkpoint.WEIGHTS)
    tensors["action_std"][1] = torch.inf
    save_file(tensors, tmp_path / checkpoint.WEIGHTS)
    with pytest.raises(DualsysError, match=r"hold NaN or infinity \(action_std\); .* damaged"):
        checkpoint.load(tmp_path)


def test_committed_actions_stay_and_the_rest_fits_them(engine: TorchEngine) -> None:
    given = arrays(engine)
    given["noise"] = np.random.default_rng(1).normal(size=(1, 8, 2)).astype(np.float32)
    free = engine.run(given)["chunk"].copy()
    given["committed"] += np.array([[1.0, 0.5], [0.2, -0.4], [9.0, 9.0]], np.float32)
    ignored = engine.run(given)["chunk"].copy()
    np.testing.assert_array_equal(ignored, free)
    given["committed_ticks"][:] = 2
    fixed = engine.run(given)["chunk"].copy()
    np.testing.assert_allclose(fixed[0, :2], given["committed"][0, :2], atol=1e-5)
    assert np.abs(fixed[0, 2:] - free[0, 2:]).max() > 1e-4, "the others take notice"


def test_a_network_without_committed_beginnings_does_not_ask_for_them() -> None:
    plain = System1Network(msgspec.structs.replace(CONFIG, commit_ticks=0))
    assert not {"committed", "committed_ticks"} & set(sampler_inputs(Sampler(plain, {})))
    known = sampler()
    plain.load_state_dict(known.network.state_dict())
    buffers = {name: known.get_buffer(name) for name in checkpoint.NORMALISATION}
    engines = [TorchEngine(m, sampler_inputs(m))
               for m in (known, Sampler(plain, buffers).eval())]  # fmt: skip
    one, two = (engine.run(arrays(engine))["chunk"] for engine in engines)
    np.testing.assert_allclose(one, two, atol=1e-5)
