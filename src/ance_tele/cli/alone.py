"""The verbs `encode` and `retrieve`: a corpus to vectors, queries over them, in as many parts as there are machines."""

from dataclasses import replace
from pathlib import Path

from ance_tele.cli.common import ADDRESS, ENGINE, HINTS, LENIENT, PROCESSES, echo
from ance_tele.cli.dry import shown, would_write
from ance_tele.cli.flags import Flag, Given, Result, Verb
from ance_tele.cli.measuring import EXPANSION_FLAGS, echo_scores, encoder_config, expanded, writable
from ance_tele.cli.setting_flags import setting_flags
from ance_tele.console.errors import UserError
from ance_tele.console.garbage import importing
from ance_tele.console.numbers import counted
from ance_tele.encode.config import EncoderConfig
from ance_tele.engine.array import ArrayTask
from ance_tele.engine.choose import executor_for, serve_other_ranks
from ance_tele.evaluate.config import EvaluateConfig
from ance_tele.paper.settings import start_of


def encode_verb(given: Given) -> Result:
    """Encode a corpus, or the part of it that falls to this task of an array."""
    from ance_tele.data.load import load_collection

    _require(given, model="folder or hub name", data=HINTS["data"], out=_FOLDER)
    task = ArrayTask.of(given.unit_index, given.unit_count)
    config = encoder_config(given.model, given.settings)
    if serve_other_ranks():
        return None
    collection = expanded(load_collection(given.data, strict=not given.lenient), given.settings)

    with importing():  # loads torch
        from ance_tele.evaluate.alone import encode_part

    folder = Path(given.out)
    with executor_for(given.processes, given.engine, given.address) as executor:
        found = encode_part(start_of(given.model), collection, config, folder, task, executor)
    own = (
        ""
        if task is None
        else f"task {task.index} of {task.count}: {counted(found.own, 'shard', 'shards')} of its own done; "
    )
    echo(f"{own}{found.done:,} of {found.units:,} shards of {len(collection.corpus):,} passages are in {folder}")
    return {"vectors": folder, **vars(found)}


def encode_dry(given: Given) -> Result:
    """Print how many shards `encode` would fill, and how many are there."""
    from ance_tele.data.load import load_collection

    _require(given, model="folder or hub name", data=HINTS["data"], out=_FOLDER)
    config = encoder_config(given.model, given.settings)
    passages = len(load_collection(given.data, strict=not given.lenient).corpus)
    there, shards = len(list(Path(given.out).glob("*.npy"))), -(-passages // config.shard_passages)
    found = shown("vectors", given.out, passages=passages, shards=shards, of_them_there=there)
    return {"would_make": [found]}


def retrieve_verb(given: Given) -> Result:
    """Search an encoded corpus for the queries of a split, or do the part that falls to this task of an array."""
    from ance_tele.data.load import load_collection

    _check_retrieve(given)
    task = ArrayTask.of(given.unit_index, given.unit_count)
    config = encoder_config(given.model, given.settings)
    if serve_other_ranks():
        return None
    collection = expanded(load_collection(given.data, strict=not given.lenient), given.settings)
    split = given.settings.get("split") or collection.usual_split

    with importing():  # loads torch
        from ance_tele.evaluate.alone import retrieve_part
    from ance_tele.evaluate.evaluation import Evaluation
    from ance_tele.store.files import atomic

    names = ("relevance_level", "exclude_self")
    chosen = {name: given.settings[name] for name in names if name in given.settings}
    on = Evaluation.of(EvaluateConfig(split, eval_depth=given.depth, **chosen), collection)
    what = (start_of(given.model), collection, on.qrels.queries, on.search_depth, config, Path(given.vectors))
    with executor_for(given.processes, given.engine, given.address) as executor:
        progress, found = retrieve_part(*what, task, executor)
    if task is not None:
        own = f"task {task.index} of {task.count}: {counted(progress.own, 'part', 'parts')} of its own done"
        echo(f"{own}; {progress.done:,} of {progress.units:,} parts are in {given.vectors}")
    if found is None:
        echo("when all are, the last task, or this command outside the array, merges them")
        return {"run_file": None, **vars(progress)}
    run, scores = on.measure(found)
    out = Path(given.out)
    with atomic(out) as temporary:
        run.write_trec(temporary, given.model)
    echo(f"all parts are merged: {out}")
    return {"run_file": out, **vars(progress), **echo_scores(given.model, collection, split, scores)}


def _check_retrieve(given: Given) -> None:
    _require(given, model="folder or hub name", data=HINTS["data"], vectors=_ENCODED, out=_RUN)
    writable("out", given.out)
    if given.depth < 1:
        raise UserError(f"depth is {given.depth}; it must be at least 1.")


def _require(given: Given, **hints: str) -> None:
    for name, hint in hints.items():
        if not getattr(given, name):
            raise UserError(f"{'the model' if name == 'model' else f'--{name}'} is missing: {hint}.")


_FOLDER = "folder of the vectors, which all tasks reach"
_ENCODED = "folder that `ance-tele encode` has filled; partial lists are written there"
_RUN = "file of the TREC run"
_PARTS = (
    Flag("--unit_index", "which part this is, from 0; by default that of a Slurm array", int | None),
    Flag("--unit_count", "of how many parts; by default the tasks of a Slurm array", int | None),
    PROCESSES,
)
_MORE = (
    ENGINE,
    ADDRESS,
    LENIENT,
)
_MODEL = Flag("model", "folder or hub name of a model")
_EVALUATION = setting_flags(EvaluateConfig())
_ENCODING = setting_flags(EncoderConfig(), "Encoding").values()


def _headed(*flags: Flag, heading: str) -> list[Flag]:
    return [replace(flag, heading=heading) for flag in flags]


ENCODE = Verb(
    encode_verb,
    "Encode a corpus into vectors on disk, alone or as one of many tasks. Shards that are there are not encoded again.",
    "MODEL --data DATA --out FOLDER [--unit_index I --unit_count N] [settings]",
    [
        *_headed(
            _MODEL,
            Flag("--data", HINTS["data"]),
            Flag("--out", _FOLDER),
            *_PARTS,
            heading="Most used",
        ),
        *_headed(*_MORE, *EXPANSION_FLAGS, heading="More"),
        *_ENCODING,
    ],
    encode_dry,
)

RETRIEVE = Verb(
    retrieve_verb,
    "Search an encoded corpus for the queries of a split, alone or as one of many tasks. The result is a TREC run.",
    "MODEL --data DATA --vectors FOLDER --out FILE [--split SPLIT] [--unit_index I --unit_count N] [settings]",
    [
        *_headed(
            _MODEL,
            Flag("--data", HINTS["data"]),
            Flag("--vectors", _ENCODED),
            Flag("--out", _RUN),
            replace(_EVALUATION["split"], help="which split", default="test, or dev if there is none"),
            Flag("--depth", "passages for each query", int, EvaluateConfig().eval_depth),
            *_PARTS,
            heading="Most used",
        ),
        *_headed(*_MORE, *EXPANSION_FLAGS, heading="More"),
        _EVALUATION["relevance_level"],
        _EVALUATION["exclude_self"],
        *_ENCODING,
    ],
    would_write("TREC run", "out", _check_retrieve),
)
