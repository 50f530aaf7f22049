"""Seconds by phase of finished runs, side by side: before and after a change, or two machines.

    python benchmarks/phases.py RUN [RUN ...]

Read from the manifests of the run folders, summed over episodes; nothing is run. In brackets: speed-up against the
first run. Adopted artefacts count with their original times. (Not named `profile.py`, since torch imports Python's
module of that name.)
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from common import markdown

from ance_tele.console.errors import UserError
from ance_tele.store.files import read_json
from ance_tele.store.manifests import Manifest, read_manifest

# Phase: its artefacts in a run folder, and which of their facts holds the seconds, if it is not the manifest.
PHASES: Mapping[str, tuple[tuple[str, str | None], ...]] = {
    "encode": (("episode-*/evaluation", "encode_seconds"),),
    "search": (("episode-*/training_lists", None),),
    "mine + mix": (("episode-*/candidates.parquet", None), ("episode-*/pool.parquet", None)),
    "train": (("episode-*/model", None),),
    "evaluate": (("episode-*/evaluation", "search_seconds"), ("final/evaluation", None)),
    "BM25": (("bm25/evaluation", None),),
    "look back": (("episode-*/dynamics.json", None), ("analysis", None)),
}


def phases(run: Path) -> dict[str, float]:
    """Return seconds by phase of a run; 0 for a phase without artefacts.

    Raises:
        UserError: The folder is no run, or none of its phases is finished.
    """
    found = {name: sum(_seconds(run, *of) for of in parts) for name, parts in PHASES.items()}
    if not any(found.values()):
        raise UserError(f"{run} holds no finished phase; give the folder of a run.")
    return {**found, "all": sum(found.values())}


def _seconds(run: Path, pattern: str, fact: str | None) -> float:
    ending = ".manifest.json"
    paths = [path.with_name(path.name.removesuffix(ending)) for path in sorted(run.glob(pattern + ending))]
    manifests = [manifest for manifest in map(read_manifest, paths) if manifest is not None]
    return sum(_taken(manifest, fact) for manifest in manifests)


def _taken(manifest: Manifest, fact: str | None) -> float:
    return manifest.seconds if fact is None else float(manifest.facts[fact])


def what(run: Path) -> str:
    """Return one line on a run: recipe, collection, model, sizes, machine."""
    summary: dict[str, Any] = read_json(run / "summary.json")
    data, steps = summary["data"], [episode["steps"] for episode in summary["episodes"]]
    where = summary["environment"]
    sizes = f"{data['passages']:,} passages, {data['training_queries_used']:,} training queries, steps {steps}"
    names = f"{summary['recipe']}, {summary['collection']}, {summary['model']}"
    return f"{names}; {sizes}; {where['machine']}, torch {where['packages']['torch']}"


def side_by_side(names: Sequence[str], found: Sequence[Mapping[str, float]]) -> str:
    """Return the table: a row per phase, a column per run, speed-ups against the first."""
    rows = []
    for phase in found[0]:
        first, cells = found[0][phase], []
        for place, one in enumerate(found):
            ratio = f" ({first / one[phase]:.2f})" if place and first and one[phase] else ""
            cells.append(f"{one[phase]:,.1f} s{ratio}" if one[phase] else "")
        rows.append((phase, *cells, f"{first / found[0]['all']:.0%}"))
    return markdown(("phase", *names, "share of the first"), rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN")
    given = parser.parse_args()
    try:
        shown = [what(run) for run in given.runs]
        found = [phases(run) for run in given.runs]
    except UserError as error:
        sys.exit(f"phases.py: {error}")
    print("\n".join(f"{number}: {line}" for number, line in enumerate(shown, 1)))
    print(side_by_side([f"{number}: {run.name}" for number, run in enumerate(given.runs, 1)], found))


if __name__ == "__main__":
    main()
