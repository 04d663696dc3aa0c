from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from dualsys.system1.network import NetworkConfig, System1Network
from dualsys.system1.sampler import Sampler, sampler_inputs
from dualsys.system1.uncertainty import Uncertainty, laplace_entropy
from kernels.reference import example_arrays
from kernels.torch_engine import TorchEngine

CONFIG = NetworkConfig((("eye", 16, 16, 3),), 3, 2, 4, 2, horizon=8, width=16, layers=1, heads=2,
                       keypoints=4, token_grid=2)  # fmt: skip


def engine(samples: int) -> TorchEngine:
    torch.manual_seed(0)
    network = System1Network(CONFIG)
    torch.nn.init.normal_(network.action_out.weight)
    norm = {"state_mean": torch.zeros(3), "state_std": torch.ones(3)}
    norm |= {"action_mean": torch.zeros(2), "action_std": torch.tensor([2.0, 0.1])}
    sampler = Sampler(network, norm, samples)
    return TorchEngine(sampler, sampler_inputs(sampler))


def test_the_first_sample_is_the_chunk() -> None:
    alone, several = engine(1), engine(4)
    given = example_arrays(several.inputs, 3)
    one = {**given, "noise": given["noise"][:1]}
    np.testing.assert_allclose(
        several.run(given)["chunk"], alone.run(one)["chunk"], atol=1e-5, rtol=1e-5
    )
    assert not {"samples", "spread"} & set(alone.outputs)
    samples = several.run(given)["samples"]
    assert samples.shape == (4, *several.outputs["chunk"].shape[1:])
    np.testing.assert_array_equal(samples[:1], several.run(given)["chunk"])
    units = samples.std(0, ddof=1) / np.array([2.0, 0.1])
    assert several.run(given)["spread"].item() == pytest.approx(units.mean(), rel=1e-4)


def test_equal_noises_have_no_spread_and_different_ones_do() -> None:
    several = engine(4)
    given = example_arrays(several.inputs, 3)
    assert several.run(given)["spread"].item() > 1e-3
    given["noise"][:] = given["noise"][0]
    assert several.run(given)["spread"].item() == pytest.approx(0.0, abs=1e-6)


def test_the_entropy_is_that_of_a_laplace_distribution() -> None:
    from scipy.stats import laplace

    scale = np.array([[0.1, 2.0], [0.5, 0.5]])
    wanted = np.mean([laplace(scale=b).entropy() for b in scale.ravel()])
    assert laplace_entropy(scale) == pytest.approx(wanted)


def test_the_total_adds_the_spread_by_its_weight() -> None:
    outputs = {"scale": np.full((1, 4, 2), 0.3), "spread": np.array([[0.5]])}
    found = Uncertainty.of(outputs, 2.0)
    assert found.total == pytest.approx(found.entropy + 1.0)
    outputs.pop("spread")
    assert Uncertainty.of(outputs, 2.0).total == found.entropy
    assert math.isnan(Uncertainty().total)
