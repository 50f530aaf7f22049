"""The verb `export`: vectors into a vector database, or files; a model as ONNX."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from ance_tele.cli.common import HINTS, LENIENT, echo
from ance_tele.cli.dry import shown
from ance_tele.cli.flags import Flag, Given, Result, Verb, switch
from ance_tele.cli.measuring import EXPANSION_FLAGS, encoder_config, expanded
from ance_tele.cli.setting_flags import setting_flags
from ance_tele.console.errors import UserError, unknown
from ance_tele.console.garbage import importing
from ance_tele.console.numbers import duration
from ance_tele.encode.config import EncoderConfig
from ance_tele.paper.settings import start_of

KINDS = ("vectors", "onnx")


def export_verb(given: Given) -> Result:
    """Export vectors, and print what the engine finds of our best passages and how to ask it."""
    _check(given)
    if given.what == "onnx":
        return _onnx(given)
    from ance_tele.export.check import explained

    with importing():  # loads torch
        from ance_tele.export.vectors import DEPTH, export_vectors

    names = ("episode", "best", "vectors", "table", "replace")
    options = {name: getattr(given, name) for name in names if getattr(given, name) is not None}
    done = export_vectors(**_source(given), to=given.to, **options, texts=not given.no_texts, index=not given.no_index)
    there = f", {done.passages - done.written:,} of them before" if done.written < done.passages else ""
    echo(f"{done.to}: {done.passages:,} passages in '{done.table}'{there} ({duration(done.seconds)})")
    by_index = f" / {done.approximate.share:.1%} by the index" if done.approximate else ""
    echo(f"{done.queries:,} queries, top {DEPTH}: {done.exact.share:.1%} the same{by_index}")
    for one, index in ((done.exact, None), (done.approximate, done.index)):
        for line in explained(one, index) if one else ():
            echo(f"  {line}")
    echo(f"\n{done.code}")
    return vars(done)


def _check(given: Given) -> None:
    """Refuse flags of another kind of export, and what is missing."""
    if given.what not in KINDS:
        raise UserError(unknown("export", given.what, KINDS))
    idle = _ONNX if given.what == "vectors" else _VECTORS
    if wrong := [name for name in idle if getattr(given, name)]:
        raise UserError(f"export {given.what} takes no --{', --'.join(wrong)}; see ance-tele export --help.")
    if given.what == "vectors" and not (given.source and given.to):
        raise UserError("export vectors takes a run or a model, and where to: export vectors RUN --to qdrant:FOLDER.")
    if given.what == "onnx" and not (given.source and given.out):
        raise UserError("export onnx takes a run or a model, and a new folder: export onnx RUN --out DIR.")


def export_dry(given: Given) -> Result:
    """Print what `export` would write."""
    _check(given)
    if given.what == "onnx":
        return {"would_make": [shown("model", given.out)]}
    from ance_tele.export.choose import engine_of, kept_in

    place = engine_of(given.to)[1]
    return {"would_make": [shown("vectors", place, at=kept_in(place))]}


def _onnx(given: Given) -> Result:
    with importing():  # loads torch
        from ance_tele.export.onnx_model import export_onnx

    source = given.source
    chosen = _source(given) if given.data is not None else {"source": _fetched(source)}
    if given.data is None and not (Path(chosen["source"]) / "run.json").is_file():
        model = str(start_of(source))
        chosen = {"source": model, "config": encoder_config(model, given.settings)}
    names = ("episode", "best", "int8", "openvino")
    done = export_onnx(**chosen, out=given.out, **{name: getattr(given, name) for name in names})
    for name in done.files:
        echo(str(done.out / name))
    for line in done.lines():
        echo(f"  {line}")
    return vars(done)


def _fetched(source: str) -> Path:
    from ance_tele.runs.working_copy import fetched

    return Path(fetched(source))


def _source(given: Given) -> dict[str, Any]:
    """Return run or model, data and settings, as :func:`export_vectors` takes them."""
    from ance_tele.data.load import load_collection
    from ance_tele.runs.working_copy import fetched

    run = fetched(given.source)
    if given.data is None or (Path(run) / "run.json").is_file():
        if given.settings:
            raise UserError(f"The run's own settings hold; leave out --{', --'.join(sorted(given.settings))}.")
        return {"source": run, "data": given.data}
    model = str(start_of(given.source))
    collection = expanded(load_collection(given.data, strict=not given.lenient), given.settings)
    return {"source": model, "data": collection, "config": encoder_config(model, given.settings)}


# Flags of one kind of export alone.
_ONNX = ("out", "int8", "openvino")
_VECTORS = ("to", "table", "vectors", "no_texts", "no_index", "replace")

EXPORT = Verb(
    export_verb,
    "Write vectors into a vector database or files, or a model as ONNX. Titles and texts come along; the ten best "
    "passages of 100 queries are compared with ours; the same command resumes. ONNX: what 8 bits lose is measured.",
    "vectors RUN|MODEL --to PLACE [--data DATA] [--episode N | --best], or export onnx RUN|MODEL --out DIR [--int8]",
    [
        *(
            replace(flag, heading="Most used")
            for flag in (
                Flag("what", "vectors, or onnx", words=KINDS),
                Flag("source", "a run folder or its URL; or folder or hub name of a model, with --data"),
                Flag(
                    "--to",
                    "a folder; qdrant://HOST:6333, qdrant:FOLDER; postgresql://USER@HOST/DATABASE; lancedb:FOLDER; "
                    "milvus:FILE.db",
                ),
                Flag("--data", "of a model: " + HINTS["data"] + ". Of a run: where it lies now"),
                Flag("--episode", "of a run: which one, 0 is the initial model; the last one", int | None),
                switch("--best", "of a run: the checkpoint with the highest metric on its split"),
                Flag("--table", "name of the table or collection; passages"),
                switch("--no_texts", "leave titles and texts out"),
                switch("--no_index", "leave the approximate index out"),
                switch("--replace", "delete an export of other vectors that is there"),
                Flag("--out", "onnx: a new folder"),
                switch("--int8", "onnx: weights of 8 bits too, and what they lose"),
                switch("--openvino", "onnx: an OpenVINO model too"),
            )
        ),
        *(
            replace(flag, heading="More")
            for flag in (
                Flag("--vectors", "of a model: folder that `ance-tele encode` has filled"),
                LENIENT,
                *EXPANSION_FLAGS,
            )
        ),
        *setting_flags(EncoderConfig(), "Encoding").values(),
    ],
    export_dry,
)
