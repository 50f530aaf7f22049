"""The paper's figures, and its published checkpoints in miniature: the same names and layout, tiny weights."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ance_tele.console.errors import UserError
from ance_tele.data.load import load_collection
from ance_tele.encode.config import EncoderConfig
from ance_tele.encode.loading import load_model
from ance_tele.evaluate.model import evaluate_model
from ance_tele.paper import figures as paper
from ance_tele.paper.published import CHECKPOINTS, known
from ance_tele.paper.settings import STARTS, start_of

TIED = "ance-tele_msmarco_qry-psg-encoder"
QUERY, PASSAGE = "ance-tele_nq_qry-encoder", "ance-tele_nq_psg-encoder"


# ---- figures -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "benchmark"),
    [
        ("msmarco", "msmarco"),
        ("MS MARCO", "msmarco"),
        ("irds:msmarco-passage/dev/small", "msmarco"),
        ("marco/q-neg", "msmarco"),
        ("nq", "nq"),
        ("natural-questions", "nq"),
        ("NaturalQuestions", "nq"),
        ("wikipedia-nq", "nq"),
        ("trivia_qa", "triviaqa"),
        ("wikipedia-trivia", "triviaqa"),
        ("msmarco-document", None),
        ("msmarco-v2", None),
        ("scifact", None),
        ("nq-and-trivia", None),
        ("", None),
    ],
)
def test_benchmarks_are_known_by_their_usual_names(name: str, benchmark: str | None) -> None:
    assert paper.benchmark_of(name) == benchmark


@pytest.mark.parametrize(
    ("collection", "table", "system", "start", "figures"),
    [
        ("msmarco", "table1", "ANCE-Tele", None, {"MRR@10": 0.391, "Recall@1000": 0.984}),
        ("nq", "table1", "nq", None, {"Answer@5": 0.77, "Answer@20": 0.849, "Answer@100": 0.897}),
        ("nq", "table1", "nq/dpr", None, {"Answer@20": 0.784, "Answer@100": 0.854}),
        ("msmarco", "table3", "zero-shot", "bert-base", {"MRR@10": 0.0009, "Recall@1000": 0.0021}),
        ("marco", "table3", "marco/q-neg", "Luyu/co-condenser-marco", {"MRR@10": 0.366, "Recall@1000": 0.953}),
        ("marco", "table3", "ance", "/models/condenser/", {"MRR@10": 0.35, "Recall@1000": 0.967}),
        ("msmarco", "table8", "ance-tele-overlap", None, {"MRR@10": 0.382, "Recall@1000": 0.984}),
        ("triviaqa", "table1", "docT5query", None, None),
        ("msmarco", "table3", "ance-tele", "some/minilm", None),
        ("nq", "table3", "ance-tele", "condenser", None),
        ("scifact", "table1", "BM25", None, None),
    ],
)
def test_published_figures_under_our_names(
    collection: str, table: str, system: str, start: str | None, figures: dict[str, float] | None
) -> None:
    assert paper.published(collection, table, system, start) == figures


def test_larger_models_of_table_1_are_for_reference() -> None:
    rows = {row.system: row for row in paper.table1("msmarco")}
    assert rows["GTR-XXL"].reference and rows["AR2"].reference
    assert not rows["ANCE-Tele"].reference and rows["ANCE-Tele"].params == "110M"
    assert {row.system for row in paper.table1("triviaqa")} < {row.system for row in paper.table1("nq")}
    assert paper.table1("scifact") == []


def test_every_published_value_is_a_fraction() -> None:
    tables = [row.metrics for name in ("msmarco", "nq", "triviaqa") for row in paper.table1(name)]
    tables += [dict(checkpoint.figures) for checkpoint in CHECKPOINTS]
    assert len(tables) > 40
    assert all(0 < value < 1 for metrics in tables for value in metrics.values())


def test_curves_and_rates_by_episode() -> None:
    assert paper.curve("marco", "dev MRR@10", "q-neg", "co-condenser-marco") == {1: 0.307, 2: 0.33, 3: 0.366}
    assert paper.curve("marco", "forgetting rate", "ance", "bert-base") == {2: 0.2781, 3: 0.2378, 4: 0.2949, 5: 0.2844}
    assert paper.curve("marco", "dev MRR@10", "q-neg", "bert-base") is None
    assert paper.forgetting("msmarco", "ance-tele+continue") == {1: 0.089, 2: 0.135, 3: 0.132}
    assert paper.forgetting("nq", "ance-tele") is None
    shares = paper.composition("msmarco")
    assert shares is not None and all(abs(sum(share.values()) - 1) < 0.002 for share in shares.values())


def test_table_2_by_its_settings() -> None:
    assert paper.table2("msmarco", 0.7, 0.5, 31) == {"MRR@10": 0.39, "Recall@1000": 0.984}
    assert paper.table2("msmarco", 0.6, 0.5, 31) is None


def test_hours_of_table_6_add_up() -> None:
    for name in ("msmarco", "nq", "triviaqa"):
        hours = paper.hours(name)
        assert hours is not None
        assert sum(hours.training) + hours.refreshes * hours.refresh == pytest.approx(hours.overall)
    assert paper.hours("scifact") is None and paper.sizes("scifact") is None


def test_the_recipes_have_the_paper_s_hyperparameters() -> None:
    from ance_tele.recipes import recipe

    lengths, shares = ("query_max_len", "passage_max_len"), ("alpha", "beta", "warmup_ratio")
    steps = ("depth", "batch_queries", "negatives_per_query", "epochs", "refresh_step")
    table5 = {"marco": (32, 128, 200, 8, 31, 3, 20_000), "nq": (32, 156, 200, 128, 11, 40, 2000)}
    table5["triviaqa"] = table5["nq"]
    expected: dict[str, dict[str, float]] = {
        name: dict(zip((*lengths, *steps, *shares, "learning_rate"), (*values, 0.5, 0.5, 0.1, 5e-6), strict=True))
        for name, values in table5.items()
    }
    table7 = ("depth", 200), ("batch_queries", 8), ("negatives_per_query", 7), ("warmup_steps", 5000)
    expected["marco/ance"] = {**dict(table7), "refresh_step": 10_000, "learning_rate": 1e-6}
    for name, published in expected.items():
        settings = recipe(name).settings()
        if name == "marco/ance":  # Table 7's rate is that of the episodes after DPR
            settings["learning_rate"] *= settings["later_rate"]
        assert {key: settings[key] for key in published} == pytest.approx(published)


# ---- checkpoints -------------------------------------------------------------------------------------


@given(st.text(max_size=30))
def test_only_published_checkpoints_are_known(name: str) -> None:
    assert known(name) is None
    assert known(f"{name}/{TIED}") is not None


def test_each_repository_is_known_with_its_figures() -> None:
    for checkpoint in CHECKPOINTS:
        for repository in (checkpoint.query, checkpoint.passage):
            assert known(repository) == known(f"/models/{repository.rpartition('/')[2]}/") == checkpoint
        EncoderConfig(**checkpoint.settings)


@pytest.mark.parametrize(
    ("name", "benchmark", "table", "system"),
    [
        ("ance-tele_msmarco_qry-psg-encoder", "msmarco", "table1", "ANCE-Tele"),
        ("dpr_bert-base_msmarco_qry-psg-encoder", "msmarco", "table3", "dpr"),
        ("ance-tele_nq_psg-encoder", "nq", "table1", "ANCE-Tele"),
        ("ance-tele_triviaqa_qry-encoder", "triviaqa", "table1", "ANCE-Tele"),
    ],
)
def test_model_cards_and_the_paper_agree(name: str, benchmark: str, table: str, system: str) -> None:
    checkpoint = known(name)
    assert checkpoint is not None
    assert checkpoint.figures.items() <= (paper.published(benchmark, table, system, "bert-base") or {}).items()


def test_short_names_of_starts() -> None:
    assert start_of("co-condenser-wiki") == "Luyu/co-condenser-wiki"
    assert start_of("some/model") == "some/model"
    assert {paper.start_family(name) for name in STARTS} == {paper.start_family(name) for name in STARTS.values()}
    assert None not in {paper.start_family(name) for name in STARTS}


@pytest.fixture
def miniature(tiny_model: Path, tmp_path: Path) -> Path:
    """A folder of checkpoints under their published names; the query encoder of the pair has weights of its own."""
    from transformers import AutoModel

    for name in (TIED, QUERY, PASSAGE):
        shutil.copytree(tiny_model, tmp_path / name)
    other = AutoModel.from_pretrained(tiny_model, add_pooling_layer=False)
    with torch.no_grad():
        for weight in other.parameters():
            weight.add_(0.02 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(1)))
    other.save_pretrained(tmp_path / QUERY)
    return tmp_path


def plain_scores(query_model: Path, passage_model: Path, toy: Path) -> dict[str, list[tuple[str, float]]]:
    """Rank the toy collection's test queries by plain transformers: CLS vectors, dot product, title [SEP] body."""
    from transformers import AutoModel, AutoTokenizer

    def encode(folder: Path, texts: list[str], length: int) -> np.ndarray:
        model, tokenizer = AutoModel.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
        with torch.no_grad():
            inputs = [tokenizer(text, truncation=True, max_length=length, return_tensors="pt") for text in texts]
            return np.stack([model(**one).last_hidden_state[0, 0].numpy() for one in inputs])

    collection = load_collection(toy)
    rows = collection.split("test").queries
    ids = collection.queries.take_ids(rows).to_pylist()
    texts = collection.queries.table["text"].take(rows).to_pylist()
    passages = collection.corpus.table.to_pylist()
    bodies = [f"{passage['title']}[SEP]{passage['text']}" for passage in passages]
    names = collection.corpus.take_ids(np.arange(len(passages))).to_pylist()
    scores = encode(query_model, texts, 32) @ encode(passage_model, bodies, 128).T
    order = np.argsort(-scores, axis=1)
    return {
        query: [(names[row], float(line[row])) for row in best]
        for query, line, best in zip(ids, scores, order, strict=True)
    }


