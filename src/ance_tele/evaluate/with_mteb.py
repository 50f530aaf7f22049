"""Evaluation by mteb: its own tasks, and a collection of ours as a task, with the prompts and lengths of the model."""

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sentence_transformers import SentenceTransformer

from ance_tele.console.errors import UserError
from ance_tele.console.extras import install
from ance_tele.data.collection import Collection
from ance_tele.data.load import load_collection
from ance_tele.data.text_format import TextFormat
from ance_tele.encode.config import EncoderConfig
from ance_tele.encode.encoder import text_format, weights_fingerprint
from ance_tele.encode.loading import load_model, quiet
from ance_tele.evaluate.retrieval import qrels_dict
from ance_tele.store.fingerprints import fingerprint

OWNER = "ance-tele"


def evaluate_mteb(
    model: str | Path, tasks: Sequence[str | Collection], config: EncoderConfig, cache: Path | None = None
) -> dict[str, Mapping[str, float]]:
    """Evaluate a model on tasks of mteb, or on collections; return the metrics of each, by name of the task.

    Scores are cached under the model's name and the fingerprint of its weights, prompts and lengths, so that no other
    model, also of the same name, gets them.

    Args:
        model: Folder or hub name.
        tasks: Names of mteb's tasks; folders in BEIR layout, or collections.
        config: Prompts and lengths where they are not those that the model declares.
        cache: Folder of mteb's results; its own (``MTEB_CACHE``) by default.

    Raises:
        UserError: mteb is not installed or has no such task, or the model cannot be loaded.

    Example:
        >>> figures = evaluate_mteb("my-model", ["SciFact"], EncoderConfig())  # doctest: +SKIP
        >>> sorted(figures["SciFact"])  # doctest: +SKIP
        ['MRR@10', 'Recall@100', 'main score', 'nDCG@10']
    """
    mteb = _mteb()
    loaded = load_model(model, config)
    form = text_format(loaded, config, "document")
    chosen = [_task(mteb, one, form.title_separator) for one in tasks]
    wrapped = mteb.models.SentenceTransformerEncoderWrapper(loaded)
    wrapped.mteb_model_meta = described(wrapped.mteb_model_meta, loaded, Path(model).name)
    results = mteb.ResultCache(cache_path=cache) if cache is not None else mteb.ResultCache()
    with quiet():
        done = mteb.evaluate(wrapped, chosen, cache=results, co2_tracker=False, show_progress_bar=False)
    return {one.task_name: _means(one.scores) for one in done.task_results}


def described(meta: Any, model: SentenceTransformer, name: str) -> Any:
    """Return mteb's description of a model with a name of its own, and all that decides its vectors as revision.

    By itself mteb files every model that was loaded from a folder under one name, and gives the second the scores of
    the first.
    """
    lengths = [
        [getattr(one, key, None) for key in ("max_seq_length", "query_length", "document_length")] for one in model
    ]
    decides = [weights_fingerprint(model), dict(model.prompts or {}), lengths, model.similarity_fn_name]
    decides += [repr(model), model.truncate_dim]
    return meta.model_copy(update={"name": f"{OWNER}/{name}", "revision": fingerprint(decides)[:40]})


def _mteb() -> Any:
    try:
        mteb = importlib.import_module("mteb")
    except ImportError:
        raise UserError(f"--mteb needs the package mteb, which is not installed: {install('mteb')}.") from None
    if int(str(getattr(mteb, "__version__", "2")).partition(".")[0]) < 2:
        raise UserError(f"mteb {mteb.__version__} is installed; version 2 is needed: {install('mteb')}.")
    return mteb


def _task(mteb: Any, task: str | Collection, separator: str) -> Any:
    """Return a task of mteb by its name, or of a collection."""
    if isinstance(task, Collection):
        return collection_task(task, separator)
    if Path(task).exists():
        return collection_task(load_collection(task), separator)
    try:
        return mteb.get_task(task)
    except KeyError:
        raise UserError(
            f"mteb has no task {task}, and there is no such folder; `mteb available-tasks` lists them."
        ) from None


def collection_task(collection: Collection, separator: str = " ", split: str | None = None) -> Any:
    """Return a collection as a retrieval task of mteb.

    Titles are joined to their texts as the model was trained, by its separator.

    Args:
        collection: Corpus, queries, judgements.
        separator: Between title and text.
        split: Which judgements; test, or dev if there is none.
    """
    retrieval = importlib.import_module("mteb.abstasks.retrieval")
    metadata = importlib.import_module("mteb.abstasks.task_metadata").TaskMetadata
    datasets = importlib.import_module("datasets")
    split = split or collection.usual_split
    qrels, table = collection.split(split), collection.corpus.table
    joined = TextFormat(title_separator=separator).render(table["title"].to_pylist(), table["text"].to_pylist())
    asked = collection.queries.table.take(qrels.queries)
    queries = {name: asked[name].to_pylist() for name in ("id", "text")}
    judged: dict[str, dict[str, int]] = {one: {} for one in queries["id"]}  # those without a judgement too
    judged |= qrels_dict(qrels, collection)
    data = {
        "corpus": datasets.Dataset.from_dict({"id": table["id"].to_pylist(), "text": joined}),
        "queries": datasets.Dataset.from_dict(queries),
        "relevant_docs": judged,
        "top_ranked": None,
    }

    class CollectionTask(retrieval.AbsTaskRetrieval):  # type: ignore[name-defined]
        """A collection that is in memory."""

        ignore_identical_ids = True

        def load_data(self, *args: Any, **kwargs: Any) -> None:
            """Take the collection."""
            self.dataset, self.data_loaded = {"default": {split: data}}, True

    name = "".join(part.capitalize() for part in collection.name.replace(".", "-").split("-")) or "Collection"
    CollectionTask.metadata = metadata(
        name=f"{name}{collection.fingerprint[:8]}",
        dataset={"path": f"local/{collection.name}", "revision": collection.fingerprint},
        description=f"The collection {collection.name}, split {split}.",
        reference=None,
        type="Retrieval",
        category="t2t",
        modalities=["text"],
        eval_splits=[split],
        eval_langs=["eng-Latn"],
        main_score="ndcg_at_10",
        date=None,
        domains=None,
        task_subtypes=None,
        license=None,
        annotations_creators=None,
        dialect=None,
        sample_creation=None,
        bibtex_citation="",
    )
    return CollectionTask()


_SHOWN = {"mrr_at_10": "MRR@10", "ndcg_at_10": "nDCG@10", "recall_at_100": "Recall@100"}


def _means(scores: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, float]:
    """Return metrics by our names, means over the subsets of a task; its main score is there whatever it is."""
    parts = [subset for split in scores.values() for subset in split]
    names = {**_SHOWN, "main_score": "main score"}
    return {
        shown: sum(float(part[name]) for part in parts) / len(parts)
        for name, shown in names.items()
        if parts and all(name in part for part in parts)
    }
