"""Planners of published sizes: as large as their projects say, and timed stage by stage."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
import torch

from dualsys import cli
from dualsys.bench import planner_bench
from dualsys.system2 import published
from dualsys.system2.published import PUBLISHED, PublishedPlanner

TINY = {
    "vision_config": {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1,
                      "num_attention_heads": 2, "image_size": 32, "patch_size": 8},
    "text_config": published._llama(16, 32, 2, 2, 1, 64),
    "scale_factor": 2,
}  # fmt: skip


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setitem(published._SMOLVLM, "tiny", TINY)
    for module in (published, planner_bench):
        monkeypatch.setattr(module, "PUBLISHED", (*PUBLISHED, "tiny"))
    return "tiny"


@pytest.mark.parametrize(
    ("name", "millions"),
    [("smolvlm-256m", 256), ("smolvlm-500m", 507), ("smolvlm-2.2b", 2247), ("qwen2.5-vl-3b", 3755)],
)
def test_sizes_are_the_published_ones(name: str, millions: int) -> None:
    model = published._built(name, published._config(name), "meta", torch.bfloat16)
    assert round(sum(p.numel() for p in model.parameters()) / 1e6) == millions


@torch.inference_mode()
def test_an_answer_leaves_the_prefix_as_it_was(tiny: str) -> None:
    planner = PublishedPlanner(tiny, "cpu", torch.float32, 5)
    assert planner.prompt.shape == (1, 4 + 5), "four tokens of the picture, five of text"
    read = planner.read()
    first = planner.say(read, 4)
    assert read.past_key_values.get_seq_length() == 9
    assert torch.equal(planner.say(read, 4), first)
    assert torch.equal(planner.say(read, 1), first[:, :1])


def test_every_stage_is_timed_and_what_does_not_work_is_told(
    tiny: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["planners=[tiny]", "planner_modes=[cuda-graph,onnxruntime,tensorrt]", "prompt_words=6"]
    words += ["planner_rounds=2", "planner_device=cpu", "scenario=driving/merge", f"out={tmp_path}"]
    with pytest.raises(SystemExit) as ended:
        cli.main(["bench-engine", *words])
    assert ended.value.code == 0
    (found,) = msgspec.json.decode((tmp_path / "planners.json").read_bytes())["planners"]
    assert list(found["stages"]) == [
        "vision tower",
        "prefix",
        "1 candidates",
        "5 candidates",
        "answer of 8 tokens",
        "answer of 64 tokens",
    ]
    assert all(row["eager"]["p50_ms"] > 0 for row in found["stages"].values())
    assert found["refused"]["prefix, cuda-graph"] == "CUDA graphs need a GPU, there is none"
    assert found["refused"]["answer of 8 tokens, onnxruntime"] == "answers are decoded in torch"
    assert found["refused"].keys() >= {f"{s}, tensorrt" for s in ("vision tower", "prefix")}
    for stage in ("vision tower", "prefix", "1 candidates", "5 candidates"):
        assert found["stages"][stage]["onnxruntime"]["p50_ms"] > 0
    assert found["five_over_one"] > 0
    assert "five candidates over one" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("planners=[smolvlm-2b]", "unknown planner 'smolvlm-2b'. Did you mean 'smolvlm-2.2b'"),
        ("planner_modes=[fast]", "unknown planner mode 'fast'"),
        ("planner_rounds=0", "planner_rounds can be 1 or more"),
    ],
)
def test_wrong_words_are_one_clear_line(
    word: str, said: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    words = ["scenario=driving/merge", "planners=[smolvlm-256m]", f"out={tmp_path}", word]
    with pytest.raises(SystemExit) as ended:
        cli.main(["bench-engine", *words])
    assert ended.value.code == 2
    assert said in capfd.readouterr().err
