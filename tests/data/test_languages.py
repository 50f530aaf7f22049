"""BM25 and answers in any script: terms, languages and their detection; where BM25 finds nothing, that is said."""

import json
import unicodedata
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from language_texts import PAIRS, PLAIN

from ance_tele.analysis.suspects import jaccard
from ance_tele.cli.main import main
from ance_tele.data.answers import has_answer, match_answers, words
from ance_tele.data.collection import Texts
from ance_tele.data.describe import describe as describe_collection
from ance_tele.data.detection import detect
from ance_tele.data.languages import LANGUAGES
from ance_tele.data.load import load_collection
from ance_tele.data.scripts import in_pairs
from ance_tele.search.bm25 import BM25
from ance_tele.search.terms import Terms, describe
from ance_tele.store.manifests import read_manifest

HINDI = "हिन्दी में पानी"


def corpus(bodies: Sequence[str]) -> Texts:
    columns = {"id": [f"d{i:02}" for i in range(len(bodies))], "title": [""] * len(bodies), "text": bodies}
    return Texts(pa.table({name: pa.array(column, pa.large_string()) for name, column in columns.items()}))


def mrr(rows: np.ndarray) -> float:
    """Of searches whose query i has the relevant passage i."""
    return float(np.mean([1 / (1 + list(row).index(i)) if i in row else 0 for i, row in enumerate(rows.tolist())]))


# ---- terms -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("language", "text", "expected"),
    [
        ("zh", "東京2024年", ["東", "京", "東京", "2024", "年"]),
        ("ja", "iPhoneを買う", ["iphone", "を", "買", "う", "を買", "買う"]),
        ("ja", "ｶﾞｽ、ガス", ["ガ", "ス", "ガス", "ガ", "ス", "ガス"]),  # half and full width
        ("ja", "コーヒー", ["コ", "ー", "ヒ", "ー", "コー", "ーヒ", "ヒー"]),
        ("th", "ที่นี่", ["ที่", "นี่", "ที่นี่"]),  # vowels and tones stay on their consonants
        ("ko", "물은 맑다", ["물", "은", "물은", "맑", "다", "맑다"]),
        ("bn", "জল পরিষ্কার", ["জল", "পরিষ্কার"]),
        ("none", HINDI, HINDI.split()),
        ("none", "Cafe\u0301 CAFÉ co\u00adoperate", ["café", "café", "cooperate"]),
        ("none", "👩\u200d🚀 ❤\ufe0f ___ snake_case 5 m²", ["snake_case", "5", "m2"]),
        ("none", "می\u200cشود", ["میشود"]),  # Persian joiner
        ("en", "The vitamins A, B and C: a list", ["vitamin", "a", "b", "c", "list"]),
        ("en", "a vitamin is in it", ["vitamin"]),
        ("de", "Die Häuser der Stadt und das Haus", ["haus", "stadt", "haus"]),
        ("tr", "KIZ kız İzmir", ["kız", "kız", "izmir"]),
    ],
)
def test_terms_of_a_text(language: str, text: str, expected: list[str]) -> None:
    assert Terms(language).of(text) == expected


def test_every_language_makes_terms() -> None:
    for code in LANGUAGES:
        assert Terms(code).of("2024 X"), code
    assert describe("en") == describe("de") == "its stemmer and stop words"
    assert describe("fi") == "its stemmer"
    assert describe("bn") == describe("none") == "words as they are"
    assert describe("zh") == describe("ko") == describe("th") == "characters and their pairs"


# ---- search, against the formula -------------------------------------------------------------------------


def own_terms(text: str) -> list[str]:
    """Characters with their marks, and pairs within each run; runs of ASCII letters and digits stay whole."""
    runs: list[list[str]] = [[]]
    ascii_run = False
    for character in unicodedata.normalize("NFKC", text).lower():
        kind = unicodedata.category(character)[0]
        if kind not in "LMN":
            runs.append([])
            continue
        is_ascii = character.isascii() or kind == "N"
        if is_ascii != ascii_run and runs[-1] and kind != "M":
            runs.append([])
        if runs[-1] and (kind == "M" or is_ascii):
            runs[-1][-1] += character
        else:
            runs[-1].append(character)
        ascii_run = is_ascii if kind != "M" else ascii_run
    return [term for run in runs for term in [*run, *(a + b for a, b in pairwise(run))]]


def by_the_formula(texts: list[list[str]], query: list[str]) -> np.ndarray:
    """Lucene's BM25, k1 = 0.9, b = 0.4, term by term."""
    average = np.mean([len(text) for text in texts])
    scores = np.zeros(len(texts))
    for term in query:
        frequency = np.array([Counter(text)[term] for text in texts], dtype=float)
        found = int((frequency > 0).sum())
        idf = np.log(1 + (len(texts) - found + 0.5) / (found + 0.5))
        lengths = np.array([len(text) for text in texts])
        scores += idf * frequency / (frequency + 0.9 * (1 - 0.4 + 0.4 * lengths / average))
    return scores


