"""A policy in an ONNX file: what is fed to it, what is read of it, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
import pytest
from safetensors.numpy import save_file

from dualsys.config import load
from dualsys.errors import DualsysError, SpecMismatchError
from dualsys.runtime import assembly
from dualsys.runtime.drivers import make_system1
from dualsys.runtime.engines import make_engine
from dualsys.spec import CameraSpec
from dualsys.system1.contract import check_policy
from dualsys.system1.described import described_in, network_of_file
from dualsys.system1.description import FILE
from kernels.cache import Prepared
from kernels.choose import choose
from kernels.reference import stacked
from tests.fakes import SPEC
from tests.onnx_files import changed, model, write
from tests.system1.test_policy import guidance, observation


def config(folder: Path, *words: str) -> dict[str, Any]:
    driven = ["system1.driver=onnx", f"system1.checkpoint={folder}", "system1.replan_s=0.1"]
    return load("eval", [*driven, "engine=onnxruntime", "system2=scripted", "latency=none", *words])


def test_what_is_seen_is_fed_as_described_and_commands_come_in_the_worlds_order(
    tmp_path: Path,
) -> None:
    policy, told = make_system1(config(write(tmp_path / "net")), SPEC)
    image = np.full((16, 16, 3), 51, np.uint8)
    seen = observation(0, state=np.array([0.25, 2.0], np.float32), images={"eye": image})
    answer = policy.act(seen, None, 0)
    # where: ((2 - 1) / 2, 0.25); grey: 51 / 255; chunk: (vy, vx) = (0.2 - 0.5, 0.2 - 0.25)
    np.testing.assert_allclose(answer.action.commands, np.tile([-0.05, -0.15], (4, 1)), atol=1e-6)
    assert answer.action.uncertainty == pytest.approx(0.25 + 0.0625)
    assert answer.request is not None
    policy.reset(0)
    guided = policy.act(seen, msgspec.structs.replace(guidance(0), plan=0, z=np.zeros(0)), 0)
    np.testing.assert_allclose(guided.action.commands[0], [0.95, 0.35], atol=1e-6)
    assert guided.action.guidance_sequence == 7
    assert told["used"] == "onnxruntime"
    assert told["checked_on"].startswith("4 random inputs, against ONNX Runtime without optimisa")
    check_policy(policy, SPEC)


def test_what_is_recorded_beside_it_is_what_engines_are_compared_on(tmp_path: Path) -> None:
    folder = write(tmp_path / "net")
    policy, _ = make_system1(config(folder), SPEC)
    met = []
    for name, spec in policy._engine.inputs.items():
        met.append((name, np.ones(spec.shape, spec.dtype)))
    met = [{n: a for n, a in met if n != "noise"} for _ in range(3)]
    save_file(stacked(met), folder / "recorded.safetensors")
    choice = make_engine(config(folder), SPEC)
    assert choice.checked.startswith("3 recorded inputs, against")


def test_a_command_of_one_tick_is_held(tmp_path: Path) -> None:
    made = model()
    made.graph.output[0].type.tensor_type.shape.dim.pop(1)
    made.graph.node[-2].CopyFrom(onnx.helper.make_node("Identity", ["row"], ["chunk"]))
    held = {"outputs__chunk__shape": [1, 2], "outputs__chunk__hold_ticks": 3}
    policy, _ = make_system1(config(write(tmp_path / "a", changed(**held), made)), SPEC)
    assert policy.act(observation(0), None, 0).action.commands.shape == (3, 2)
    alone = write(tmp_path / "b", changed(outputs__chunk__shape=[1, 2]), made)
    with pytest.raises(
        DualsysError, match=r"commands 1 ticks at once.*2 ticks.*lower system1.repl"
    ):
        make_engine(config(alone), SPEC)


def test_a_policy_that_says_nothing_of_doubt_drives_and_is_not_waited_for(tmp_path: Path) -> None:
    made = model()
    del made.graph.output[1]
    folder = write(tmp_path / "net", changed(outputs__doubt=None), made)
    policy, _ = make_system1(config(folder), SPEC)
    assert np.isnan(policy.act(observation(0), None, 0).action.uncertainty)
    with pytest.raises(DualsysError, match="the policy onnx reports no uncertainty"):
        make_engine(config(folder, "trigger=uncertainty", "trigger.threshold=1"), SPEC)


def test_a_scale_becomes_an_entropy_in_the_worlds_units(tmp_path: Path) -> None:
    made = model()
    made.graph.node[-1].CopyFrom(onnx.helper.make_node("Identity", ["chunk"], ["doubt"]))
    made.graph.output[1].CopyFrom(made.graph.output[0])
    made.graph.output[1].name = "doubt"
    about = changed(outputs__doubt={"to": "scale", "shape": [1, 4, 2]})
    policy, _ = make_system1(config(write(tmp_path / "net", about, made)), SPEC)
    seen = observation(0, state=np.array([-1.0, 1.0], np.float32))
    unsure = policy.act(seen, msgspec.structs.replace(guidance(0), plan=0, z=np.zeros(0)), 0)
    # (vy, vx) = (1, 2) before their std of (0.5, 1): scales 0.5 and 2.
    assert unsure.uncertainty.entropy == pytest.approx(
        np.mean(np.log(2 * np.e * np.array([0.5, 2])))
    )


FOREIGN = [
    ({"control_rate_hz": 50.0}, "acts at 50 Hz, the world at 20 Hz"),
    (
        {"inputs__where__axes": {"x": "m", "z": "m"}},
        r"state axes x \[m\], z \[m\], the world has x",
    ),
    (
        {"inputs__where__axes": {"y": "cm", "x": "m"}},
        r"y \[cm\], x \[m\], the world has x \[m\], y \[m",
    ),
    ({"inputs__where__std": [0.0, 1.0]}, "std above zero"),
    ({"inputs__where__mean": [0.0, 1.0, 2.0]}, "one finite number each, or 2 of them"),
    ({"inputs__pixels__camera": "wrist"}, r"wants the camera 'wrist', the world has \['eye'\]"),
    (
        {"inputs__pixels__shape": [1, 3, 32, 32]},
        r"\(1, 3, 32, 32\) \(BCHW\), camera 'eye' gives \(1, 3, 1",
    ),
    ({"inputs__pixels__dtype": "uint8"}, "takes uint8, the pixels as they are"),
    ({"inputs__plan__plans": ["stay", "go"]}, r"knows the plans \['stay', 'go'\], the world has"),
    ({"inputs__plan__shape": [1, 3]}, r"plan of shape \(1, 3\), this world gives \(1, 2\)"),
    ({"outputs__chunk__axes": {"vy": "m/s"}}, r"for vy \[m/s\]; the world has 2 axes"),
    (
        {"outputs__chunk__axes": {"vy": "m/s", "vx": "rad/s"}},
        "give the names and units of the world",
    ),
    ({"outputs__chunk__shape": [1, 4, 3]}, r"shape \(1, 4, 3\).*\(1, T, 2\) was expected"),
    ({"outputs__chunk__hold_ticks": 0}, "hold_ticks 0, one is the least"),
    ({"outputs__doubt__to": "commands"}, "exactly one has to be commands"),
    ({"outputs__doubt__shape": [1, 4]}, r"an uncertainty of shape \(1, 4\), not one"),
    ({"outputs__doubt__to": "scale"}, r"shape \(1, 1\), the commands have \(1, 4, 2\)"),
]


@pytest.mark.parametrize(("parts", "words"), FOREIGN)
def test_a_description_of_another_world_is_refused_with_both_sides(
    parts: dict[str, Any], words: str, tmp_path: Path
) -> None:
    with pytest.raises(SpecMismatchError, match=words):
        described_in(write(tmp_path / "net", changed(**parts)), SPEC)


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"schema": "other/1"}, "no description of a policy: Invalid enum value 'other/1'"),
        ({"inputs__where__from": "module"}, r"Invalid enum value 'module'.*inputs"),
        ({"code": "import os"}, "unknown field `code`"),
        ({"model": "../net.onnx"}, r"names the model '../net.onnx'; the name of a file in"),
        ({"model": "other.onnx"}, "names the model 'other.onnx'"),
    ],
)
def test_a_file_that_is_no_description_is_refused(
    parts: dict[str, Any], words: str, tmp_path: Path
) -> None:
    with pytest.raises(DualsysError, match=words):
        described_in(write(tmp_path / "net", changed(**parts)), SPEC)


def test_what_is_missing_is_told(tmp_path: Path) -> None:
    with pytest.raises(DualsysError, match=f"{FILE} is missing: system1.driver=onnx needs"):
        make_engine(config(tmp_path), SPEC)
    with pytest.raises(DualsysError, match=r"system1.driver=onnx needs system1.checkpoint=DIR"):
        make_engine(load("eval", ["system1.driver=onnx"]), SPEC)
    for word, told in (("samples=4", "samples=4"), ("depth=fixed", "depth=fixed")):
        with pytest.raises(DualsysError, match=f"system1.{told} is of the network of dualsys"):
            make_engine(config(write(tmp_path / "net"), f"system1.{word}"), SPEC)
    with pytest.raises(
        DualsysError, match=r"torch has no module of it.*add onnxruntime to the list"
    ):
        make_engine(config(tmp_path / "net", "engine=torch"), SPEC)


def test_the_file_itself_may_be_named(tmp_path: Path) -> None:
    folder = write(tmp_path / "net")
    assert assembly.checkpoint_folder(config(folder / "net.onnx"), SPEC) == folder


def test_a_grey_camera_of_another_layout_fits(tmp_path: Path) -> None:
    """Two cameras, one channel, shapes with further ones in them."""
    spec = msgspec.structs.replace(SPEC, cameras=(*SPEC.cameras, CameraSpec("grey", 8, 4, 1)))
    about = changed(inputs__grey={"from": "image", "camera": "grey", "shape": [1, 1, 8, 4, 1]})
    described_in(write(tmp_path / "net", about), spec)


def prepared(folder: Path, cache: Path) -> Prepared:
    return Prepared(cache, network_of_file(folder, described_in(folder, SPEC), SPEC))


MADE = [
    (model(scale=float("nan")), DualsysError, "is not finite for a random input"),
    (model(noise=True), DualsysError, "draws numbers of its own; give it its noise as an input"),
]


@pytest.mark.parametrize(("made", "kind", "words"), MADE)
def test_a_network_that_is_no_measure_is_refused(
    made: onnx.ModelProto, kind: type[Exception], words: str, tmp_path: Path
) -> None:
    with pytest.raises(kind, match=words):
        assert prepared(write(tmp_path / "net", made=made), tmp_path / "cache").reference


def test_a_file_with_other_ports_than_described_is_refused_with_both_sides(tmp_path: Path) -> None:
    cases = [
        (
            changed(inputs__plan=None),
            model(),
            r"inputs of the model are pixels, where, plan, its de",
        ),
        (
            changed(),
            model(batch=2),
            r"'pixels' of the model is float32 \(2, 3, 16, 16\), its descri",
        ),
        (
            changed(inputs__plan__dtype="int64"),
            model(),
            r"'plan' .* float32 \(any, 2\), .* int64 \(1, 2",
        ),
    ]
    for number, (about, made, words) in enumerate(cases):
        folder = write(tmp_path / str(number), about, made)
        with pytest.raises(SpecMismatchError, match=words):
            prepared(folder, tmp_path / "cache")
    (tmp_path / "0/net.onnx").write_bytes(b"no model")
    (tmp_path / "0" / FILE).write_text(json.dumps(changed()))
    with pytest.raises(DualsysError, match="is no ONNX model that can be read"):
        prepared(tmp_path / "0", tmp_path / "cache")


def test_weights_beside_the_file_are_read_and_none_from_elsewhere(tmp_path: Path) -> None:
    folder = write(tmp_path / "net")
    given = {"all_tensors_to_one_file": True, "location": "net.data", "size_threshold": 0}
    onnx.save_model(model(), folder / "net.onnx", save_as_external_data=True, **given)
    found = prepared(folder, tmp_path / "cache")
    assert choose(["onnxruntime"], found, 1, build=True).engine.name == "onnxruntime"
    (folder / "net.data").rename(tmp_path / "net.data")
    broken = onnx.load(folder / "net.onnx", load_external_data=False)
    for tensor in broken.graph.initializer:
        tensor.external_data[0].value = "../net.data"
    (folder / "net.onnx").write_bytes(broken.SerializeToString())
    with pytest.raises(DualsysError, match="is no ONNX model that can be read"):
        prepared(folder, tmp_path / "cache")


def test_an_engine_that_differs_is_refused_by_the_name_of_the_measure(tmp_path: Path) -> None:
    found = prepared(write(tmp_path / "net"), tmp_path / "cache")
    reference = found.reference
    for outputs in reference.outputs:
        outputs["chunk"] = outputs["chunk"] + 1
    with pytest.raises(DualsysError, match="differs from ONNX Runtime without optimisation"):
        choose(["onnxruntime"], found, 1, build=True)
