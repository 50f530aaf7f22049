"""A plan on a machine without a GPU: its CPU is timed, and what was measured is named."""

import re
from pathlib import Path

import pytest
import torch

from ance_tele.cli.main import main
from ance_tele.plan.assumed import Assumed
from ance_tele.plan.hardware import GPU, Measured, ModelShape
from ance_tele.plan.plan import plan
from ance_tele.plan.this_cpu import this_cpu
from ance_tele.recipes import recipe

SHAPE = ModelShape(layers=2, hidden=64, intermediate=128, vocabulary=100)
STEADY = GPU("CPU with 3 threads", 0.1, 0.1, 8, 10, False, Measured(0.25, ((0, 0.5),), "here"), kind="CPU")


def test_a_layer_is_timed() -> None:
    found = this_cpu(SHAPE, 20, False)
    assert found.name == f"CPU with {torch.get_num_threads()} threads" and not found.bf16
    assert found.measured is not None and found.peak("auto") == found.peak("float32") > 1e8
    # a layer takes at least its products, and training thrice as many
    assert 0 < found.measured.training < 2 and 0 < found.measured.encoding[0][1] < 2


def test_its_time_is_the_work_by_the_measured_pace() -> None:
    for chosen in (recipe("dpr"), recipe("dpr").with_settings(precision="float32")):
        made = plan(chosen, 1_000, 50, 40, 10, SHAPE, STEADY)
        assert made.assumed.measured == "here"
        phase = made.of("encode corpus")[0]
        # each of two layers has 4 x 64 x 64 + 2 x 64 x 128 weights; a passage 100 tokens
        assert phase.flops == 1_000 * (2 * 2 * 32_768 * 100 + 4 * 2 * 64 * 100**2)
        assert phase.seconds == pytest.approx(phase.flops / (0.5 * 0.1e12))
    assert Assumed(1, 1).measured == ""


@pytest.fixture
def timed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ance_tele.plan.this_cpu.this_cpu", lambda *_: STEADY)


@pytest.mark.usefixtures("timed")
@pytest.mark.parametrize("there", [False, True])
def test_the_plan_says_whose_times_it_gives(
    there: bool, toy: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there)
    command = ["run", "ance-tele", f"--data={toy}", f"--model={tiny_model}", "--plan"]

    def shown(*more: str) -> str:
        assert main([*command, *more]) == 0
        return capsys.readouterr().out

    plain, cpu, other = shown(), shown("--gpu=CPU"), shown("--gpu=A100-80G")
    assert ("This machine has no GPU: these are times of its CPU" in plain) is not there
    assert ("on one CPU with 3 threads: " in plain) is not there
    assert "times of its CPU" in cpu and "One CPU with 3 threads: 0.1 TFLOP/s in float32." in cpu
    assert ("This machine has no GPU; the times are those of A100-80G." in other) is not there
    assert re.search(r"H100: \S+ \(share of its peak measured on an H100, with BERT-base\)", cpu)
    assert re.search(r"A100-40G: \S+ \(share of its peak assumed\)", cpu)
    assert "Time in all, on one" in cpu and "Hours in all" not in cpu


def test_a_cpu_is_planned_for_with_data_alone(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "marco", "--plan", "--gpu=cpu"]) == 2
    assert capsys.readouterr().err.endswith("H200, and cpu with --data.\n")
