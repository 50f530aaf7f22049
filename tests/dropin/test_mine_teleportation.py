"""mine_teleportation_negatives: the datasets of mine_hard_negatives, and what is ours."""

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset, DatasetDict
from judges import write_judge
from sentence_transformers import CrossEncoder, SentenceTransformer
from sentence_transformers.util import mine_hard_negatives
from training_pairs import load, read_pairs

import ance_tele as at
from ance_tele.console.errors import UserError
from ance_tele.dropin.drawing import FORMATS
from ance_tele.encode.encoder import weights_fingerprint

PLAIN: dict[str, Any] = {"alpha": 0, "beta": 0, "sampling_strategy": "top", "precision": "float32"}


@pytest.fixture(scope="module")
def data(toy: Path) -> tuple[Dataset, list[str]]:
    return read_pairs(toy)


@pytest.fixture
def model(tiny_model: Path) -> SentenceTransformer:
    return load(tiny_model)


def doubled(data: tuple[Dataset, list[str]]) -> Dataset:
    """Pairs whose anchors have one or two positives, and a row that is there twice."""
    pairs, corpus = data
    anchors, positives = list(pairs["anchor"]), list(pairs["positive"])
    return Dataset.from_dict(
        {"q": [*anchors, *anchors[:9], anchors[0]], "d": [*positives, *corpus[40:49], positives[0]]}
    )


@pytest.mark.parametrize("output_format", FORMATS)
@pytest.mark.parametrize("output_scores", [False, True])
def test_without_lookahead_and_momentum_it_is_mine_hard_negatives(
    output_format: Any, output_scores: bool, data: tuple[Dataset, list[str]], model: SentenceTransformer
) -> None:
    given: dict[str, Any] = {
        "corpus": data[1],
        "num_negatives": 4,
        "range_min": 2,
        "relative_margin": 0.01,
        "max_score": 0.99,
        "output_format": output_format,
        "output_scores": output_scores,
    }
    pairs = doubled(data)
    theirs = mine_hard_negatives(pairs, model, range_max=144, verbose=False, **given)
    ours = at.mine_teleportation_negatives(pairs, model, **given, **PLAIN).dataset
    assert (ours.column_names, ours.features) == (theirs.column_names, theirs.features)
    assert len(ours) == len(theirs) > 50
    for name in ours.column_names:
        if name.startswith("score"):
            for one, other in zip(ours[name], theirs[name], strict=True):
                np.testing.assert_allclose(one, other, atol=1e-5)
        else:
            assert list(ours[name]) == list(theirs[name])


def test_no_positive_of_an_anchor_is_a_negative_in_any_of_its_rows(
    data: tuple[Dataset, list[str]], model: SentenceTransformer
) -> None:
    pairs, corpus = doubled(data), data[1]
    copies = [f" {text.replace(' ', '  ')}" for text in pairs["d"]]  # but for white space
    mined = at.mine_teleportation_negatives(
        pairs, model, corpus=[*corpus, *copies, *pairs["q"]], num_negatives=60, pool_per_source=90
    ).dataset
    relevant: dict[str, set[str]] = {}
    for row in pairs:
        relevant.setdefault(row["q"], {row["q"]}).add(" ".join(row["d"].split()))
    assert len(mined) == 60 * 81  # distinct pairs
    assert not [row for row in mined if " ".join(row["negative"].split()) in relevant[row["q"]]]


def test_momentum_comes_from_the_history_by_alpha(data: tuple[Dataset, list[str]], model: SentenceTransformer) -> None:
    pairs, corpus = data
    given: dict[str, Any] = {"corpus": corpus, "depth": 20, "pool_per_source": 4}
    first = at.mine_teleportation_negatives(pairs, model, **given)
    assert first.change is None and first.pools[0].by_source() == {"query": 288, "lookahead": 288}
    with torch.no_grad():
        for one in model.parameters():
            one.add_(0.05 * torch.randn(one.shape, generator=torch.Generator().manual_seed(0)))
    second = at.mine_teleportation_negatives(pairs, model, **given, history=first, beta=0.25)
    assert len(second.pools) == 2 and second.pools[0] is first.pools[0]
    assert second.pools[1].by_source() == {"query": 432, "lookahead": 144, "momentum": 576}
    before, after = first.reciprocal_ranks, second.reciprocal_ranks
    assert second.change is not None and second.change.forgotten == (after < before).mean() > 0
    assert second.training_mrr == pytest.approx(after.mean())
    with pytest.raises(UserError, match="history is of other anchors"):
        at.mine_teleportation_negatives(pairs, model, corpus=corpus[:50], history=first)


