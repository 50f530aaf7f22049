"""The paper's published checkpoints: how each is to be read, and what it is said to score."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any, Literal

from ance_tele.paper.settings import BERT, SCALES, STARTS


@dataclass(frozen=True)
class Published:
    """A published checkpoint.

    Attributes:
        query: Hub repository of its query encoder.
        passage: Hub repository of its passage encoder; the same one where the encoders are tied.
        benchmark: What it was trained for: "msmarco", "nq" or "triviaqa".
        start: The pretrained model it was trained from.
        figures: What its model card says it scores, as fractions: on Dev for MS MARCO, on Test for NQ and TriviaQA.
        table: Table and system of the paper with the same figures, such as ("table1", "ANCE-Tele"), or None where
            it is no model of the paper's.
        part: Which half of a pair a repository is; None for a tied encoder.
        settings: Of :class:`~ance_tele.encode.config.EncoderConfig`.
        note: What to know when its figure is compared.
    """

    query: str
    passage: str
    benchmark: Literal["msmarco", "nq", "triviaqa"]
    start: str
    figures: Mapping[str, float]
    table: tuple[str, str] | None
    part: Literal["query", "passage"] | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    note: str = ""


def _encoder(scale: str) -> Mapping[str, Any]:
    return {name: SCALES[scale][name] for name in (*BERT, "passage_max_len")}


def _tied(
    name: str, start: str, figures: Mapping[str, float], table: tuple[str, str] | None, note: str, **others: Any
) -> Published:
    repository = f"OpenMatch/{name}_msmarco_qry-psg-encoder"
    settings = {**_encoder("marco"), **others}
    return Published(repository, repository, "msmarco", start, figures, table, settings=settings, note=note)


def _half(benchmark: Literal["nq", "triviaqa"], part: Literal["query", "passage"], recall: list[float]) -> Published:
    return Published(
        f"OpenMatch/ance-tele_{benchmark}_qry-encoder",
        f"OpenMatch/ance-tele_{benchmark}_psg-encoder",
        benchmark,
        STARTS["co-condenser-wiki"],
        dict(zip(("Answer@5", "Answer@20", "Answer@100"), recall, strict=True)),
        ("table1", "ANCE-Tele"),
        part,
        _encoder(benchmark),
        "Its model card labels recall at 100 as at 20 (and TriviaQA as NQ); the figures are those of Table 1.",
    )


# Figures and titles as the model cards and the README of OpenMatch/ANCE-Tele give them.
_TITLES = "It was trained on passages with their titles, which the collection of the task's organisers lacks."
CHECKPOINTS: tuple[Published, ...] = (
    _tied(
        "ance-tele",
        STARTS["co-condenser-marco"],
        {"MRR@10": 0.391, "Recall@1000": 0.984},
        ("table1", "ANCE-Tele"),
        _TITLES,
    ),
    _tied(
        "ance-tele_coco-base",
        "OpenMatch/cocodr-base",
        {"MRR@10": 0.373},
        None,
        "It is no model of the paper's: it was released later, trained from COCO-DR on passages without their titles.",
        title_separator=" ",
    ),
    _tied("dpr_bert-base", STARTS["bert-base"], {"MRR@10": 0.324}, ("table3", "dpr"), _TITLES),
    _half("nq", "query", [0.770, 0.849, 0.897]),
    _half("nq", "passage", [0.770, 0.849, 0.897]),
    _half("triviaqa", "query", [0.769, 0.834, 0.873]),
    _half("triviaqa", "passage", [0.769, 0.834, 0.873]),
)


def known(name: str) -> Published | None:
    """Return what is known of a published checkpoint, or None for any other model.

    Args:
        name: Its hub name, or a local folder whose last part is the repository's name.
    """
    last = PurePath(name.replace("\\", "/")).name
    for checkpoint in CHECKPOINTS:
        repository = checkpoint.passage if checkpoint.part == "passage" else checkpoint.query
        if last == repository.rpartition("/")[2]:
            return checkpoint
    return None
