"""How an encoder's pretraining is continued on a corpus."""

from dataclasses import dataclass, fields
from typing import Annotated, Any, Literal

from ance_tele.console.errors import UserError
from ance_tele.console.values import check_fields

Objective = Literal["mlm", "condenser", "cocondenser", "seed"]

TERMS: dict[Objective, dict[str, float]] = {
    "mlm": {"mlm": 1.0},
    "condenser": {"mlm": 1.0, "head": 1.0},
    "cocondenser": {"mlm": 1.0, "head": 1.0, "contrast": 1.0},
    "seed": {"mlm": 0.5, "decoder": 0.5},
}
"""Terms of the loss of each objective, and their weights."""

# Without effect on the weights that come out.
FREE = ("logging_steps", "save_steps", "report_to")


@dataclass(frozen=True)
class PretrainingConfig:
    """How an encoder's pretraining is continued on a corpus.

    Attributes:
        objective: "mlm": masked language model; "condenser": the same, and again from early layers' tokens and the last
            layer's first token; "cocondenser": the same, and two spans of a passage attract each other; "seed": masked
            language model, and a weak decoder that sees the first token's vector and the last few tokens.
        epochs: Passes over the passages that the schedule spans.
        steps: The same in steps; wins where given.
        batch_passages: Passages in a step; of "cocondenser" each gives two spans.
        max_tokens: Most tokens of a text, special tokens included; of a longer one a window is drawn in each epoch.
        mask_rate: Share of the tokens that are to be predicted, in whole words.
        span_min_tokens: "cocondenser" leaves out passages that do not give two spans of so many tokens.
        head_layers: Layers of the Condenser head, which is thrown away.
        skip_from: Layer whose tokens go to the head; None means the middle one.
        decoder_layers: Layers of SEED's decoder.
        decoder_span: Tokens that a layer of the decoder attends to, besides the first token of the encoder.
        learning_rate: Peak of the linear schedule.
        warmup_ratio: Share of the steps that warm up.
        weight_decay: Of AdamW.
        max_grad_norm: Gradients are clipped to this norm; 0 for not at all.
        train_precision: "auto" is bf16 where the hardware is faster with it, float32 otherwise.
        title_separator: Between title and body, as in training.
        chunk_tokens: Most tokens, padding included, of one forward pass; a CPU takes at most 1,024.
        grad_cache: Hold the activations of one chunk at a time (each is computed twice); None means only
            where a batch exceeds ``grad_cache_tokens``.
        grad_cache_tokens: See ``grad_cache``.
        logging_steps: Steps between two points of the loss curve.
        save_steps: Steps between two checkpoints; None means every ten minutes.
        report_to: Trackers, as in transformers; "auto" is TensorBoard where it is installed.
        seed: Of every draw.

    Example:
        >>> import ance_tele as at
        >>> at.PretrainingConfig("condenser", epochs=2, batch_passages=64).mask_rate
        0.15
    """

    objective: Objective = "cocondenser"
    epochs: Annotated[int, (1, 1 << 20)] = 8
    steps: Annotated[int | None, (1, 1 << 30)] = None
    batch_passages: Annotated[int, (1, 1 << 20)] = 256
    max_tokens: Annotated[int, (8, 1 << 20)] = 128
    mask_rate: Annotated[float, (0, 1)] = 0.15
    span_min_tokens: Annotated[int, (1, 1 << 20)] = 8
    head_layers: Annotated[int, (1, 64)] = 2
    skip_from: Annotated[int | None, (0, 1000)] = None
    decoder_layers: Annotated[int, (1, 64)] = 3
    decoder_span: Annotated[int, (1, 1 << 20)] = 2
    learning_rate: Annotated[float, (0, 10)] = 1e-4
    warmup_ratio: Annotated[float, (0, 1)] = 0.1
    weight_decay: Annotated[float, (0, 10)] = 0.01
    max_grad_norm: Annotated[float, (0, 1 << 30)] = 1.0
    train_precision: Literal["auto", "float32", "bf16"] = "auto"
    title_separator: str = " "
    chunk_tokens: Annotated[int, (1, 1 << 30)] = 16384
    grad_cache: bool | None = None
    grad_cache_tokens: Annotated[int, (1, 1 << 30)] = 16384
    logging_steps: Annotated[int, (1, 1 << 30)] = 10
    save_steps: Annotated[int | None, (1, 1 << 30)] = None
    report_to: tuple[str, ...] = ("auto",)
    seed: Annotated[int, (0, (1 << 32) - 1)] = 42

    @property
    def terms(self) -> dict[str, float]:
        """Terms of the loss, with their weights."""
        return TERMS[self.objective]

    @property
    def spans(self) -> int:
        """Texts that a passage gives."""
        return 2 if self.objective == "cocondenser" else 1

    def deciding(self) -> dict[str, Any]:
        """Return the settings that decide what comes out, by name."""
        return {one.name: getattr(self, one.name) for one in fields(self) if one.name not in FREE}

    def check(self) -> None:
        """Refuse a value of the wrong type, out of its range, or at odds with another.

        Raises:
            UserError: States the value and what is allowed.
        """
        check_fields(self)
        if not self.mask_rate:
            raise UserError("mask_rate is 0; without masked words there is nothing to predict.")
        if self.objective == "cocondenser" and self.batch_passages < 2:
            raise UserError("batch_passages is 1; cocondenser contrasts the spans of several passages: at least 2.")
