"""The run folder as a whole: whose it is, and what its per-query figures say beside each other."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from ance_tele.data.artefacts import SCHEMA, read_json, write_json
from ance_tele.data.collection import Collection
from ance_tele.data.errors import UserError
from ance_tele.evaluate.statistics import permutation_test
from ance_tele.phases import FREE_SETTINGS, Phases
from ance_tele.recipes import Recipe


@contextmanager
def claim(
    out: Path, recipe: Recipe, collection: Collection, model: str | Path | None, data: str | Path | None, phases: Phases
) -> Iterator[None]:
    """Hold a run folder while a run is at work in it; write, or check, what it is the folder of.

    Raises:
        UserError: Another process works in it; or it was begun with other settings, data or model.
    """
    if out.exists() and not out.is_dir():
        raise UserError(f"{out} is a file; --out takes a folder, new or of the same run.")
    if out.is_dir() and any(out.iterdir()) and not (out / "run.json").exists() and not _only_lock(out):
        raise UserError(f"{out} is not empty and holds no run; give --out a new folder.")
    out.mkdir(parents=True, exist_ok=True)
    with _locked(out):
        settings = _plain(recipe.settings())
        identity = {
            "schema": SCHEMA,
            "recipe": recipe.name,
            "data": relative(data, out),
            "model": relative(model, out),
            "fingerprints": {
                "data": collection.fingerprint,
                "model": phases.weights(0) if model is not None else None,
            },
        }
        if (out / "run.json").exists():
            _same(out, identity, settings)
        text = yaml.safe_dump({"recipe": recipe.name, **settings}, sort_keys=False, allow_unicode=True)
        (out / "config.yaml").write_text("# The resolved settings of this run; give it back with --config.\n" + text)
        write_json(out / "run.json", identity)
        yield


def _only_lock(out: Path) -> bool:
    return all(path.name in (".lock", "config.yaml") or path.name.startswith(".run.json") for path in out.iterdir())


@contextmanager
def _locked(out: Path) -> Iterator[None]:
    import fcntl

    with (out / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UserError(f"Another process is at work in {out}; wait for it, or give another --out.") from None
        yield


def _same(out: Path, identity: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
    before = read_json(out / "run.json")
    old = yaml.safe_load((out / "config.yaml").read_text("utf-8"))
    differ = [
        f"{name} was {old.get(name)!r}, is {value!r}"
        for name, value in {"recipe": identity["recipe"], **settings}.items()
        if name not in FREE_SETTINGS and old.get(name) != value
    ]
    for what in ("data", "model"):
        was, now = before["fingerprints"][what], identity["fingerprints"][what]
        if was != now:
            differ.append(f"the {what} was {before[what]} ({str(was)[:12]}), is {identity[what]} ({str(now)[:12]})")
    if differ:
        raise UserError(
            f"{out} holds a run of another configuration ({'; '.join(differ)}); give another --out, or the same "
            "configuration to go on."
        )


def relative(path: str | Path | None, out: Path) -> str | None:
    """Return a path relative to the run folder; a name that is no path stays as it is."""
    if path is None or not Path(path).exists():
        return None if path is None else str(path)
    return os.path.relpath(Path(path).resolve(), out.resolve())


def resolve(name: str, out: Path) -> str:
    """Turn what :func:`relative` wrote back into a path, or a name."""
    path = out / name
    return str(path) if path.exists() else name


def _plain(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {name: list(value) if isinstance(value, tuple) else value for name, value in settings.items()}


def comparisons(out: Path, episodes: int, baselines: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Compare the last episode with each baseline on MRR@10, query by query (paired permutation test)."""
    import pyarrow.parquet as pq

    if not episodes:
        return []
    found = []
    last = pq.read_table(out / f"episode-{episodes}" / "per_query.parquet")
    for name in baselines:
        folder = "bm25" if name == "bm25" else "episode-0"
        other = pq.read_table(out / folder / "per_query.parquet")
        a, b = last["MRR@10"].to_numpy(), other["MRR@10"].to_numpy()
        row = {"system": f"episode {episodes}", "baseline": name, "metric": "MRR@10"}
        found.append({**row, "difference": float((a - b).mean()), "p": permutation_test(a, b)})
    return found
