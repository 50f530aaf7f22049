"""Filters of false negatives in whole runs: what is dropped, counted and said; settings that cannot work."""

import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from judges import write_judge

from ance_tele.cli.main import main
from ance_tele.console.errors import UserError
from ance_tele.data.load import load_collection
from ance_tele.encode.config import EncoderConfig
from ance_tele.mining.config import THRESHOLDS, MiningConfig
from ance_tele.recipes import recipe
from ance_tele.report.load import RunData
from ance_tele.report.sentences import findings
from ance_tele.runs.summary import Summary
from ance_tele.store.manifests import read_manifest

pytestmark = pytest.mark.usefixtures("undrawn")

QUICK = {
    "query_max_len": 16,
    "passage_max_len": 16,
    "depth": 20,
    "pool_per_source": 6,
    "negatives_per_query": 4,
    "batch_queries": 36,
    "epochs": 1,
    "episodes": 2,
    "precision": "float32",
    "baselines": "[zero-shot]",
    "report_to": "[none]",
    "max_train_queries": 36,
}


@pytest.fixture(scope="module")
def judge(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_judge(tiny_model, tmp_path_factory.mktemp("judges") / "judge", 1)


def command(toy: Path, model: Path, out: Path, **given: Any) -> list[str]:
    flags = [f"--{name}={value}" for name, value in {**QUICK, **given}.items()]
    return ["run", "ance-tele", f"--data={toy}", f"--model={model}", f"--out={out}", *flags]


def rows(path: Path) -> list[tuple[str, str, str, int]]:
    columns = ("source", "query_id", "passage_id", "rank")
    return list(zip(*(pq.read_table(path)[name].to_pylist() for name in columns), strict=True))


def test_a_run_with_filters(
    toy: Path, tiny_model: Path, judge: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Candidates are the unfiltered lists without what the cross-encoder puts too near to the positive."""
    from ance_tele.encode.cross_encoder import load_cross_encoder

    out, collection = tmp_path / "run", load_collection(toy)
    given = command(toy, tiny_model, out, relative_margin=0.05, range_min=2, cross_encoder=judge)
    assert main(given) == 0
    said = capsys.readouterr().out
    relevant = dict(zip(*(pq.read_table(out / "positives.parquet")[c].to_pylist() for c in (0, 1)), strict=True))
    model = load_cross_encoder(str(judge), EncoderConfig())
    queries = {row["id"]: row["text"] for row in (collection.queries[i] for i in range(len(collection.queries)))}
    corpus = [collection.corpus[i] for i in range(len(collection.corpus))]
    texts = {row["id"]: f"{row['title']} {row['text']}" for row in corpus}
    summary = json.loads((out / "summary.json").read_text())
    for episode in (1, 2):
        lists = rows(out / f"episode-{episode - 1}" / "training_lists.parquet")
        lists += rows(out / f"episode-{episode}" / "lookahead_lists.parquet")
        pairs = sorted({row[1:3] for row in lists} | set(relevant.items()))
        values = model.predict([(queries[q], texts[p]) for q, p in pairs], show_progress_bar=False)
        scores = dict(zip(pairs, values.tolist(), strict=True))
        kept, counts = [], {name: {"query": 0, "lookahead": 0} for name in ("relative_margin", "range_min")}
        places: dict[tuple[str, str], int] = {}
        for source, query, passage, rank in lists:
            reason = None
            if passage != relevant[query]:
                best = scores[query, relevant[query]]
                if scores[query, passage] > best - abs(best) * 0.05:
                    reason = "relative_margin"
                else:
                    places[source, query] = places.get((source, query), 0) + 1
                    reason = "range_min" if places[source, query] <= 2 else None
            if reason:
                counts[reason][source] += 1
            else:
                kept.append((source, query, passage, rank))
        assert rows(out / f"episode-{episode}" / "candidates.parquet") == kept
        assert summary["episodes"][episode - 1]["pool"]["dropped"] == counts
        total = {name: sum(by.values()) for name, by in counts.items()}
        assert total["relative_margin"] > 100 and total["range_min"] > 50
        assert f"left out: {total['relative_margin']:,} by relative_margin, {total['range_min']:,} by range_min" in said
        sentence = f"{total['relative_margin']:,} by relative_margin and {total['range_min']:,} by range_min in episode"
        found = findings(RunData("", Summary.of(summary)))
        assert sentence in next(line for line in found if line.startswith("Candidates that"))
    assert str(tmp_path) not in (out / "config.yaml").read_text() + (out / "summary.json").read_text()
    assert main(given) == 0 and capsys.readouterr().out.count(" cached ") >= 8
    assert main(command(toy, tiny_model, out, relative_margin=0.1, range_min=2, cross_encoder=judge)) == 2
    assert "relative_margin was 0.05, is 0.1" in capsys.readouterr().err
    other = write_judge(tiny_model, tmp_path / "other", 1)
    shutil.copy(tiny_model / "model.safetensors", other / "model.safetensors")
    assert main(command(toy, tiny_model, out, relative_margin=0.05, range_min=2, cross_encoder=other)) == 2
    assert "the cross_encoder was" in capsys.readouterr().err


def test_a_run_from_before_the_filters_goes_on(
    toy: Path, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    assert main(command(toy, tiny_model, out, episodes=1)) == 0
    manifest = read_manifest(out / "episode-1" / "candidates.parquet")
    assert manifest is not None and not {"filters", "code", "review"} & manifest.inputs.keys()
    assert "dropped" not in json.loads((out / "summary.json").read_text())["episodes"][0]["pool"]
    config = out / "config.yaml"
    young = (*THRESHOLDS, "filters", "cross_encoder")
    lines = [line for line in config.read_text().splitlines() if line.partition(":")[0] not in young]
    config.write_text("\n".join(lines) + "\n")
    capsys.readouterr()
    assert main(command(toy, tiny_model, out, episodes=1)) == 0
    assert "made again" not in capsys.readouterr().out
    assert main(command(toy, tiny_model, out, episodes=1, range_min=1)) == 2
    assert "range_min was 0, is 1" in capsys.readouterr().err


def test_a_filter_that_leaves_nothing_is_refused_before_training(
    toy: Path, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command(toy, tiny_model, tmp_path / "run", episodes=1, max_score=-1)) == 2
    error = capsys.readouterr().err
    assert "no negative for any of the 36 training queries" in error and "max_score" in error


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"relative_margin": 1.5}, "relative_margin is 1.5; it must lie between 0 and 1"),
        ({"absolute_margin": -0.1}, "absolute_margin is -0.1; it must lie between 0 and"),
        ({"max_score": float("nan")}, "max_score is nan"),
        ({"range_min": -1}, "range_min is -1"),
        ({"range_min": 20, "depth": 20}, "range_min is 20; it must be below depth"),
        ({"range_min": 1.5}, "range_min is 1.5; it must be a whole number"),
        ({"cross_encoder": "a/b"}, "nothing for its scores to decide"),
        ({"cross_encoder": "a/b", "range_min": 3}, "nothing for its scores to decide"),
    ],
)
def test_settings_that_cannot_work_are_refused(given: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        recipe("ance-tele").with_settings(**given)


def test_zero_is_a_margin_and_none_is_not() -> None:
    assert MiningConfig().thresholds == {}
    assert MiningConfig(relative_margin=0.0, max_score=0.0).thresholds == {"relative_margin": 0.0, "max_score": 0.0}
