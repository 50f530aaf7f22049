"""How an episode is trained."""

from dataclasses import dataclass
from typing import Annotated, Literal

from ance_tele.console.errors import UserError


@dataclass(frozen=True)
class TrainingConfig:
    """How an episode is trained.

    Attributes:
        batch_queries: Queries in a step, over all processes.
        negatives_per_query: N, drawn from the pool for each query.
        positives: Several positives of a query: they take turns from epoch to epoch ("rotate"), higher grades first and
            those of one grade in hashed order; or every pair of query and positive is an example of each epoch ("all").
        replay: Share of the examples of each batch that are training queries which the last episode has forgotten, once
            more, in place of others; the number of steps does not change. 0 for none.
        epochs: Passes over the training queries, or over the pairs, that the learning-rate schedule spans.
        learning_rate: Peak of the linear schedule.
        warmup_ratio: Share of the scheduled steps that warm up.
        warmup_steps: The same in steps; wins where given.
        weight_decay: Of AdamW.
        max_grad_norm: Gradients are clipped to this norm.
        temperature: Scores are divided by it; None means 0.05 for normalised vectors, 1 otherwise.
        in_batch_negatives: The passages of the other queries of a batch are negatives too.
        mask_known_positives: Leave out passages known to be relevant to the query (official code does not).
        train_precision: "auto" is bf16 autocast where the hardware is faster with it, float32 otherwise.
        chunk_tokens: Most tokens, padding included, of one forward pass over passages; a CPU takes at most 1,024.
        grad_cache: Hold the activations of one chunk at a time (each is computed twice); None means only
            where a batch exceeds ``grad_cache_tokens``.
        grad_cache_tokens: See ``grad_cache``.
        passage_loss: Share of PAIR's passage-centric loss, by which a positive is nearer to its query than to the
            negatives of the batch; in all episodes but the last, which has the usual loss alone.
        gradient_checkpointing: Keep what enters a layer only, and compute the layer again in the backward pass: less
            memory, a third more work.
        lora_rank: Train adapters (LoRA) of this rank on the transformer, whose weights are frozen, and merge them into
            these at the end of each episode; 0 trains the weights. Needs the extra ``lora``.
        lora_alpha: What an adapter adds is scaled by this / ``lora_rank``.
        lora_targets: Names of the linear layers with an adapter, as of their last part: [query, value]; [] means all.
        weights: Hold frozen weights in "bf16" while adapters are trained: half the memory. What is trained is held in
            float32 always, where small updates are not lost.
        matryoshka_dims: The loss is the sum over vectors cut to each of these sizes; [] means whole vectors alone.
        matryoshka_weights: Weights of that sum, one for each size; [] means 1.
        compile: Compile a BERT's layers for bf16 on a GPU: torch.compile's mode "default", or "reduce-overhead", which
            records CUDA graphs. Not tried on a GPU yet.
        logging_steps: Steps between two points of the loss curve.
        save_steps: Steps between two checkpoints; None means every ten minutes.
        report_to: Trackers, as in transformers; "auto" is TensorBoard where it is installed.

    Example:
        >>> TrainingConfig(batch_queries=16, negatives_per_query=7).in_batch_negatives
        True
    """

    batch_queries: Annotated[int, (1, 1 << 20)] = 8
    negatives_per_query: Annotated[int, (0, 32767)] = 31
    positives: Literal["rotate", "all"] = "rotate"
    replay: Annotated[float, (0, 1)] = 0.0
    epochs: Annotated[int, (1, 1 << 20)] = 3
    learning_rate: Annotated[float, (0, 10)] = 5e-6
    warmup_ratio: Annotated[float, (0, 1)] = 0.1
    warmup_steps: Annotated[int | None, (0, 1 << 30)] = None
    weight_decay: Annotated[float, (0, 10)] = 0.0
    max_grad_norm: Annotated[float, (0, 1 << 30)] = 1.0
    temperature: float | None = None
    in_batch_negatives: bool = True
    mask_known_positives: bool = True
    train_precision: Literal["auto", "float32", "bf16"] = "auto"
    chunk_tokens: Annotated[int, (1, 1 << 30)] = 32768
    grad_cache: bool | None = None
    grad_cache_tokens: Annotated[int, (1, 1 << 30)] = 65536
    passage_loss: Annotated[float, (0, 1)] = 0.0
    gradient_checkpointing: bool = False
    lora_rank: Annotated[int, (0, 1 << 16)] = 0
    lora_alpha: Annotated[float, (0, 1 << 16)] = 16.0
    lora_targets: tuple[str, ...] = ()
    weights: Literal["float32", "bf16"] = "float32"
    matryoshka_dims: tuple[int, ...] = ()
    matryoshka_weights: tuple[float, ...] = ()
    compile: Literal["off", "default", "reduce-overhead"] = "off"
    logging_steps: Annotated[int, (1, 1 << 30)] = 10
    save_steps: Annotated[int | None, (1, 1 << 30)] = None
    report_to: tuple[str, ...] = ("auto",)

    def check(self) -> None:
        """Refuse what the type and the range of a field do not."""
        if self.temperature is not None and not self.temperature > 0:
            raise UserError(f"temperature is {self.temperature}; it must be above zero.")
        if self.replay and not self.mask_known_positives:
            raise UserError(
                f"replay is {self.replay}, but mask_known_positives is off, and a query that is twice in a batch would "
                "have its own positive as a negative; switch mask_known_positives on, or leave replay out."
            )
        if self.gradient_checkpointing and self.compile != "off":
            raise UserError("gradient_checkpointing and compile do not go together; leave one of them out.")
        if self.lora_rank and not self.lora_alpha:
            raise UserError(
                "lora_alpha is 0, by which what adapters add is scaled: nothing is learned; set it above 0."
            )
        if self.lora_targets and not self.lora_rank:
            raise UserError(
                f"lora_targets is {list(self.lora_targets)}, but lora_rank is 0, which trains all weights; set "
                "lora_rank, such as 16, or leave lora_targets out."
            )
        if self.weights == "bf16" and not self.lora_rank:
            raise UserError(
                "weights is bf16, in which most updates of AdamW are lost: it is for frozen weights, with lora_rank. "
                "To train all weights, train_precision bf16 computes in it and holds them in float32."
            )
        if self.weights == "bf16" and self.train_precision == "float32":
            raise UserError("weights is bf16 and train_precision float32; weights in bf16 are computed with in bf16.")
        if any(size < 1 for size in self.matryoshka_dims):
            raise UserError(f"matryoshka_dims is {list(self.matryoshka_dims)}; sizes of vectors must be above zero.")
        if len(set(self.matryoshka_dims)) < len(self.matryoshka_dims):
            raise UserError(
                f"matryoshka_dims is {list(self.matryoshka_dims)}, which names a size twice; name it once, and give it "
                "more weight with matryoshka_weights."
            )
        weights = self.matryoshka_weights
        if weights and (len(weights) != len(self.matryoshka_dims) or min(weights) < 0 or not any(weights)):
            raise UserError(
                f"matryoshka_weights is {list(weights)}; it must hold a number from 0 on for each of the "
                f"{len(self.matryoshka_dims)} matryoshka_dims, not all of them 0."
            )

    @property
    def idle(self) -> frozenset[str]:
        """The settings without effect, of those that came later than others."""
        adapters = "lora_rank", "lora_alpha", "lora_targets", "weights"
        unused = {
            "gradient_checkpointing": not self.gradient_checkpointing,
            **dict.fromkeys(adapters, not self.lora_rank),
            "matryoshka_dims": not self.matryoshka_dims,
            "matryoshka_weights": not self.matryoshka_weights,
            "compile": self.compile == "off",
            "passage_loss": not self.passage_loss,
            "replay": not self.replay,
        }
        return frozenset(name for name, none in unused.items() if none)
