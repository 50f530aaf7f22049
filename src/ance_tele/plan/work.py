"""The work of a run: operations of its phases, disk, memory; :class:`Assumed` converts work to time."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from ance_tele.paper.figures import Hours
from ance_tele.plan.assumed import BLOCK_QUERIES, BLOCK_ROWS, GIB, MARGIN, QUERY_ROWS, Assumed
from ance_tele.plan.hardware import BERT_BASE, GPU, ModelShape
from ance_tele.plan.pairs import pool_pairs, pools
from ance_tele.settings import Recipe


@dataclass(frozen=True)
class Phase:
    """One phase of an episode.

    Attributes:
        episode: From 1; 0 for the initial model.
        name: "tokenise", "encode corpus", "evaluate", "search queries", "search positives", "mix" or "train"; of a
            teacher "judge", "score pool" or "train teacher".
        amount: Number of ``unit``: "tokens", "passages", "queries", "candidates", "pairs" or "steps".
        flops: Operations of the GPU.
        seconds: Estimated time.
    """

    episode: int
    name: str
    amount: int
    unit: str
    flops: float
    seconds: float


@dataclass(frozen=True)
class Plan:
    """Estimated cost of a run.

    Attributes:
        queries: All queries of the collection.
        train_queries: Queries to train on.
        eval_queries: Queries that every episode is evaluated on.
        positives: Distinct relevant passages of the training queries.
        examples: Examples of an epoch.
        paper: The paper's hours for the same work (Table 6), if any.
        processes: Processes of a node, each with a GPU of its own.
        nodes: Machines, which share a disk.
        teacher: Shape of the cross-encoder, for a recipe that learns from one.
    """

    recipe: Recipe
    passages: int
    queries: int
    train_queries: int
    eval_queries: int
    shape: ModelShape
    gpu: GPU
    assumed: Assumed
    positives: int
    examples: int
    paper: Hours | None = None
    processes: int = 1
    nodes: int = 1
    teacher: ModelShape = BERT_BASE

    @property
    def gpus(self) -> int:
        """GPUs in all."""
        return self.processes * self.nodes

    @property
    def vectors(self) -> float:
        """Bytes of the vectors of one checkpoint, float32; of an ensemble, of the last."""
        encoder = self.recipe.encoder
        numbers = (encoder.projection or self.shape.hidden) * encoder.passage_vectors
        return 4.0 * self.passages * numbers * (self.episodes if self.recipe.episode.ensemble else 1)

    @property
    def episodes(self) -> int:
        """How many episodes are trained."""
        return self.recipe.episode.episodes

    @property
    def encoders(self) -> int:
        """Number of encoders: two if they are untied."""
        return 2 if self.recipe.encoder.untie_encoders else 1

    @property
    def steps_per_epoch(self) -> int:
        """ceil(examples / batch_queries)."""
        return -(-self.examples // self.recipe.training.batch_queries)

    @property
    def whole(self) -> int:
        """Steps of all epochs."""
        return self.steps_per_epoch * self.recipe.training.epochs

    @property
    def step_passages(self) -> int:
        """Passages of a step: a positive and N negatives for each query."""
        return self.recipe.training.batch_queries * (1 + self.recipe.training.negatives_per_query)

    @property
    def cached(self) -> bool:
        """Whether gradients are cached: a batch with padding exceeds the limit."""
        config = self.recipe.training
        padded = self.step_passages * (self.recipe.encoder.passage_max_len or self.assumed.passage_tokens)
        return padded > config.grad_cache_tokens if config.grad_cache is None else config.grad_cache

    @cached_property
    def phases(self) -> tuple[Phase, ...]:
        """The phases in the order of :func:`ance_tele.episode.run`."""
        return tuple(self._phases())

    @property
    def flops(self) -> float:
        """Operations of all phases."""
        return sum(phase.flops for phase in self.phases)

    @property
    def seconds(self) -> float:
        """Time of all phases."""
        return sum(phase.seconds for phase in self.phases)

    def of(self, *names: str) -> list[Phase]:
        """Return the phases of some names."""
        return [phase for phase in self.phases if phase.name in names]

    def _phases(self) -> Iterator[Phase]:
        if self.recipe.lexical:
            return
        tokens = round(self.passages * self.assumed.passage_tokens + self.queries * self.assumed.query_tokens)
        yield Phase(0, "tokenise", tokens, "tokens", 0.0, tokens / self.assumed.tokenised)
        yield self._encode(0)
        yield self._search(0, "evaluate", self.eval_queries)
        for episode in range(1, self.episodes + 1):
            sources = self.recipe.mining.sources_at(episode)
            yield self._search(episode, "search queries", self.train_queries)
            if "lookahead" in sources:
                yield self._search(episode, "search positives", self.positives)
            mixed = self.train_queries * self.recipe.mining.depth * len(sources)
            if self.recipe.teaching.judges:
                yield self._score(episode, "judge", mixed + self.train_queries)
            yield Phase(episode, "mix", mixed, "candidates", 0.0, mixed / self.assumed.mixed)
            if episode == self.episodes and (more := self.recipe.teaching.unlabelled_queries):
                yield self._search(episode, "search unlabelled", more)
                yield self._score(episode, "judge unlabelled", more * self.recipe.mining.depth)
            if self.recipe.teaching.distils:
                if self.recipe.teaching.teacher_updates != "off":
                    yield self._train_teacher(episode)
                each = pool_pairs(self.recipe)[episode - 1]
                yield self._score(episode, "score pool", self.train_queries * each)
            yield self._train(episode)
            yield self._encode(episode)
            yield self._search(episode, "evaluate", self.eval_queries)
        if self.episodes:
            yield self._search(self.episodes, "look back", self.train_queries)

    def _encode(self, episode: int) -> Phase:
        """Encode the corpus: a forward pass of every passage."""
        flops = self.passages * self.shape.forward(self.assumed.passage_tokens)
        rate = self.gpu.peak(self.recipe.encoder.precision) * self.assumed.encoding
        return Phase(episode, "encode corpus", self.passages, "passages", flops, self._shared(flops / rate, 1))

    def _search(self, episode: int, name: str, queries: int) -> Phase:
        """Search exactly: queries x passages products of ``hidden`` numbers, 2 FLOPs each, in float32.

        Every score (4 bytes) passes through GPU memory some times. Queries are encoded first; positives have
        their vectors.
        """
        products = 2.0 * queries * self.passages * self.shape.hidden
        encoded = 0.0 if name == "search positives" else queries * self.shape.forward(self.assumed.query_tokens)
        moved = 4 * queries * self.passages * self.assumed.score_passes
        seconds = products / (self.gpu.peak("float32") * self.assumed.searching) + moved / (self.gpu.bandwidth * 1e9)
        seconds += encoded / (self.gpu.peak(self.recipe.encoder.precision) * self.assumed.encoding)
        unit = "positives" if name == "search positives" else "queries"
        reads = min(self.nodes, -(-queries // BLOCK_QUERIES))
        return Phase(episode, name, queries, unit, products + encoded, self._shared(seconds, reads))

    @property
    def pair_flops(self) -> float:
        """Operations of scoring a pair: the teacher reads query and passage as one text, with one [CLS]."""
        return self.teacher.forward(self.assumed.query_tokens + self.assumed.passage_tokens - 1)

    @property
    def pairs_per_second(self) -> float:
        """Pairs that one GPU scores a second, at its share of the peak in encoding."""
        return self.gpu.peak(self.recipe.encoder.precision) * self.assumed.encoding / self.pair_flops

    def _score(self, episode: int, name: str, pairs: int) -> Phase:
        """Score pairs by the teacher: a forward pass each."""
        return Phase(episode, name, pairs, "pairs", pairs * self.pair_flops, pairs / self.pairs_per_second / self.gpus)

    def _train_teacher(self, episode: int) -> Phase:
        """Train the teacher on the pool, on one GPU: forward, and twice that backward."""
        steps = self.recipe.teaching.teacher_steps or -(-self.train_queries // self.recipe.training.batch_queries)
        flops = 3 * self.step_passages * self.pair_flops
        seconds = flops / (self.gpu.peak(self.recipe.training.train_precision) * self.assumed.training)
        seconds += 28 * self.teacher.parameters / (self.gpu.bandwidth * 1e9)
        return Phase(episode, "train teacher", steps, "steps", steps * flops, steps * seconds)

    def _shared(self, seconds: float, passes: int) -> float:
        """Divide a phase among all GPUs, but no further than their disk writes or reads all vectors so often."""
        if self.gpus == 1:
            return seconds
        return max(seconds / self.gpus, passes * self.vectors / (self.assumed.disk * 1e9))

    @property
    def summing(self) -> float:
        """Seconds a step to sum the gradients of all ranks: a ring moves them about twice over its slowest link.

        Each rank sends, and gets, 2 (n - 1) / n times the gradients in float32.
        """
        link = self.assumed.network if self.nodes > 1 else self.assumed.nvlink
        return 8.0 * self.shape.parameters * self.encoders * (1 - 1 / self.gpus) / (link * 1e9)

    def _train(self, episode: int) -> Phase:
        """Train: forward, and twice that backward; with gradient caching one more forward.

        For each weight, 6 FLOPs a token (8 with gradient caching), and the terms of attention likewise. AdamW then
        moves weight, gradient and both moments: 28 bytes a parameter and step, in every process.
        """
        steps = self.recipe.schedule(episode, self.examples).steps
        passes = 4 if self.cached else 3
        one = self.shape.forward
        flops = passes * self.step_passages * one(self.assumed.passage_tokens)
        flops += 3 * self.recipe.training.batch_queries * one(self.assumed.query_tokens)
        rate = self.gpu.peak(self.recipe.training.train_precision) * self.assumed.training
        seconds = flops / (self.gpus * rate) + self.summing
        seconds += 28 * self.shape.parameters * self.encoders / (self.gpu.bandwidth * 1e9)
        return Phase(episode, "train", steps, "steps", steps * flops, steps * seconds)

    @property
    def disk(self) -> dict[str, float]:
        """Bytes on disk at the fullest moment, by kind.

        Tokens take 2 bytes (4 where the vocabulary exceeds 65,536) and 8 a text for its place. Vectors are float32, of
        one checkpoint unless all are kept. A checkpoint of training holds weights and both moments of AdamW; a new one
        is whole before the old one goes.
        """
        if self.recipe.lexical:
            return {}
        a, mining, weights = self.assumed, self.recipe.mining, 4.0 * self.shape.parameters * self.encoders
        width = 2 if self.shape.vocabulary <= 1 << 16 else 4
        tokens = self.passages * a.passage_tokens + self.queries * a.query_tokens
        lists = (self.episodes + 1 if self.episodes else 0) * self.train_queries * mining.depth
        mined = sum(len(mining.sources_at(e)) for e in range(1, self.episodes + 1)) * self.train_queries * mining.depth
        drawn = self.train_queries * sum(total for _, total in pools(self.recipe))
        scored = sum(phase.amount for phase in self.phases if phase.unit == "pairs")
        learns = self.recipe.teaching.distils and self.recipe.teaching.teacher_updates != "off"
        kept = self.episodes + 1 if self.recipe.episode.keep_vectors else 1
        return {
            "tokens": width * tokens + 8.0 * (self.passages + self.queries),
            "vectors": kept * self.vectors,
            "candidates": a.candidate_bytes * (mined + lists),
            "pools": a.pool_bytes * drawn,
            **({"teacher scores": a.candidate_bytes * scored} if scored else {}),
            "models": self.episodes * (weights + (4.0 * self.teacher.parameters if learns else 0)),
            "checkpoints": 6 * weights if self.episodes else 0.0,
        }

    @property
    def gpu_memory(self) -> dict[str, float]:
        """Bytes on each GPU by activity, without those of allocator and libraries.

        Training holds 16 bytes a parameter (weights, gradients, two moments), 2 more for the weights in 16 bits, and
        the activations of its share of a batch, or of one chunk with gradient caching. Searching holds a block of
        vectors, and three times the scores of one product, as the best are found.
        """
        if self.recipe.lexical:
            return {}
        a, config, parameters = self.assumed, self.recipe.training, self.shape.parameters * self.encoders
        half = self.gpu.peak(config.train_precision) == self.gpu.peak("bf16") and self.gpu.bf16
        live = config.chunk_tokens if self.cached else self.step_passages * a.passage_tokens
        live = (live if self.cached else live / self.gpus) + config.batch_queries * a.query_tokens / self.gpus
        training = (18 if half else 16) * parameters + self.shape.activations(live, 2 if half else 4)
        layer = self.recipe.encoder.encode_tokens * (8 * self.shape.hidden + 2 * self.shape.intermediate)
        rows = min(BLOCK_ROWS, self.passages)
        scores = 4.0 * rows * min(QUERY_ROWS, max(self.train_queries if self.episodes else 0, self.eval_queries))
        return {
            **({"training": training} if self.episodes else {}),
            "encoding": 6 * parameters + 4.0 * layer,
            "searching": 4.0 * parameters + 4.0 * rows * self.shape.hidden + 3 * scores,
        }

    @property
    def host_memory(self) -> float:
        """Bytes of the process at its fullest moment.

        2 GiB for the libraries; ids while they are looked up, about 40 bytes a passage; and the most of: a search's
        rows and scores, 12 bytes a candidate, twice; candidates while they are mixed, 16 bytes (measured: 2.95 GiB for
        200 million).
        """
        depth = self.recipe.mining.depth
        most = max((len(self.recipe.mining.sources_at(e)) for e in range(1, self.episodes + 1)), default=0)
        searched = 24.0 * self.train_queries * (depth + MARGIN) if self.episodes else 0.0
        return 2.0 * GIB + 40.0 * self.passages + max(searched, 16.0 * self.train_queries * depth * most)
