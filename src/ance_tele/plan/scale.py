"""What larger corpora and more GPUs cost: projections from what was measured on one, for docs/scale.md."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ance_tele.plan.assumed import GIB
from ance_tele.plan.plan import plan, plan_benchmark
from ance_tele.plan.work import Plan
from ance_tele.recipes import recipe

# Name, passages, mean tokens by the benchmark of this name.
CORPORA = (
    ("MS MARCO", 8_841_823, "marco"),
    ("Wikipedia", 21_015_324, "nq"),
    ("a billion passages", 1_000_000_000, "marco"),
)

# Training queries, each with a positive of its own: those of MS MARCO.
QUERIES = 502_939


@dataclass(frozen=True)
class Projection:
    """An episode over a corpus.

    Attributes:
        name: Of the corpus.
        made: The plan on one GPU.
    """

    name: str
    made: Plan

    @property
    def encoding(self) -> float:
        """GPU hours of encoding the corpus once."""
        return self.made.of("encode corpus")[0].seconds / 3600

    @property
    def searching(self) -> float:
        """GPU hours of searching for all queries, and around their positives."""
        return sum(phase.seconds for phase in self.made.of("search queries", "search positives")) / 3600

    @property
    def training(self) -> float:
        """GPU hours of the episode's training, which does not depend on the corpus."""
        return self.made.of("train")[0].seconds / 3600

    @property
    def reading(self) -> float:
        """Minutes that a shared disk needs to hand out the vectors once."""
        return self.made.vectors / (self.made.assumed.disk * 1e9) / 60

    @property
    def tokens(self) -> float:
        """GiB of the token store."""
        return self.made.disk["tokens"] / GIB

    @property
    def vectors(self) -> float:
        """GiB of vectors, on disk; inverted lists hold as much in the memory of one machine, and ids of 8 bytes."""
        return self.made.vectors / GIB

    @property
    def lists(self) -> float:
        """GiB of memory of inverted lists: vectors, and ids of 8 bytes."""
        return self.vectors + 8 * self.made.passages / GIB


def projections(gpu: str = "H100") -> Iterator[Projection]:
    """Yield an episode of ANCE-Tele over each of :data:`CORPORA`, with the training queries of MS MARCO."""
    chosen = recipe("marco").with_settings(episodes=1)
    for name, passages, benchmark in CORPORA:
        yield Projection(name, plan(chosen, passages, QUERIES, QUERIES, 6_980, gpu=gpu, collection=benchmark))


def break_even(made: Plan) -> float:
    """Return with how many queries an exact search takes the GPU as long as encoding, however large the corpus."""
    search = made.of("search queries")[0]
    return search.amount * made.of("encode corpus")[0].seconds / search.seconds


def by_corpus() -> str:
    """Return the projections as a table in Markdown, on one H100."""
    rows = [
        (
            one.name,
            f"{one.made.passages:,}",
            *(f"{hours:,.1f}" for hours in (one.encoding, one.searching, one.training)),
            *(f"{size:,.0f}" for size in (one.tokens, one.vectors, one.lists, one.made.host_memory / GIB)),
            f"{one.reading:,.1f}",
        )
        for one in projections()
    ]
    hours, sizes = ("encode (h)", "search (h)", "train (h)"), ("tokens (GiB)", "vectors (GiB)", "inverted lists (GiB)")
    return _table(("corpus", "passages", *hours, *sizes, "host memory (GiB)", "read once (min)"), rows)


def by_gpus() -> str:
    """Return the hours of the paper's run on MS MARCO, by phase, on ever more H100s: a table in Markdown."""
    rows = []
    for nodes, processes in ((1, 1), (1, 8), (2, 8), (8, 8)):
        made = plan_benchmark(recipe("marco"), "marco", gpu="H100", processes=processes, nodes=nodes)
        phases = ("encode corpus",), ("search queries", "search positives", "evaluate", "look back"), ("train",)
        seconds = [sum(phase.seconds for phase in made.of(*names)) for names in phases]
        host = made.seconds - sum(seconds)
        cells = (f"{one / 3600:.2f}" for one in (*seconds, host, made.seconds))
        rows.append((f"{nodes} x {processes}", *cells, f"{1000 * made.summing:.1f}"))
    return _table(
        ("nodes x GPUs", "encode (h)", "search (h)", "train (h)", "host (h)", "all (h)", "sum (ms a step)"), rows
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    ruled = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(row)} |" for row in ruled)