def test_vectors_are_of_the_weights_not_of_a_name(
    data: tuple[Dataset, list[str]], model: SentenceTransformer, tiny_model: Path, tmp_path: Path
) -> None:
    pairs, corpus = data
    given: dict[str, Any] = {"corpus": corpus, "num_negatives": 4}
    before = at.mine_teleportation_negatives(pairs, model, **given, **PLAIN).dataset
    theirs = mine_hard_negatives(pairs, model, **given, cache_folder=str(tmp_path), verbose=False)
    fresh = load(tiny_model)
    for one in (model, fresh):
        with torch.no_grad():
            for layer in one[0].model.encoder.layer:
                layer.output.dense.weight.add_(torch.eye(*layer.output.dense.weight.shape))
    stale = mine_hard_negatives(pairs, model, **given, cache_folder=str(tmp_path), verbose=False)
    assert list(stale["negative"]) == list(theirs["negative"])  # the fault: theirs are those of the old weights
    after = at.mine_teleportation_negatives(pairs, model, **given, **PLAIN).dataset
    assert list(after["negative"]) != list(before["negative"])
    assert list(after["negative"]) == list(
        at.mine_teleportation_negatives(pairs, fresh, **given, **PLAIN).dataset["negative"]
    )


def test_the_model_and_all_random_numbers_are_left_alone(
    data: tuple[Dataset, list[str]], model: SentenceTransformer
) -> None:
    model.train()
    model[1].eval()
    before, prompts, length = weights_fingerprint(model), dict(model.prompts), model.max_seq_length
    states = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()
    at.mine_teleportation_negatives(data[0], model, corpus=data[1], query_prompt="query : ", batch_size=4)
    assert (weights_fingerprint(model), model.prompts, model.max_seq_length) == (before, prompts, length)
    assert model.training and model[0].training and not model[1].training and len(model) == 2
    assert random.getstate() == states[0] and np.random.get_state()[1].tolist() == states[1]
    assert torch.equal(torch.get_rng_state(), states[2])


def test_prompts_by_name_are_those_by_text(data: tuple[Dataset, list[str]], model: SentenceTransformer) -> None:
    model.prompts |= {"ask": "query : ", "read": "passage : "}
    named = at.mine_teleportation_negatives(
        data[0], model, corpus=data[1], query_prompt_name="ask", corpus_prompt_name="read", output_scores=True
    )
    texts = at.mine_teleportation_negatives(
        data[0], model, corpus=data[1], query_prompt="query : ", corpus_prompt="passage : ", output_scores=True
    )
    plain = at.mine_teleportation_negatives(data[0], model, corpus=data[1], output_scores=True)
    assert named.dataset[:] == texts.dataset[:] != plain.dataset[:]


def test_the_same_seed_gives_the_same_and_another_gives_others(
    data: tuple[Dataset, list[str]], model: SentenceTransformer
) -> None:
    one, two, other = (
        at.mine_teleportation_negatives(data[0], model, corpus=data[1], depth=40, pool_per_source=8, seed=seed).dataset
        for seed in (1, 1, 2)
    )
    assert one[:] == two[:] != other[:]


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"anchor_column_name": "query"}, "no column 'query'; its columns are anchor, positive"),
        ({"anchor_column_name": "positive"}, "both the column 'positive'; name the other one too"),
        ({"output_format": "pairs"}, "no output_format 'pairs'"),
        ({"sampling_strategy": "best"}, "sampling_strategy is 'best'; it must be one of random, top"),
        ({"precision": "fp16"}, "precision is 'fp16'; it must be one of auto, float32, bf16"),
        ({"alpha": 2}, "alpha is 2; it must lie between 0 and 1"),
        ({"range_min": -1}, "range_min is -1; it must lie between 0"),
        ({"batch_size": 0}, "batch_size is 0; it must lie between 1"),
        ({"num_negatives": 2.5}, "num_negatives is 2.5; it must be a whole number"),
        ({"history": "last"}, "history is a str; give what the mining before has returned"),
        ({"cross_encoder": torch.nn.Linear(2, 2), "max_score": 1.0}, "cross_encoder is a Linear; give a CrossEncoder"),
        ({"corpus": "t1 w3"}, "The corpus is of type str; give a list of texts"),
        ({"corpus": {"d1": "t1 w3"}}, "The corpus is of type dict; give a list of texts"),
        ({"corpus": Dataset.from_dict({"text": ["t1"]})}, "The corpus is of type Dataset; give a list of texts"),
        ({"corpus": ["t1 w3", " "]}, "Row 1 of the corpus is ' '; it must be a text that is not empty"),
        ({"corpus": ["t1 w3", ["t2"]]}, r"Row 1 of the corpus is \['t2'\]; it must be a text"),
        ({"num_negatives": 61}, "num_negatives is 61, but the pool holds 60"),
        ({"range_min": 200}, "range_min is 200; it must be below depth"),
        ({"cross_encoder": "a/b"}, "nothing for it to decide"),
        ({"query_prompt_name": "ask"}, "no prompt of the model 'ask'"),
        ({"max_score": -1.0}, "no negative for any of the 72 anchors: max_score left out all others"),
    ],
)
def test_what_cannot_be_is_one_sentence(
    given: dict[str, Any], sentence: str, data: tuple[Dataset, list[str]], model: SentenceTransformer
) -> None:
    with pytest.raises(UserError, match=sentence):
        at.mine_teleportation_negatives(data[0], model, **{"corpus": data[1], **given})


