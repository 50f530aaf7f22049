"""Sources and filters of the user's own: the examples of docs/extending.md, through the command line; errors."""

import importlib.util
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from ance_tele.cli.main import main
from ance_tele.console.errors import UserError
from ance_tele.data.collection import Collection
from ance_tele.data.load import collection_from_dicts, load_collection
from ance_tele.mining.candidates import CandidateLists, Candidates
from ance_tele.mining.config import MiningConfig
from ance_tele.mining.context import MiningContext
from ance_tele.mining.filters import filter_candidates
from ance_tele.mining.mine import mine
from ance_tele.mining.mix import mix
from ance_tele.mining.plugins import PALETTE, load_all, plugin_inputs, plugin_sources
from ance_tele.mining.source_type import source
from ance_tele.mining.storage import read_pool, write_pool
from ance_tele.recipes import recipe
from ance_tele.store.manifests import read_manifest
from ance_tele.store.plugins import code_hash

PAGE = Path(__file__).parents[2] / "docs" / "extending.md"
QUICK = (
    "--query_max_len 16 --passage_max_len 16 --depth 20 --pool_per_source 4 --negatives_per_query 4 --batch_queries 36 "
    "--epochs 1 --episodes 2 --precision float32 --max_train_queries 36 --baselines [zero-shot] --report_to [none]"
)


def section(title: str) -> str:
    return PAGE.read_text("utf-8").split(f"## {title}\n")[1].split("\n## ")[0]


def example(title: str) -> str:
    """Return the Python example of a section of the page: at most ten lines of code."""
    (code,) = re.findall(r"```python\n(.*?)```", section(title), re.DOTALL)
    assert len([line for line in code.splitlines() if line]) <= 10
    return str(code)