@pytest.mark.parametrize("pair", [False, True])
def test_a_published_checkpoint_scores_as_in_plain_transformers(pair: bool, miniature: Path, toy: Path) -> None:
    names = (QUERY, PASSAGE) if pair else (TIED, TIED)
    query_model, passage_model = (miniature / name for name in names)
    checkpoint = known(str(query_model))
    assert checkpoint is not None
    settings = {**checkpoint.settings, "passage_max_len": 128}  # the tiny model reads no more
    config = EncoderConfig(**settings, precision="float32")
    collection = load_collection(toy)
    if pair:
        run, scores = evaluate_model(
            None, collection, "test", config, query_model=query_model, passage_model=passage_model
        )
    else:
        run, scores = evaluate_model(query_model, collection, "test", config)
    expected = plain_scores(query_model, passage_model, toy)
    assert run.query_ids == list(expected) and len(run.query_ids) == 48
    for query, ids, values in zip(run.query_ids, run.passage_ids, run.scores, strict=True):
        ours, plain = dict(zip(ids, values.tolist(), strict=True)), dict(expected[query])
        assert ours.keys() == plain.keys()
        assert max(abs(ours[name] - plain[name]) for name in plain) < 1e-3
    assert scores.means()["MRR@10"] > 0


def test_a_model_in_memory_is_measured_and_left_as_it_was(miniature: Path, toy: Path) -> None:
    config = EncoderConfig(pooling="cls", normalize=False, query_prompt="query : ", precision="float32")
    collection = load_collection(toy)
    by_name, _ = evaluate_model(miniature / TIED, collection, "test", config)
    model = load_model(
        miniature / TIED, EncoderConfig(pooling="cls", normalize=False, query_max_len=64, passage_max_len=64), "cpu"
    ).eval()
    modules, prompts = len(model), dict(model.prompts)
    in_memory, _ = evaluate_model(model, collection, "test", config)
    assert in_memory.passage_ids == by_name.passage_ids
    assert (len(model), dict(model.prompts), model.max_seq_length, model.training) == (modules, prompts, 64, False)
    assert not any(module.training for module in model.modules())
    normal = EncoderConfig(normalize=True, precision="float32")
    cosine, _ = evaluate_model(model, collection, "test", normal)
    assert len(model) == modules and max(scores.max() for scores in cosine.scores) <= 1 + 1e-5


def test_either_a_model_or_a_whole_pair(miniature: Path, toy: Path) -> None:
    collection, config = load_collection(toy), EncoderConfig()
    with pytest.raises(UserError, match="both a model and a pair are given"):
        evaluate_model(miniature / TIED, collection, "test", config, query_model=miniature / QUERY)
    with pytest.raises(UserError, match="there is no passage_model"):
        evaluate_model(None, collection, "test", config, query_model=miniature / QUERY)
    with pytest.raises(UserError, match="no model is given"):
        evaluate_model(None, collection, "test", config)