@pytest.mark.parametrize("language", ["zh", "ja", "th"])
def test_scores_are_those_of_the_formula_on_characters_and_pairs(language: str) -> None:
    bodies, queries = [p for _, p, _ in PAIRS[language]], [q for q, _, _ in PAIRS[language]]
    texts = corpus(bodies)
    found = BM25(texts, language).search(queries, len(bodies), texts.id_rank)
    for line, query in enumerate(queries):
        expected = by_the_formula([own_terms(body) for body in bodies], own_terms(query))
        given = np.zeros(len(bodies))
        valid = found.rows[line] >= 0
        given[found.rows[line][valid]] = found.scores[line][valid]
        np.testing.assert_allclose(given, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("language", PAIRS)
def test_questions_find_their_passages_and_passages_hold_their_answers(language: str) -> None:
    texts = corpus([passage for _, passage, _ in PAIRS[language]])
    found = BM25(texts, language).search([question for question, _, _ in PAIRS[language]], 10, texts.id_rank)
    assert mrr(found.rows) == 1.0
    pairs = np.arange(len(texts)).repeat(len(texts)), np.tile(np.arange(len(texts)), len(texts))
    answers = [[answer] for _, _, answer in PAIRS[language]]
    held = match_answers(np.arange(len(texts) + 1) * len(texts), pairs[1], answers, texts)
    substring = [PAIRS[language][query][2] in PAIRS[language][row][1] for query, row in zip(*pairs, strict=True)]
    assert held.tolist() == substring


def test_vitamins_are_told_apart() -> None:
    texts = corpus([f"Vitamin {letter} is a vitamin that the body needs a little of." for letter in "ABCDEK"])
    found = BM25(texts, "en").search([f"what is vitamin {letter} good for?" for letter in "ABCDEK"], 1, texts.id_rank)
    assert found.rows[:, 0].tolist() == [0, 1, 2, 3, 4, 5]


def test_german_has_its_own_stemmer() -> None:
    bodies = ["Die Häuser in der Altstadt sind bunt.", "Der Zug hält an jedem Bahnhof.", "Wir essen gern Kuchen."]
    queries, texts = ["ein buntes Haus", "die Bahnhöfe", "der Kuchen schmeckt"], corpus(bodies)
    assert mrr(BM25(texts, "de").search(queries, 3, texts.id_rank).rows) == 1.0
    assert mrr(BM25(texts, "en").search(queries, 3, texts.id_rank).rows) < 1.0


def test_unrelated_passages_share_characters_but_not_pairs() -> None:
    one, other = ("".join(p for _, p, _ in PAIRS["th"][half::2]) for half in (0, 1))
    characters = jaccard(frozenset(words(one)), frozenset(words(other)))
    pairs = jaccard(frozenset(in_pairs(words(one))), frozenset(in_pairs(words(other))))
    assert characters > 0.3 and pairs < 0.15
    assert in_pairs(words("a red fox")) == ["a", "red", "fox"]


# ---- which language --------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", PLAIN)
def test_languages_are_detected(code: str) -> None:
    assert detect(PLAIN[code].split("\n")).code == code


@pytest.mark.parametrize("code", PAIRS)
def test_languages_of_the_pairs_are_detected(code: str) -> None:
    assert detect([text for question, passage, _ in PAIRS[code] for text in (question, passage)]).code == code


def test_several_languages_or_none_are_said() -> None:
    both = detect([*PLAIN["de"].split("\n"), *PLAIN["en"].split("\n")])
    assert both.code == "none"
    assert both.named().startswith("several languages (") and "German" in both.named() and "English" in both.named()
    assert detect(["kubectl get pods", "ls -la"]).named() == "no language recognised"
    assert detect([]).code == detect(["12 + 3"]).code == "none"
    assert detect(["使用 TensorFlow 训练模型，先安装 Python"]).code == "zh"
    assert detect(["the cat is on the mat"]).named() == "language English (detected)"


@pytest.mark.parametrize("code", ["german", "english", ""])
def test_an_unknown_language_is_refused(code: str, toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["run", "bm25", f"--data={toy}", f"--out={tmp_path / 'run'}", f"--language={code}"]) == 2
    assert f"language is '{code}'; it must be auto, none, or one of af, am, ar," in capsys.readouterr().err


# ---- answers ---------------------------------------------------------------------------------------------


def test_answers_are_found_in_scripts_without_spaces() -> None:
    assert has_answer("長城全长两万一千多公里", ["两万一千"]) and not has_answer("全长两万公里", ["万两"])
    assert has_answer("標高は3776メートル", ["3776"]) and not has_answer("標高は3776メートル", ["776"])
    assert not has_answer("ปี๒๕๔๒", ["๒"]) and has_answer("ปี๒๕๔๒", ["๒๕๔๒"])  # numbers stay whole
    assert not has_answer("Oʼbrien", ["brien"]) and has_answer("Oʼbrien", ["Oʼbrien"])  # U+02BC is a letter


# ---- whole runs ------------------------------------------------------------------------------------------


def written(folder: Path, pairs: Sequence[tuple[str, str, str]], ask: str = "{}") -> Path:
    folder.mkdir()
    (folder / "qrels").mkdir()
    passages = [{"_id": f"p{i}", "title": "", "text": p} for i, (_, p, _) in enumerate(pairs)]
    queries = [{"_id": f"q{i}", "text": ask.format(q)} for i, (q, _, _) in enumerate(pairs)]
    for name, rows in (("corpus", passages), ("queries", queries)):
        text = "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
        (folder / f"{name}.jsonl").write_text(text, "utf-8")
    lines = ["query-id\tcorpus-id\tscore", *(f"q{i}\tp{i}\t1" for i in range(len(pairs)))]
    (folder / "qrels" / "test.tsv").write_text("\n".join(lines) + "\n", "utf-8")
    (folder / "qrels" / "train.tsv").write_text("\n".join(lines) + "\n", "utf-8")
    return folder


def run(*flags: str, capsys: pytest.CaptureFixture) -> tuple[dict[str, Any], str]:
    assert main(["run", *flags]) == 0
    out = Path(next(flag for flag in flags if flag.startswith("--out=")).partition("=")[2])
    said = capsys.readouterr()
    return json.loads((out / "summary.json").read_text("utf-8")), said.out + said.err


def test_a_chinese_collection_is_searched_and_its_language_told(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    data, out = written(tmp_path / "data", PAIRS["zh"]), tmp_path / "run"
    summary, said = run("bm25", f"--data={data}", f"--out={out}", capsys=capsys)
    assert "BM25: language Chinese (detected), characters and their pairs" in said
    assert summary["baselines"]["bm25"]["MRR@10"] == 1.0
    reads = "language Chinese (detected), characters and their pairs"
    assert summary["bm25"] == {"reads": reads, "queries": 10, "found_nothing": 0, "usable": True}
    manifest = read_manifest(out / "bm25" / "evaluation")
    assert manifest is not None and manifest.inputs["language"] == "zh" and manifest.inputs["terms"] >= 2
    assert reads in (out / "report.md").read_text("utf-8")
    lines = [" ".join(line.split()) for line in describe_collection(load_collection(data))]
    longest = max(len(text) for _, text, _ in PAIRS["zh"])
    assert lines[1].startswith("passages 10 characters: ") and lines[1].endswith(f"longest {longest}")
    assert lines[3] == "texts language Chinese (detected)"


def test_where_bm25_finds_nothing_nothing_is_tested_against_it(
    tmp_path: Path, tiny_model: Path, capsys: pytest.CaptureFixture
) -> None:
    # Questions in another alphabet than the passages.
    pairs = [(q, f"passage number {chr(97 + i) * 3}", "") for i, (q, _, _) in enumerate(PAIRS["th"])]
    data, out = written(tmp_path / "data", pairs), tmp_path / "run"
    small = ["--depth=5", "--pool_per_source=2", "--negatives_per_query=1", "--batch_queries=4", "--epochs=1"]
    small += ["--episodes=1", "--report_to=[none]", "--passage_max_len=16", "--query_max_len=16", "--strict=false"]
    command = ["q-neg", f"--data={data}", f"--model={tiny_model}", f"--out={out}", *small]
    summary, said = run(*command, capsys=capsys)
    assert "found nothing for 10 of 10 queries: no baseline to test against" in said
    assert (summary["bm25"]["found_nothing"], summary["bm25"]["usable"]) == (10, False)
    assert [one["baseline"] for one in summary["comparisons"]] == ["zero-shot"]
    report = (out / "report.md").read_text("utf-8")
    assert "BM25 found nothing for 10 of 10 queries" in report and "no test was made against it" in report
    assert "than BM25" not in report and "against bm25" not in report


def test_a_comparison_tests_nothing_against_bm25_where_it_finds_nothing(tmp_path: Path, tiny_model: Path) -> None:
    pairs = [(q, f"passage number {chr(97 + i) * 3}", "") for i, (q, _, _) in enumerate(PAIRS["th"])]
    data, out = written(tmp_path / "data", pairs), tmp_path / "grid"
    command = ["compare", "--recipes", "bm25", "zero-shot", f"--data={data}", f"--model={tiny_model}", f"--out={out}"]
    assert main([*command, "--passage_max_len=16", "--query_max_len=16"]) == 0
    (result,) = (
        json.loads(path.read_text("utf-8")) for path in out.glob("*.json") if "rows" in path.read_text("utf-8")
    )
    assert [row["system"] for row in result["rows"]] == ["bm25", "zero-shot"] and result["tests"] == []
