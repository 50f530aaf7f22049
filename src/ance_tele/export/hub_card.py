"""The card of an uploaded model: metadata for the hub, what was measured and forgotten, and the versions."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import EvalResult, ModelCard, ModelCardData
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id

from ance_tele.data.languages import LANGUAGES
from ance_tele.runs.identity import read_identity
from ance_tele.runs.summary import Summary

TAGS = ("sentence-transformers", "sentence-similarity", "feature-extraction", "dense-retrieval", "ance-tele")
_HEAD = re.compile(r"\A---\n(.*?)\n---\n", re.DOTALL)


def hub_card(folder: Path, run: Path | None, episode: int | None, to: str) -> str:
    """Return the card of a model: that in its folder with the hub's metadata, and the figures of its run, if any.

    Args:
        folder: The model.
        run: The run that it is of.
        episode: Its episode.
        to: The repository, for the lines that load it.
    """
    path = folder / "README.md"
    before = path.read_text("utf-8") if path.is_file() else f"# {to.partition('/')[2]}\n\nA dense retriever.\n"
    body = _HEAD.sub("", before, count=1).strip().replace("path/to/this/folder", to)
    summary = Summary.read(run) if run is not None and (run / "summary.json").is_file() else None
    metadata = _metadata(_front(before), folder, run, summary, episode, to)
    parts = [body, *([] if summary is None else _sections(summary, episode))]
    text = f"---\n{metadata.to_yaml()}\n---\n\n" + "\n\n".join(parts) + "\n"
    ModelCard(text)  # reads the front matter as the hub does
    return text


def _front(card: str) -> dict[str, Any]:
    """Return the metadata of a card; {} without any that can be read."""
    found = _HEAD.match(card)
    try:
        content = yaml.safe_load(found.group(1)) if found else {}
    except yaml.YAMLError:
        return {}
    return content if isinstance(content, dict) else {}


def _metadata(
    front: Mapping[str, Any], folder: Path, run: Path | None, summary: Summary | None, episode: int | None, to: str
) -> ModelCardData:
    identity = read_identity(run) if run is not None else {}
    start = str(identity.get("model") or "")
    hub_start = bool(start) and not (Path(run or folder) / start).exists() and _is_hub_name(start)
    beside = Path(run or folder) / start / "README.md"
    given = _front(beside.read_text("utf-8")) if start and beside.is_file() else {}
    data = str(identity.get("data") or "")
    options: dict[str, Any] = {
        "base_model": start if hub_start else front.get("base_model"),
        "datasets": [data.removeprefix("hub:")] if data.startswith("hub:") else front.get("datasets"),
        "language": _language(summary) or front.get("language"),
        "license": front.get("license") or given.get("license"),
    }
    if summary is not None and (results := _results(summary, episode)):
        options |= {"model_name": to.partition("/")[2], "eval_results": results}
    tags = list(dict.fromkeys([*TAGS, *(front.get("tags") or ())]))
    return ModelCardData(
        library_name="sentence-transformers",
        pipeline_tag="sentence-similarity",
        tags=tags,
        **{name: value for name, value in options.items() if value},
    )


def _is_hub_name(name: str) -> bool:
    try:
        validate_repo_id(name)
    except HFValidationError:
        return False
    return not name.startswith(".")


def _language(summary: Summary | None) -> str | None:
    """Return the code of the language that was set, or that BM25 has detected; None if unknown."""
    if summary is None:
        return None
    chosen = summary.settings.get("language")
    if chosen in LANGUAGES:
        return str(chosen)
    reads = str(getattr(summary.bm25, "reads", "") or "")
    return next((code for code, name in _names().items() if reads.startswith(f"language {name} ")), None)


def _names() -> dict[str, str]:
    return {code: str(getattr(language, "name", language)) for code, language in LANGUAGES.items()}


def _of_episode(summary: Summary, episode: int | None) -> tuple[str | None, Mapping[str, float]]:
    """Return the split that an episode's model was measured on, and its metrics: the final ones of the last episode."""
    last = summary.episodes[-1].number if summary.episodes else 0
    if episode == last and summary.final:
        return summary.final_split, summary.final
    metrics = next((one.metrics for one in summary.episodes if one.number == episode), {})
    return summary.split, metrics


def _results(summary: Summary, episode: int | None) -> list[EvalResult]:
    split, metrics = _of_episode(summary, episode)
    return [
        EvalResult(
            task_type="information-retrieval",
            task_name="Information Retrieval",
            dataset_type=str(summary.collection),
            dataset_name=str(summary.collection),
            dataset_split=split,
            metric_type=name.lower().replace("@", "_at_"),
            metric_name=name,
            metric_value=round(float(value), 6),
        )
        for name, value in metrics.items()
    ]


def _sections(summary: Summary, episode: int | None) -> list[str]:
    """Return the sections on what was measured, by episode, and with what."""
    split, metrics = _of_episode(summary, episode)
    sections = []
    if metrics:
        before = summary.baselines.get("zero-shot", {}) if split == summary.split else {}
        rows = [
            f"| {name} | {value:.4f} | {f'{before[name]:.4f}' if name in before else ''} |"
            for name, value in metrics.items()
        ]
        head = f"## Figures on {summary.collection}, split {split}\n\n| metric | this model | before training |"
        sections.append("\n".join([head, "| --- | --- | --- |", *rows]))
    if summary.episodes:
        main = summary.main_metric
        rows = [
            f"| {one.number} | {_number(one.metrics.get(main))} | {_share(one.learned_rate)} | "
            f"{_share(one.forgetting_rate)} |"
            for one in summary.episodes
        ]
        head = "## Learned and forgotten\n\nShares of the training queries whose positive ranks higher, and lower, "
        table = f"| episode | {main} ({summary.split}) | learned | forgotten |\n| --- | --- | --- | --- |"
        sections.append("\n".join([f"{head}than one episode before.\n", table, *rows]))
    packages = ", ".join(f"{name} {version}" for name, version in summary.environment.packages.items())
    machine = ", ".join(str(one) for one in (summary.environment.machine, packages) if one)
    sections.append(f"## Environment\n\nRecipe `{summary.recipe}`, seed {summary.seed}. {machine}.")
    return sections


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.1%}"
