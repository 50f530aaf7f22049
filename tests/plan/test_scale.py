"""The page on scale: its tables are what the code computes, its commands are understood."""

import re
import shlex
from pathlib import Path

import pytest

from ance_tele.cli.flags import parse
from ance_tele.cli.verbs import VERBS
from ance_tele.plan.plan import plan_benchmark
from ance_tele.plan.scale import QUERIES, break_even, by_corpus, by_gpus, projections
from ance_tele.recipes import recipe

PAGE = (Path(__file__).parents[2] / "docs" / "scale.md").read_text("utf-8")
SCRIPTS = "\n".join(re.findall(r"^```sh\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)).replace("\\\n", " ")
INLINE = re.findall(r"`(ance-tele \w+ [^`]*DATA[^`]*)`", PAGE)
COMMANDS = [line for line in [*SCRIPTS.splitlines(), *INLINE] if "ance-tele " in line]


@pytest.mark.parametrize("line", COMMANDS)
def test_its_commands_are_understood(line: str) -> None:
    words = shlex.split(line, comments=True)
    verb, *rest = words[words.index("ance-tele") + 1 :]
    given = parse(verb, VERBS[verb], rest)
    assert not hasattr(given, "unit_count") or given.unit_count is None
    assert given.plan or given.data == "DATA" if verb == "run" else given.data == "DATA"


def test_its_commands_are_found() -> None:
    assert len(COMMANDS) >= 10 and {"torchrun", "accelerate", "srun"} <= {line.split()[0] for line in COMMANDS}


def test_its_tables_are_computed() -> None:
    assert by_corpus() in PAGE and by_gpus() in PAGE


def test_its_sentences_hold() -> None:
    marco, wikipedia, billion = (one.made for one in projections())
    assert 0.9e6 < break_even(marco) < 0.95e6 and 1.5e6 < break_even(wikipedia) < 1.6e6
    assert break_even(billion) == pytest.approx(break_even(marco), rel=0.02), "however large the corpus"
    assert billion.gpu_memory["searching"] == marco.gpu_memory["searching"] < 7 * 2**30
    assert round(billion.passages / marco.passages) == 113 and marco.train_queries == QUERIES
    assert 4e-6 * marco.shape.parameters == pytest.approx(438, abs=0.5)
    one, two = (plan_benchmark(recipe("marco"), "marco", gpu="H100", processes=8, nodes=nodes) for nodes in (1, 2))
    assert two.seconds > one.seconds and two.of("encode corpus")[0].seconds < one.of("encode corpus")[0].seconds
