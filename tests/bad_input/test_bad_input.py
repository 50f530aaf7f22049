"""Every reader and every kind of broken file: read with everything accounted for, or refused in one sentence.

A sample of what ``benchmarks/fuzz.py`` runs by the thousand, without its processes and limits.
"""

import sys
from pathlib import Path
from random import Random

import pytest

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))  # its scripts import each other by name

import fuzz
from fuzz_inputs import READERS, Found, Reader
from fuzz_mutations import MUTATIONS


@pytest.fixture(scope="module")
def valid(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Found]:
    found = {}
    for reader in READERS:
        work = tmp_path_factory.mktemp("valid")
        for name, content in reader.files.items():
            (work / "data" / name).parent.mkdir(parents=True, exist_ok=True)
            (work / "data" / name).write_bytes(content)
        found[reader.name] = reader.read(work / "data", work / "cache")
    return found


@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.name)
def test_broken_files_are_read_whole_or_refused_in_a_sentence(
    reader: Reader, valid: dict[str, Found], tmp_path: Path
) -> None:
    counts = {"read": 0, "refused": 0}
    for place, mutation in enumerate(one for one in MUTATIONS if not one.heavy):
        file = Random(f"{reader.name} {mutation.name}").choice(sorted(reader.files))
        case = fuzz.Case(reader, mutation, file, place)
        content = fuzz.mutated(case)
        if content is None:
            continue
        work = tmp_path / str(place) / "case"
        work.mkdir(parents=True)
        found = fuzz.outcome(case, content, valid[reader.name], work)
        assert found in counts, f"{mutation.name} of {file}, seed {place}: {found}"
        counts[found] += 1
    # Parquet is refused throughout: every bit of so small a file counts.
    assert counts["refused"] and (counts["read"] or "Parquet" in reader.name), counts


def test_a_case_that_drops_a_line_in_silence_is_a_defect(tmp_path: Path) -> None:
    forgetful = Reader("forgetful", {"run.trec": b"a\nb\nc\n"}, lambda folder, cache: Found("", {"run.trec": 1}))
    again = next(one for one in MUTATIONS if one.name == "a line twice")
    found = fuzz.outcome(fuzz.Case(forgetful, again, "run.trec", 0), b"a\na\nb\n", Found("", {}), tmp_path / "case")
    assert found == "silent: 3 lines, 1 accounted for"


def test_a_case_that_fails_or_hangs_or_fills_the_memory_is_a_defect(monkeypatch: pytest.MonkeyPatch) -> None:
    def outcome_of(read: object) -> str:
        reader = Reader("bad", {"x.trec": b"a\n"}, read)  # type: ignore[arg-type]
        case = fuzz.Case(reader, MUTATIONS[0], "x.trec", 0)
        return fuzz.in_a_process(case, b"", Found("", {}))[0]

    monkeypatch.setattr(fuzz, "SECONDS", 1)
    monkeypatch.setattr(fuzz, "MEMORY", 1 << 28)

    def fails(folder: Path, cache: Path) -> Found:
        raise KeyError("x")

    def hangs(folder: Path, cache: Path) -> Found:
        while True:
            pass

    assert outcome_of(fails).startswith("KeyError")
    assert outcome_of(hangs) == "more than 1 s"
    assert outcome_of(lambda folder, cache: bytes(1 << 30)).startswith("MemoryError")
