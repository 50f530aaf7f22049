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
