import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ance_tele.data import tokens
from ance_tele.data.collection import Collection, Texts
from ance_tele.data.load import collection_from_dicts
from ance_tele.data.text_format import TextFormat, batch_tokenizer, tokenizer_fingerprint
from ance_tele.data.tokens import TokenStore, tokenize
from ance_tele.store.manifests import read_manifest

CORPUS = {
    "d1": ("t1", "w1 w2 w3 w4 w5 w6 w7 w8 w9"),
    "d2": ("", "w1 w2"),
    "d3": ("t3 t4", "w1"),
    "d4": ("t5", ""),
    "d5": ("", "nobody knows these words"),
}


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory) -> Collection:
    cache = tmp_path_factory.mktemp("collections")
    return collection_from_dicts(CORPUS, {"q1": "w1 w2"}, {"test": {"q1": {"d1": 1}}}, cache=cache)


@pytest.fixture(scope="module")
def corpus(collection: Collection) -> Texts:
    return collection.corpus


@pytest.fixture
def tokenizer(tiny_model: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(tiny_model)


def ids(store: TokenStore) -> list[list[int]]:
    return [store[row].tolist() for row in range(len(store))]


FORMATS = {
    "plain": (TextFormat(), "{title} {text}", "{text}"),
    "a prompt": (TextFormat(prompt="passage: "), "passage: {title} {text}", "passage: {text}"),
    "[SEP], also after an empty title": (TextFormat(title_separator="[SEP]"), "{title}[SEP]{text}", "[SEP]{text}"),
    "prompt and [SEP]": (
        TextFormat("query: ", "[SEP]", 6),
        "query: {title}[SEP]{text}",
        "query: [SEP]{text}",
    ),
    "no separator": (TextFormat(title_separator=""), "{title}{text}", "{text}"),
    "cut at seven": (TextFormat(max_length=7), "{title} {text}", "{text}"),
    "cut at three": (TextFormat(max_length=3), "{title} {text}", "{text}"),
}


@pytest.mark.parametrize("kind", FORMATS)
def test_the_store_holds_what_the_tokenizer_says(corpus: Texts, tokenizer: Any, tmp_path: Path, kind: str) -> None:
    form, with_title, without = FORMATS[kind]
    store = tokenize(corpus, tokenizer, form, tmp_path, "texts", "passages")
    rendered = [(with_title if title else without).format(title=title, text=text) for title, text in CORPUS.values()]
    assert form.render(*map(list, zip(*CORPUS.values(), strict=True))) == rendered
    expected = [tokenizer(text, truncation=True, max_length=form.max_length)["input_ids"] for text in rendered]
    assert ids(store) == expected
    assert store.lengths().tolist() == [len(row) for row in expected] and store[0].dtype == np.int64
    assert all(row[0] == tokenizer.cls_token_id and row[-1] == tokenizer.sep_token_id for row in expected)
    assert max(map(len, expected)) <= form.max_length
    assert store.lengths(np.array([3, 0])).tolist() == [len(expected[3]), len(expected[0])]


def test_the_cut_counts_the_special_tokens_and_is_reported(corpus: Texts, tokenizer: Any, tmp_path: Path) -> None:
    store = tokenize(corpus, tokenizer, TextFormat(max_length=5), tmp_path, "texts", "passages")
    tokens = tokenizer.convert_ids_to_tokens(store[0].tolist())
    assert tokens == ["[CLS]", "t1", "w1", "w2", "[SEP]"]
    manifest = read_manifest(tmp_path / "tokens" / store.key[:16])
    assert manifest is not None
    assert manifest.facts["texts"] == 5 and manifest.facts["tokens"] == int(store.lengths().sum())


def test_the_separator_is_one_special_token(corpus: Texts, tokenizer: Any, tmp_path: Path) -> None:
    store = tokenize(corpus, tokenizer, TextFormat(title_separator="[SEP]"), tmp_path, "texts", "passages")
    tokens = [tokenizer.convert_ids_to_tokens(row) for row in ids(store)]
    assert tokens[1] == ["[CLS]", "[SEP]", "w1", "w2", "[SEP]"]  # an empty title
    assert tokens[2] == ["[CLS]", "t3", "t4", "[SEP]", "w1", "[SEP]"]
    assert tokens[3] == ["[CLS]", "t5", "[SEP]", "[SEP]"]  # an empty text


def test_a_store_is_made_once_and_again_where_anything_differs(
    collection: Collection, tokenizer: Any, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import AutoTokenizer

    corpus, form = collection.corpus, TextFormat("passage: ", " ", 16)
    store = tokenize(corpus, tokenizer, form, tmp_path, "texts", "passages")
    made: list[str] = []

    def noting(tokenizer: Any, max_length: int) -> Any:
        """Note every call that cuts texts."""
        cut = batch_tokenizer(tokenizer, max_length)

        def noted(texts: list[str]) -> Any:
            made.append(texts[0])
            return cut(texts)

        return noted

    monkeypatch.setattr(tokens, "batch_tokenizer", noting)
    tokenizer("a call that sets truncation and padding", truncation=True, max_length=4, padding="max_length")
    again = tokenize(corpus, tokenizer, form, tmp_path, "texts", "passages")
    assert again.key == store.key and ids(again) == ids(store) and made == []

    grown = AutoTokenizer.from_pretrained(tiny_model)
    grown.add_tokens(["nobody"])
    cased = AutoTokenizer.from_pretrained(tiny_model)
    cased.backend_tokenizer.normalizer.lowercase = False
    left = AutoTokenizer.from_pretrained(tiny_model, truncation_side="left")
    others = {
        "prompt": (tokenizer, replace(form, prompt="query: "), "texts", "passages"),
        "separator": (tokenizer, replace(form, title_separator="[SEP]"), "texts", "passages"),
        "length": (tokenizer, replace(form, max_length=17), "texts", "passages"),
        "vocabulary": (grown, form, "texts", "passages"),
        "lower case": (cased, form, "texts", "passages"),
        "side of the cut": (left, form, "texts", "passages"),
        "texts": (tokenizer, form, "other texts", "passages"),
        "part": (tokenizer, form, "texts", "queries"),
    }
    keys = {store.key}
    for number, (other, shape, source, what) in enumerate(others.values(), 1):
        keys.add(tokenize(corpus, other, shape, tmp_path, source, what).key)
        assert len(made) == number
    assert len(keys) == 1 + len(others)
    assert ids(TokenStore.open(tmp_path / "tokens" / store.key[:16], store.key)) == ids(store)  # none was overwritten


def test_a_call_leaves_no_mark_on_the_key(tokenizer: Any, tiny_model: Path) -> None:
    from transformers import AutoTokenizer

    fresh = tokenizer_fingerprint(AutoTokenizer.from_pretrained(tiny_model))
    tokenizer(["w1", "w1 w2"], truncation=True, max_length=3, padding=True)
    assert tokenizer_fingerprint(tokenizer) == fresh
    assert tokenizer.backend_tokenizer.truncation is not None  # nor does the fingerprint on the tokenizer


def test_a_damaged_store_is_made_again(corpus: Texts, tokenizer: Any, tmp_path: Path) -> None:
    store = tokenize(corpus, tokenizer, TextFormat(), tmp_path, "texts", "passages")
    expected = ids(store)
    folder = tmp_path / "tokens" / store.key[:16]
    assert sorted(path.name for path in folder.iterdir()) == ["ids.npy", "offsets.npy"]
    (folder / "ids.npy").write_bytes(b"")
    assert ids(tokenize(corpus, tokenizer, TextFormat(), tmp_path, "texts", "passages")) == expected
    shutil.rmtree(folder)
    assert ids(tokenize(corpus, tokenizer, TextFormat(), tmp_path, "texts", "passages")) == expected


def test_ids_beyond_sixteen_bits_survive(corpus: Texts, tmp_path: Path) -> None:
    class Big:
        """A tokenizer of many words."""

        def __len__(self) -> int:
            return 100_000

        def get_vocab(self) -> dict[str, int]:
            return {"x": 99_999}

        def __call__(self, texts: list[str], **_: Any) -> dict[str, list[list[int]]]:
            return {"input_ids": [[99_999, 65_536, number] for number in range(len(texts))]}

    store = tokenize(corpus, Big(), TextFormat(), tmp_path, "texts", "passages")
    assert ids(store) == [[99_999, 65_536, number] for number in range(5)]


def test_texts_beyond_one_batch_stay_in_order(tokenizer: Any, tmp_path: Path) -> None:
    texts = {f"d{number}": f"w{number % 60}" for number in range(17_000)}  # a batch is 16,384
    found = collection_from_dicts(texts, {"q": "x"}, {"test": {"q": {"d0": 1}}}, cache=tmp_path)
    store = tokenize(found.corpus, tokenizer, TextFormat(), tmp_path, found.fingerprint, "passages")
    assert len(store) == 17_000 and len(store.flat) == 51_000
    for row in (0, 8191, 8192, 16_383, 16_384, 16_999):
        assert tokenizer.decode(store[row][1:-1]) == f"w{row % 60}"


ragged = st.lists(st.lists(st.integers(0, 70_000), max_size=7), min_size=1, max_size=9)


@settings(deadline=None, max_examples=150)
@given(ragged, st.data(), st.integers(0, 3))
def test_padding_puts_every_id_in_its_place(rows: list[list[int]], data: st.DataObject, pad: int) -> None:
    store = TokenStore.from_lists(rows)
    assert ids(store) == rows
    chosen = data.draw(st.lists(st.integers(0, len(rows) - 1), max_size=12))
    padded, mask = store.padded(np.array(chosen, dtype=np.int64), pad)
    width = max((len(rows[row]) for row in chosen), default=0)
    assert padded.shape == mask.shape == (len(chosen), width) and padded.dtype == mask.dtype == np.int64
    for line, ones, row in zip(padded.tolist(), mask.tolist(), chosen, strict=True):
        rest = width - len(rows[row])
        assert line == rows[row] + [pad] * rest and ones == [1] * len(rows[row]) + [0] * rest


@given(ragged, ragged)
def test_lists_that_differ_have_other_keys(one: list[list[int]], other: list[list[int]]) -> None:
    assert (TokenStore.from_lists(one).key == TokenStore.from_lists(other).key) == (one == other)


def test_padding_from_disk_is_as_the_tokenizer_pads(corpus: Texts, tokenizer: Any, tmp_path: Path) -> None:
    store = tokenize(corpus, tokenizer, TextFormat(max_length=8), tmp_path, "texts", "passages")
    rows = np.array([4, 0, 1])
    titles, texts = next(corpus.batches(rows))
    expected = tokenizer(
        TextFormat().render(titles, texts), truncation=True, max_length=8, padding=True, return_tensors="np"
    )
    found, mask = store.padded(rows, tokenizer.pad_token_id)
    assert np.array_equal(found, expected["input_ids"]) and np.array_equal(mask, expected["attention_mask"])


@pytest.mark.parametrize("side", ["left", "right"])
def test_the_backend_cuts_as_the_tokenizer_does(tiny_model: Path, side: str) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_model, truncation_side=side)
    texts = ["w1 w2 w3 w4 w5 w6 w7", "w1[SEP]w2", "", "nobody knows [MASK]"]
    for length in (3, 5, 128):
        expected = tokenizer(texts, truncation=True, max_length=length)["input_ids"]
        assert batch_tokenizer(tokenizer, length)(texts)[0] == expected
    slow = batch_tokenizer(
        type("Slow", (), {"__call__": lambda self, texts, **options: tokenizer(texts, **options)})(), 5
    )
    assert slow(texts)[0] == tokenizer(texts, truncation=True, max_length=5)["input_ids"]
