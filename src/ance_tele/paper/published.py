"""The paper's published checkpoints: settings, and the scores on their model cards."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from ance_tele.paper.settings import BERT, SCALES


@dataclass(frozen=True)
class Published:
    """A published checkpoint.

    Attributes:
        query: Hub repository of its query encoder.
        passage: Hub repository of its passage encoder; the same one where the encoders are tied.
        figures: Its metrics as fractions: on Dev for MS MARCO, on Test for NQ and TriviaQA.
        settings: Of :class:`~ance_tele.encode.config.EncoderConfig`.
    """

    query: str
    passage: str
    figures: Mapping[str, float]
    settings: Mapping[str, Any]


def _encoder(scale: str) -> Mapping[str, Any]:
    return {name: SCALES[scale][name] for name in (*BERT, "passage_max_len")}


def _tied(name: str, figures: Mapping[str, float], **settings: Any) -> Published:
    repository = f"OpenMatch/{name}_msmarco_qry-psg-encoder"
    return Published(repository, repository, figures, {**_encoder("marco"), **settings})


def _pair(benchmark: str, recall: list[float]) -> Published:
    query, passage = (f"OpenMatch/ance-tele_{benchmark}_{part}-encoder" for part in ("qry", "psg"))
    figures = dict(zip(("Answer@5", "Answer@20", "Answer@100"), recall, strict=True))
    return Published(query, passage, figures, _encoder(benchmark))


CHECKPOINTS: tuple[Published, ...] = (
    _tied("ance-tele", {"MRR@10": 0.391, "Recall@1000": 0.984}),
    # Not from the paper: released later, trained from COCO-DR on passages without titles.
    _tied("ance-tele_coco-base", {"MRR@10": 0.373}, title_separator=" "),
    _tied("dpr_bert-base", {"MRR@10": 0.324}),
    # Their model cards label recall at 100 as at 20 (and TriviaQA as NQ); these are the figures of Table 1.
    _pair("nq", [0.770, 0.849, 0.897]),
    _pair("triviaqa", [0.769, 0.834, 0.873]),
)


def known(name: str) -> Published | None:
    """Return the published checkpoint of a hub name, or of a folder of that name; None if there is none."""
    last = PurePath(name.replace("\\", "/")).name
    parts = ((one, repository) for one in CHECKPOINTS for repository in (one.query, one.passage))
    return next((one for one, repository in parts if last == repository.rpartition("/")[2]), None)