@pytest.mark.parametrize(
    ("dataset", "sentence"),
    [
        (DatasetDict(train=Dataset.from_dict({"a": ["t1"], "b": ["t2"]})), "The dataset is of type DatasetDict; give"),
        (Dataset.from_dict({"a": ["t1"], "b": ["t2"]}).to_iterable_dataset(), "The dataset is of type IterableDataset"),
        ([{"a": "t1", "b": "t2"}], "The dataset is of type list; give one datasets.Dataset"),
        (Dataset.from_dict({"a": ["t1"], "negative": ["t2"]}), "The column 'negative' holds anchors or positives, but"),
        (Dataset.from_dict({"a": ["t1"], "negative_1": ["t2"]}), "The column 'negative_1' holds anchors or positives"),
        (Dataset.from_dict({"label": ["t1"], "b": ["t2"]}), "The column 'label' holds anchors or positives, but"),
        (Dataset.from_dict({"a": ["t1", None], "b": ["t2", "t3"]}), "Row 1 of column 'a' is None; it must be a text"),
        (Dataset.from_dict({"a": ["t1"], "b": [["t2", "t3"]]}), r"Row 0 of column 'b' is \['t2', 't3'\]; it must be"),
    ],
)
def test_what_is_no_dataset_of_pairs_is_one_sentence(dataset: Any, sentence: str, model: SentenceTransformer) -> None:
    with pytest.raises(UserError, match=sentence):
        at.mine_teleportation_negatives(dataset, model, corpus=["t3"])
    with pytest.raises(UserError, match=sentence):
        at.TeleportationCallback(dataset, corpus=["t3"])


def test_what_is_left_out_is_a_warning(model: SentenceTransformer, caplog: pytest.LogCaptureFixture) -> None:
    pairs = Dataset.from_dict({"a": ["t1", "t2", "t2"], "b": ["t1 u7", "t2 u8", "t2 u9"], "label": [1, 1, 0]})
    mined = at.mine_teleportation_negatives(
        pairs, model, corpus=["t3 w1"], num_negatives=3, output_format="n-tuple", pool_per_source=3
    )
    # the first anchor has the other two positives and the text of the corpus, the second only two texts
    assert list(mined.dataset["a"]) == ["t1"]
    warned = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert warned == [
        "the column 'label' is not read: every row is taken for a pair of an anchor and a positive",
        "1 of 2 anchors have fewer than 3 negatives and are left out",
    ]
    with pytest.raises(UserError, match="2 of 2 anchors have fewer than 4 negatives and are left out, so there is no"):
        at.mine_teleportation_negatives(
            pairs, model, corpus=["t3 w1"], num_negatives=4, output_format="n-tuple", pool_per_source=4
        )


def test_other_models_and_empty_data_are_refused(model: SentenceTransformer) -> None:
    with pytest.raises(UserError, match="has no rows"):
        at.mine_teleportation_negatives(Dataset.from_dict({"a": [], "b": []}), model)
    with pytest.raises(UserError, match="is a Linear; negatives are mined with a SentenceTransformer"):
        pair = Dataset.from_dict({"a": ["t1"], "b": ["t2"]})
        at.mine_teleportation_negatives(pair, torch.nn.Linear(2, 2), corpus=["t3"])


def test_a_cross_encoder_decides_and_orders_as_theirs(
    data: tuple[Dataset, list[str]], model: SentenceTransformer, tiny_model: Path, tmp_path: Path
) -> None:
    judge = CrossEncoder(str(write_judge(tiny_model, tmp_path / "judge", labels=1)), device="cpu")
    pairs, corpus = data[0].select(range(6)), data[1]
    given: dict[str, Any] = {"corpus": corpus, "absolute_margin": 1.0, "max_score": 5.0, "output_scores": True}
    theirs = mine_hard_negatives(
        pairs, model, cross_encoder=judge, num_negatives=140, range_max=144, verbose=False, **given
    )
    ours = at.mine_teleportation_negatives(
        pairs, model, cross_encoder=judge, num_negatives=140, pool_per_source=100, **given, **PLAIN
    ).dataset
    assert 20 < len(ours) == len(theirs) < 6 * 140
    assert set(zip(ours["anchor"], ours["negative"], strict=True)) == set(
        zip(theirs["anchor"], theirs["negative"], strict=True)
    )
    np.testing.assert_allclose(list(ours["scores"]), list(theirs["scores"]), atol=1e-4)


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16], ids=str)
def test_models_loaded_in_half_precision_mine_in_it(
    kind: torch.dtype, data: tuple[Dataset, list[str]], model: SentenceTransformer
) -> None:
    whole = at.mine_teleportation_negatives(data[0], model, corpus=data[1], precision="float32")
    half = at.mine_teleportation_negatives(data[0], model.to(kind), corpus=data[1], precision="float32")
    assert half.training_mrr == pytest.approx(whole.training_mrr, abs=0.05)
