"""The model card of a trained encoder."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ance_tele.data.notes import how_made

CARD = """---
library_name: sentence-transformers
pipeline_tag: sentence-similarity
tags:
- sentence-transformers
- sentence-similarity
- feature-extraction
- dense-retrieval
- ance-tele
---

# {base} trained on {collection} with {recipe}

A dense retriever: queries and passages become vectors whose {score} ranks passages for a query. Trained by
[ance-tele](https://aclanthology.org/2022.emnlp-main.445) {version} from `{base}` on the collection `{collection}`,
recipe `{recipe}`, episode {episode}: {steps} of {scheduled} scheduled steps, with hard negatives that the model itself
had mined.{made}

## Use

```python
from sentence_transformers import SentenceTransformer

model = SentenceTransformer("path/to/this/folder"{options})
queries = model.encode_query(["how do I restart a service"])
passages = model.encode_document(["title and text of a passage, joined{joined}"])
print({compared})
```

## Settings

| setting | value |
| --- | --- |
{settings}

Weights (sha-256 of all tensors): `{weights}`
"""


RANKER_CARD = """---
library_name: sentence-transformers
pipeline_tag: text-ranking
tags:
- sentence-transformers
- cross-encoder
- reranker
- ance-tele
---

# {base} trained on {collection} as a cross-encoder

It scores a query and a passage together. Trained by [ance-tele](https://aclanthology.org/2022.emnlp-main.445) {version}
from `{base}` on the collection `{collection}`: {steps} steps on the judged passages and on negatives that a run of the
recipe `{recipe}` had mined in episode {episode}.{measured}

## Use

```python
from sentence_transformers import CrossEncoder

model = CrossEncoder("path/to/this/folder")
print(model.predict([("how do I restart a service", "title and text of a passage, joined{joined}")]))
```

`ance-tele run ance-tele+teacher --teacher FOLDER` trains a retriever that learns from it.

## Settings

| setting | value |
| --- | --- |
{settings}

Weights (sha-256 of all tensors): `{weights}`
"""


QUERY_CARD = """---
library_name: sentence-transformers
pipeline_tag: sentence-similarity
tags:
- sentence-transformers
- feature-extraction
- dense-retrieval
- ance-tele
---

# {base} as the query encoder of {recipe} on {collection}

It encodes queries for the passage vectors of another model, and no passages: those of episode {episode} of a run of the
recipe `{recipe}` on the collection `{collection}` (weights `{teacher}`). Trained by
[ance-tele](https://aclanthology.org/2022.emnlp-main.445) {version} from `{base}` to give the query vectors of that
model, {dimension} numbers each, by mean squared error: {steps} steps on {queries} training queries.

{measured}

## Use

```python
from sentence_transformers import SentenceTransformer

queries = SentenceTransformer("path/to/this/folder").encode_query(["how do I restart a service"])
model = SentenceTransformer("path/to/the/run/episode-{episode}/model"{options})
passages = model.encode_document(["title and text of a passage, joined{joined}"])
print({compared})
```

`ance-tele evaluate --query_model FOLDER --passage_model RUN/episode-{episode}/model --data DATA` measures the pair.

## Settings

| setting | value |
| --- | --- |
{settings}

Weights (sha-256 of all tensors): `{weights}`
"""


# How vectors are compared where a passage has several.
LARGEST = "(queries @ passages.reshape(-1, queries.shape[1]).T).reshape(len(queries), len(passages), -1).max(-1)"


def model_card(facts: Mapping[str, Any], settings: Mapping[str, Any], card: str = CARD) -> str:
    """Return the text of a model card: the fields of ``card`` (and the separator) as facts, the settings of the run."""
    separator = facts["separator"]
    rows = "\n".join(f"| {name} | `{value}` |" for name, value in settings.items())
    base = Path(str(facts["base"])).name if Path(str(facts["base"])).exists() else facts["base"]
    usual = {"options": "", "compared": "model.similarity(queries, passages)"}
    joined = "" if separator == " " else f" by {separator}"
    found = [f"{count:,} {note}." for note, count in how_made(facts.get("notes", {})).items()]
    made = f"\n\nOf its queries, {' '.join(found)}" if found else ""
    return card.format(**{**usual, **facts, "base": base}, joined=joined, settings=rows, made=made)