@pytest.fixture
def plug(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The file of the page's examples in the current directory, as a user has it."""
    path = tmp_path / "plug.py"
    path.write_text(example("A source of negatives") + "\n\n" + example("A filter"), "utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    sys.modules.pop("plug", None)
    yield path
    sys.modules.pop("plug", None)


def write(path: Path, code: str) -> None:
    """Change the file as an editor does between two runs."""
    path.write_text(code, "utf-8")
    sys.modules.pop("plug", None)
    import linecache

    linecache.clearcache()


def command(title: str, toy: Path, model: Path, out: Path) -> list[str]:
    """Return the command of a section of the page, on the toy collection."""
    (line,) = re.findall(r"```bash\nance-tele (.*?)\n```", section(title), re.DOTALL)
    words = re.findall(r"'[^']*'|\S+", line.replace("\\\n", ""))
    places = {"DATA": str(toy), "MODEL": str(model)}
    words = [places.get(word, word.strip("'")) for word in words]
    words[words.index("--out") + 1] = str(out)
    return [*words, *QUICK.split()]


def titles_of(toy: Path) -> dict[str, str]:
    return {row["_id"]: row["title"] for row in map(json.loads, (toy / "corpus.jsonl").open())}


@pytest.mark.usefixtures("undrawn_here")
def test_the_source_of_the_page(
    toy: Path, tiny_model: Path, plug: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    given = command("A source of negatives", toy, tiny_model, out)
    assert main(given) == 0
    said = capsys.readouterr().out
    titles, positives = titles_of(toy), pq.read_table(out / "positives.parquet").to_pydict()
    relevant = dict(zip(positives["query_id"], positives["passage_id"], strict=True))
    for episode in (1, 2):
        folder = out / f"episode-{episode}"
        found = pq.read_table(folder / "candidates.parquet").to_pylist()
        mined = [row for row in found if row["source"] == "same_category"]
        every = [(query, other) for query in relevant for other in titles if titles[other] == titles[relevant[query]]]
        assert sorted((row["query_id"], row["passage_id"]) for row in mined) == sorted(every)
        assert f"{len(mined):,} same_category candidates" in said
        pool = pq.read_table(folder / "pool.parquet").to_pylist()
        drawn = [row for row in pool if row["source"] == "same_category"]
        assert len(drawn) == 36 * 4 and all(row["origin"] == "same_category" for row in drawn)
        assert not [row for row in pool if row["passage_id"] == relevant[row["query_id"]]]
    carried = {row["origin"] for row in pool if row["source"] == "momentum"}
    assert carried == {"query", "same_category"}
    summary = json.loads((out / "summary.json").read_text())
    assert summary["sources"] == {"same_category": {"title": "same category", "colour": "#117733"}}
    assert summary["episodes"][1]["pool"]["by_source"]["same_category"] == 36 * 4
    assert re.search("same.category", (out / "report.html").read_text())
    suspects = json.loads((out / "analysis" / "suspects.json").read_text())
    assert suspects["by_source"]["same_category"]["pairs"] > 0
    assert main(given) == 0 and capsys.readouterr().out.count(" cached ") >= 6

    # An edited function mines again.
    manifest = read_manifest(out / "episode-1" / "candidates.parquet")
    config = MiningConfig(sources=("query", "plug:same_category"))
    before = plugin_inputs(config, 1)
    assert manifest is not None and {"code": manifest.inputs["code"]} == before
    write(plug, plug.read_text().replace("first =", "# The first positive decides.\n    first ="))
    assert plugin_inputs(config, 1)["code"].keys() == before["code"].keys() and plugin_inputs(config, 1) != before

    plug.unlink()  # a finished run is looked at without it
    sys.modules.pop("plug", None)
    assert main(["suspects", str(out), "--sources", "same_category"]) == 0
    assert "same_category" in capsys.readouterr().out
    assert main(given) == 2
    assert "There is no module 'plug' for the source of negatives 'plug:same_category'" in capsys.readouterr().err


@pytest.mark.usefixtures("undrawn_here")
def test_the_filter_of_the_page(
    toy: Path, tiny_model: Path, plug: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    assert main(command("A filter", toy, tiny_model, out)) == 0
    said, titles = capsys.readouterr().out, titles_of(toy)
    positives = pq.read_table(out / "positives.parquet").to_pydict()
    relevant = dict(zip(positives["query_id"], positives["passage_id"], strict=True))
    summary = json.loads((out / "summary.json").read_text())
    for episode in (1, 2):
        folder = out / f"episode-{episode}"
        lists = {
            "query": pq.read_table(out / f"episode-{episode - 1}" / "training_lists.parquet").to_pylist(),
            "lookahead": pq.read_table(folder / "lookahead_lists.parquet").to_pylist(),
        }
        other = {
            name: [row for row in rows if titles[row["passage_id"]] != titles[relevant[row["query_id"]]]]
            for name, rows in lists.items()
        }
        assert pq.read_table(folder / "candidates.parquet").to_pylist() == other["query"] + other["lookahead"]
        counts = {name: len(rows) - len(other[name]) for name, rows in lists.items()}
        assert min(counts.values()) > 50
        assert summary["episodes"][episode - 1]["pool"]["dropped"] == {"other_article": counts}
        assert f"left out: {sum(counts.values()):,} by other_article" in said
    assert "by other_article" in (out / "report.md").read_text()


# ---- by hand -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def collection(toy: Path) -> Collection:
    return load_collection(toy)


def context(collection: Collection, **given: Any) -> MiningContext:
    positives = collection.split("train").relevant()
    found = CandidateLists.of([np.arange(10)] * len(positives))
    return MiningContext(collection, positives, MiningConfig(**given), search_queries=lambda: found)


def test_a_source_of_ones_own_is_mixed_stored_and_carried_on_by_name(
    collection: Collection, plug: Path, tmp_path: Path
) -> None:
    sources = ("plug:same_category", "query", "plug:plain_one")
    plug.write_text(
        plug.read_text() + "\n\ndef plain_one(context):\n"
        "    return at.CandidateLists.of([[5, 6, 7]] * len(context.queries))\n"
    )
    where = context(collection, sources=sources, pool_per_source=3)
    found = mine(where)
    assert list(found.lists) == ["same_category", "query", "plain_one"]
    first = mix(found, where.positives, where.config, 1, 42)
    # What an earlier run mixed from other sources has numbered these otherwise.
    other = MiningConfig(sources=("plug:plain_one", "plug:same_category"), pool_per_source=3)
    second = mix(found, where.positives, other, 2, 42, [first])
    assert first.names[-2:] == ("same_category", "plain_one") and sum(second.by_source().values()) == len(second)
    again = mix(found, where.positives, other, 1, 42)
    assert again.names[-2:] == ("plain_one", "same_category")
    assert again.by_source().keys() == {"plain_one", "same_category"}
    third = mix(found, where.positives, where.config, 2, 42, [again])
    carried = third.origin[third.source == third.names.index("momentum")]
    assert {third.names[code] for code in carried} == {"plain_one", "same_category"}
    path = tmp_path / "pool.parquet"
    write_pool(path, third, collection.queries, collection.corpus)
    back = read_pool(path, third.queries, collection.queries, collection.corpus)
    for column in ("source", "origin"):
        named = [np.array(pool.names)[getattr(pool, column)] for pool in (third, back)]
        assert (named[0] == named[1]).all()
    assert back.by_source() == third.by_source()


def test_a_plan_counts_it_and_says_what_it_cannot_count(
    toy: Path, plug: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    counted = []
    for sources in ("[query]", "[query, plug:same_category]"):
        assert main(["run", "ance-tele", "--plan", "--data", str(toy), "--sources", sources]) == 0
        said = capsys.readouterr().out
        assert ("The hours of your own same_category are not in the plan" in said) == ("plug" in sources)
        counted.append(re.findall(r" mix +([\d,]+)", said))
    assert counted[0] and counted[0] != counted[1]


def test_title_and_colour_without_a_decorator(plug: Path) -> None:
    code = "def a_plain_one(context): ...\ndef other(context): ...\n"
    plug.write_text(f"{code}import ance_tele as at\n@at.source('Mine', '{PALETTE[0]}')\ndef mine(context): ...\n")
    config = MiningConfig(sources=("query", "plug:a_plain_one"), first_sources=("plug:other",))
    assert plugin_sources(config) == {
        "a_plain_one": {"title": "a plain one", "colour": PALETTE[0]},
        "other": {"title": "other", "colour": PALETTE[1]},
    }
    assert plugin_sources(MiningConfig()) == {} == plugin_inputs(MiningConfig(), 1)
    both = plugin_sources(MiningConfig(sources=("plug:other", "plug:mine")))
    assert both["mine"]["title"] == "Mine" and [one["colour"] for one in both.values()] == [PALETTE[1], PALETTE[0]]
    with pytest.raises(UserError, match="it must be written like #0072B2"):
        source("one", "red")


@pytest.mark.parametrize(
    ("name", "code", "sentence"),
    [
        ("nowhere:one", "", "There is no module 'nowhere' for the source of negatives 'nowhere:one'; it must lie in"),
        ("plug.inner:one", "", "There is no module 'plug.inner'"),
        ("plug:other", "", "plug.py has no 'other', which 'plug:other' names as source of negatives"),
        ("plug:one", "one = 3", "'one' in .*plug.py is no function"),
        ("plug:one", "import nowhere_at_all", "'plug' .* cannot be imported: ModuleNotFoundError: No module named"),
        ("plug:one", "def one(:", "cannot be imported: SyntaxError: .*plug.py, line 1"),
        ("plug:query", "def query(context): ...", "'plug:query' must be called otherwise"),
        ("plug:filtered", "def filtered(context): ...", "'plug:filtered' must be called otherwise"),
    ],
)
def test_a_source_that_cannot_be_found(plug: Path, name: str, code: str, sentence: str) -> None:
    write(plug, code)
    with pytest.raises(UserError, match=sentence):
        load_all(MiningConfig(sources=(name,)))


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ("[[1]] * len(context.queries)", "The source 'one' returned list; it must return CandidateLists, one list of"),
        ("at.CandidateLists.of([[1]])", "The source 'one' returned 1 lists; .* each of the 72 training queries"),
        ("at.CandidateLists.of([[144]] * 72)", "returned the row 144; the corpus has the rows 0 to 143"),
        ("at.CandidateLists.of([[-1]] * 72)", "returned the row -1"),
        ("at.CandidateLists.of([[1]] * 72, [[1.0, 2.0]] * 72)", "returned arrays of different lengths"),
    ],
)
def test_a_source_that_returns_something_else(collection: Collection, plug: Path, body: str, sentence: str) -> None:
    write(plug, f"import ance_tele as at\ndef one(context):\n    return {body}\n")
    with pytest.raises(UserError, match=sentence):
        mine(context(collection, sources=("plug:one",)))


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ("lists", r"The filter 'one' returned CandidateLists; it must return bool \[720\]"),
        ("np.ones(3, bool)", r"The filter 'one' returned bool \[3\]; it must return bool \[720\]"),
        ("np.ones(720)", r"The filter 'one' returned float64 \[720\]"),
    ],
)
def test_a_filter_that_returns_something_else(collection: Collection, plug: Path, body: str, sentence: str) -> None:
    write(plug, f"import numpy as np\ndef one(context, source, lists):\n    return {body}\n")
    where = context(collection, sources=("query",), filters=("plug:one",))
    with pytest.raises(UserError, match=sentence):
        filter_candidates(where, mine(where))


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"filters": ("long_enough",)}, "filters names 'long_enough'; a filter of your own is named module:function"),
        ({"sources": ("query", "a:b:c")}, "There is no source of negatives 'a:b:c'"),
        ({"sources": ("a:b", "a:b")}, "sources names a source twice"),
        ({"sources": ("momentum",)}, "There is no source of negatives 'momentum'"),
    ],
)
def test_names_that_cannot_be_are_refused_with_the_settings(given: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        recipe("ance-tele").with_settings(**given)


def test_two_functions_of_one_name_are_refused(plug: Path) -> None:
    with pytest.raises(UserError, match="sources names two functions called 'one'"):
        load_all(MiningConfig(sources=("a:one", "b:one")))
    with pytest.raises(UserError, match="filters names two functions called 'one'"):
        load_all(MiningConfig(filters=("a:one", "b:one")))
    with pytest.raises(UserError, match="'plug:max_score' must be called otherwise"):
        load_all(MiningConfig(filters=("plug:max_score",)))


def test_a_function_that_raises_is_named_with_file_and_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "raising.py").write_text("def sick(*given):\n    return int('title')\n", "utf-8")
    monkeypatch.chdir(tmp_path)
    qrels = {"train": {"q": {"a": 1}}}
    collection = collection_from_dicts({"a": "one", "b": "two"}, {"q": "first"}, qrels)
    positives = collection.split("train").relevant()
    found = CandidateLists.of([[0, 1]])
    for settings, what in (({"sources": ("raising:sick",)}, "source"), ({"filters": ("raising:sick",)}, "filter")):
        config = MiningConfig(**settings)  # type: ignore[arg-type]
        context = MiningContext(collection, positives, config, search_queries=lambda: found)
        with pytest.raises(UserError, match=f"The {what}.* 'raising:sick' failed .*raising.py, line 2.: ValueError: "):
            candidates = mine(context) if what == "source" else Candidates(context.queries, {"query": found})
            filter_candidates(context, candidates)


def test_a_change_of_colour_alone_mines_nothing_again(tmp_path: Path) -> None:
    def code(name: str, colour: str, body: str) -> str:
        path = tmp_path / f"{name}.py"
        path.write_text(f"import ance_tele as at\n\n@at.source('t', '{colour}')\ndef f(context):\n    return {body}\n")
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec and spec.loader
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return code_hash(module.f.function)

    assert code("first", "#000000", "1") == code("second", "#FFFFFF", "1") != code("third", "#000000", "2")
