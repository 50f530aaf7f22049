"""What we write ourselves, made once, and how it is read back: run folders, lists, pools, stores, small model files."""

import contextlib
import io
import json
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from fuzz_inputs import BEIR, FLAG, Found, Reader

MODEL = {
    "config.json": json.dumps({"model_type": "bert", "hidden_size": 32, "num_hidden_layers": 2, "vocab_size": 90,
                               "intermediate_size": 64, "max_position_embeddings": 128,
                               "architectures": ["BertModel"]}),
    "modules.json": json.dumps([{"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
                                {"idx": 1, "name": "1", "path": "1_Pooling", "type": "x.Router"}]),
    "1_Pooling/router_config.json": json.dumps({"types": {"query_0": "x.Transformer"}, "structure": {"query": ["0"]}}),
    "config_sentence_transformers.json": json.dumps({"prompts": {"query": "q: "}, "similarity_fn_name": "cosine"}),
    "sentence_bert_config.json": json.dumps({"max_seq_length": 64, "do_lower_case": False}),
    "tokenizer_config.json": json.dumps({"model_max_length": 128}),
    "adapter_config.json": json.dumps({"base_model_name_or_path": "base"}),
}  # fmt: skip


def files_below(folder: Path) -> dict[str, bytes]:
    """Return the files of a folder by name; locks and pictures are none."""
    every = sorted(path for path in folder.rglob("*") if path.is_file() and path.stat().st_size)
    return {str(path.relative_to(folder)): path.read_bytes() for path in every}


def made(make: Callable[[Path], Any]) -> dict[str, bytes]:
    with tempfile.TemporaryDirectory() as work, contextlib.redirect_stdout(io.StringIO()):
        make(Path(work))
        return files_below(Path(work))


def small(folder: Path) -> Any:
    """Return the small collection, imported below a folder."""
    from ance_tele.data.load import load_collection

    for name, content in BEIR.items():
        (folder / "source" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "source" / name).write_bytes(content)
    return load_collection(f"beir:{folder / 'source'}", folder / "cache")


# ---- collections, stores, lists ------------------------------------------------------------------


def imported(folder: Path, cache: Path) -> Found:
    from ance_tele.data.collection import Collection

    found = Collection.open(folder / "c")
    rows = [texts.table.to_pydict() for texts in (found.corpus, found.queries)]
    judged = {split: [qrels.owners.tolist(), qrels.passages.tolist()] for split, qrels in found.qrels.items()}
    answers = [found.answers.of(row) for row in range(len(found.queries))]
    given = [found.negatives.of(row)[0].tolist() for row in range(len(found.queries))]
    return Found(repr([rows, judged, answers, given, found.corpus.id_rank.tolist()]), {})


def _import(folder: Path) -> None:
    from ance_tele.store.manifests import Manifest

    collection = small(folder)
    manifest = collection.folder.with_name(f"{collection.folder.name}.manifest.json")
    content = json.loads(manifest.read_text())
    content["files"] = {f"c/{name.partition('/')[2]}": size for name, size in content["files"].items()}
    Manifest(**{name: value for name, value in content.items() if name != "checksum"}).save(folder / "c")
    collection.folder.rename(folder / "c")
    for below in ("source", "cache"):
        shutil.rmtree(folder / below)


def _lists(folder: Path) -> None:
    import numpy as np

    from ance_tele.mining.candidates import CandidateLists, Candidates
    from ance_tele.mining.pool import Pool
    from ance_tele.mining.storage import write_candidates, write_pool
    from ance_tele.runs.training_set import write_pairs
    from ance_tele.store.tables import write_parquet

    with tempfile.TemporaryDirectory() as work:
        collection = small(Path(work))
        queries, corpus, rows = collection.queries, collection.corpus, np.arange(2)
        offsets, passages = np.array([0, 3, 5]), np.array([0, 1, 2, 3, 1], dtype=np.int32)
        scores, ranks = np.arange(5, dtype=np.float32), np.array([1, 2, 3, 1, 2], dtype=np.int16)
        lists = CandidateLists(offsets, passages, scores, ranks)
        write_candidates(folder / "candidates.parquet", Candidates(rows, {"query": lists}), queries, corpus)
        codes = {name: np.zeros(5, dtype=np.uint8) for name in ("source", "origin")}
        pool = Pool(rows, offsets, passages, **codes, first=np.ones(5, dtype=np.uint8), ranks=ranks, scores=scores)
        write_pool(folder / "pool.parquet", pool, queries, corpus)
        write_pairs(folder / "positives.parquet", collection, rows, rows)
        import pyarrow as pa

        table = pa.table({"query_id": queries.take_ids(rows), "MRR@100": [0.5, 1.0]})
        write_parquet(table, folder / "per_training_query.parquet")


def lists(folder: Path, cache: Path) -> Found:
    import numpy as np

    from ance_tele.mining.storage import read_lists, read_pool
    from ance_tele.runs.learning import read_reciprocal_ranks
    from ance_tele.runs.training_set import read_pairs

    collection, rows = small(cache), np.arange(2)
    found = read_lists(folder / "candidates.parquet", rows, collection.queries, collection.corpus)
    pool = read_pool(folder / "pool.parquet", rows, collection.queries, collection.corpus)
    pairs = read_pairs(folder / "positives.parquet", collection)
    ranks = read_reciprocal_ranks(folder / "per_training_query.parquet")
    parts = (found.offsets, found.passages, found.scores, found.ranks, pool.offsets, pool.passages, pool.first, *pairs)
    return Found(repr([part.tolist() for part in (*parts, ranks)]), {})


def _arrays(folder: Path) -> None:
    import numpy as np

    np.save(folder / "offsets.npy", np.array([0, 3, 5]))
    np.save(folder / "ids.npy", np.arange(5, dtype=np.uint16))


def tokens(folder: Path, cache: Path) -> Found:
    import numpy as np

    from ance_tele.data.tokens import TokenStore

    store = TokenStore.open(folder, "key")
    return Found(repr([part.tolist() for part in store.padded(np.arange(len(store)))]), {})


def manifest(folder: Path, cache: Path) -> Found:
    from ance_tele.store.artefacts import build

    def make(target: Path) -> dict[str, Any]:
        target.write_text("content")
        return {"some": ["facts", 1.5, None]}

    (folder / "thing").write_text("content")
    made = build(folder / "thing", "thing", {"a": 1, "b": [1, 2], "c": {"d": "e"}}, make)
    return Found(repr([made.kind, made.inputs, made.facts, made.files]), {})


# ---- run folders ---------------------------------------------------------------------------------


def _run(folder: Path) -> None:
    for name, content in BEIR.items():
        (folder / "source" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "source" / name).write_bytes(content)
    run_again(folder)


def run_again(folder: Path) -> int:
    from ance_tele.cli.main import _main
    from ance_tele.console.log import log_to

    with log_to(lambda line: None), contextlib.redirect_stdout(io.StringIO()):
        return _main(
            ["run", "bm25", "--data", str(folder / "source"), "--out", str(folder / "run"), "--report_to", "[none]"]
        )


def resumed(folder: Path, cache: Path) -> Found:
    """Run the same command again, and read what it leaves."""
    import os

    os.environ["ANCE_TELE_CACHE"] = str(cache)
    run_again(folder)
    return reopened(folder, cache)


def reopened(folder: Path, cache: Path) -> Found:
    """Read a finished run as its report does, and open it as everything else does."""
    import os

    from ance_tele.report.load import read_run
    from ance_tele.runs.folder import open_run

    os.environ["ANCE_TELE_CACHE"] = str(cache)
    run = read_run(folder / "run")
    opened = open_run(folder / "run")
    return Found(repr([run.summary.final, opened.recipe.settings(), opened.collection.fingerprint]), {})


def _finished() -> Mapping[str, bytes]:
    every = made(_run)
    wanted = ("json", "yaml", "parquet", "trec")
    return {name: content for name, content in every.items() if name.endswith(wanted) or name.startswith("source/")}


# ---- models --------------------------------------------------------------------------------------


def facts(folder: Path, cache: Path) -> Found:
    """Read what plans and defaults read of a model."""
    from ance_tele.console.errors import UserError
    from ance_tele.encode.adapters import bare_adapter
    from ance_tele.encode.model_kinds import check_kind
    from ance_tele.plan.facts import ModelFiles, model_files
    from ance_tele.plan.hardware import model_shape

    files = ModelFiles(model_files(folder))
    found = [files.kind, files.width, files.most_tokens("query"), files.counter()(["a text"])]
    bare_adapter(folder)
    check_kind(str(folder))
    with contextlib.suppress(UserError):
        found.append(model_shape(folder))
    return Found(repr(found), {})


def hub(folder: Path, cache: Path) -> Found:
    import os

    from ance_tele.data.load import load_collection

    os.environ["HF_DATASETS_CACHE"] = str(cache)
    found = load_collection(f"hub:{folder}", cache)
    joined = sum(count for note, count in found.notes.items() if "rows joined" in note)
    return Found(found.fingerprint, {"train.jsonl": len(found.queries) + joined})


def own_readers() -> tuple[Reader, ...]:
    """Return the readers of what we write ourselves; the valid files are made now."""
    thing = made(lambda folder: manifest(folder, folder))
    return (
        Reader("imported collection", made(_import), imported, own=True),
        Reader("lists and pools", made(_lists), lists, own=True),
        Reader("token store", made(_arrays), tokens, own=True),
        Reader("manifest", {"thing.manifest.json": thing["thing.manifest.json"]}, manifest, own=True),
        Reader("model folder", {name: content.encode() for name, content in MODEL.items()}, facts, hints=True),
        Reader("finished run", _finished(), reopened, own=True),
        Reader("hub: of a folder", {"train.jsonl": FLAG["train.jsonl"]}, hub),
        Reader("run again", _finished(), resumed, own=True),
    )
