"""Settings of a teacher: a cross-encoder whose scores a retriever learns from, or a model whose vectors are learned."""

from dataclasses import dataclass, replace
from typing import Annotated, Literal

from ance_tele.console.errors import UserError
from ance_tele.console.values import check_fields

# Steps that a cross-encoder takes at least, if ten epochs have as many.
STEPS = 3000

# Learning rate of a model of BERT-base's width; smaller ones take larger steps.
BASE_RATE, BASE_WIDTH = 5e-5, 768


@dataclass(frozen=True)
class TeachingConfig:
    """What is learned from a teacher, a cross-encoder.

    Attributes:
        teacher: Folder or hub name of the cross-encoder; ``ance-tele teach`` trains one. Recipes that learn from none
            ignore it.
        distillation: What is learned from the teacher's scores of a query's positive and its drawn negatives: to rank
            them alike ("kl": KL divergence of the two softmaxes), or to tell them apart by as much ("margin_mse").
        distillation_weight: Share of the distillation in the loss; the contrastive loss has the rest.
        teacher_temperature: The teacher's scores (logits) are divided by it.
        adversarial: Share of AR2's adversarial term in the distillation: the retriever prefers negatives that the
            teacher cannot tell from the positive.
        teacher_negatives: Mined passages that the teacher finds relevant with more than this probability (the sigmoid
            of its logit) are no negatives; None keeps all.
        teacher_positives: Those that it finds relevant with at least this probability are positives of the episode;
            None for none.
        unlabelled_queries: At most so many queries of the collection that no split names train the last episode too:
            those for which the teacher finds positives among what the retriever finds (RocketQA's fourth step).
        teacher_updates: After each mining the teacher learns from the episode's own pool: from judgements alone
            ("contrastive", AR2), or also from the retriever's ranking ("mutual", RocketQAv2).
        teacher_steps: Steps of such an update; None means one pass over the training queries.
        teacher_learning_rate: Peak of the linear schedule of an update.

    Example:
        >>> TeachingConfig(distillation="kl").asks
        True
    """

    teacher: str | None = None
    distillation: Literal["off", "kl", "margin_mse"] = "off"
    distillation_weight: Annotated[float, (0, 1)] = 0.5
    teacher_temperature: float = 1.0
    adversarial: Annotated[float, (0, 1)] = 0.0
    teacher_negatives: Annotated[float | None, (0, 1)] = None
    teacher_positives: Annotated[float | None, (0, 1)] = None
    unlabelled_queries: Annotated[int, (0, 1 << 30)] = 0
    teacher_updates: Literal["off", "contrastive", "mutual"] = "off"
    teacher_steps: Annotated[int | None, (1, 1 << 30)] = None
    teacher_learning_rate: Annotated[float, (0, 10)] = 1e-5

    def check(self) -> None:
        """Refuse what the type and the range of a field do not."""
        if not self.teacher_temperature > 0:
            raise UserError(f"teacher_temperature is {self.teacher_temperature}; it must be above zero.")
        if self.unlabelled_queries and self.teacher_positives is None:
            raise UserError(
                f"unlabelled_queries is {self.unlabelled_queries}, but the teacher finds no positives for them; set "
                "teacher_positives, such as 0.9."
            )
        if self.adversarial and self.distillation != "kl":
            raise UserError(
                f"adversarial is {self.adversarial}, but distillation is '{self.distillation}'; set "
                "distillation to 'kl', of which it takes a share."
            )
        if self.teacher_updates != "off" and not self.distils:
            raise UserError(
                f"teacher_updates is '{self.teacher_updates}', but nothing is learned from the teacher; set "
                "distillation to 'kl' or 'margin_mse'."
            )

    @property
    def distils(self) -> bool:
        """Whether the teacher's scores are part of the loss."""
        return self.distillation != "off" and self.distillation_weight > 0

    @property
    def asks(self) -> bool:
        """Whether a teacher is needed."""
        return self.distils or self.judges

    @property
    def judges(self) -> bool:
        """Whether the teacher judges what is mined."""
        return self.teacher_negatives is not None or self.teacher_positives is not None


@dataclass(frozen=True)
class StepsConfig:
    """Steps, learning rate and seed of a model that is trained beside the retriever.

    Attributes:
        batch_queries: Queries in a step.
        epochs: Passes over the training queries; None takes at least two, and more of few queries, for about 3,000
            steps.
        steps: Steps instead, where given.
        learning_rate: Peak of the linear schedule; None is chosen by the width of the model.
        warmup_ratio: Share of the steps that warm up.
        weight_decay: Of AdamW.
        max_grad_norm: Gradients are clipped to this norm; 0 for not at all.
        precision: "auto" is bf16 autocast where the hardware is faster with it, float32 otherwise.
        save_steps: Steps between two checkpoints; None means every ten minutes.
        seed: Of new layers, of batches and of dropout.
    """

    batch_queries: Annotated[int, (1, 1 << 20)] = 16
    epochs: Annotated[int | None, (1, 1 << 20)] = None
    steps: Annotated[int | None, (1, 1 << 30)] = None
    learning_rate: Annotated[float | None, (0, 10)] = None
    warmup_ratio: Annotated[float, (0, 1)] = 0.1
    weight_decay: Annotated[float, (0, 10)] = 0.01
    max_grad_norm: Annotated[float, (0, 1 << 30)] = 1.0
    precision: Literal["auto", "float32", "bf16"] = "auto"
    save_steps: Annotated[int | None, (1, 1 << 30)] = None
    seed: Annotated[int, (0, (1 << 32) - 1)] = 42

    def check(self) -> None:
        """Refuse a value of the wrong type or out of its range.

        Raises:
            UserError: States the value and what is allowed.
        """
        check_fields(self)
        if self.learning_rate == 0:
            raise UserError("learning_rate is 0, with which nothing is learned; it must be above zero.")

    def rate(self, width: int) -> float:
        """Return the learning rate; that of a model of BERT-base's width, scaled to ``width``, if none is given."""
        return self.learning_rate or float(f"{BASE_RATE * BASE_WIDTH / (width or BASE_WIDTH):.1e}")

    def passes(self, queries: int, most: int) -> int:
        """Return the epochs; from two to ``most`` for about 3,000 steps, if none are given."""
        return self.epochs or max(2, min(most, -(-STEPS // -(-queries // self.batch_queries))))


@dataclass(frozen=True)
class DistilConfig(StepsConfig):
    """How a query encoder is trained on the query vectors of another model, by mean squared error.

    Attributes are those of :class:`StepsConfig`.

    Example:
        >>> chosen = DistilConfig().suited(queries=8000, width=384)
        >>> chosen.steps, chosen.learning_rate
        (3000, 0.0001)
    """

    batch_queries: Annotated[int, (1, 1 << 20)] = 32

    def suited(self, queries: int, width: int) -> "DistilConfig":
        """Return these settings with steps and learning rate by the training queries and the width of the model."""
        steps = self.steps or self.passes(queries, most=40) * -(-queries // self.batch_queries)
        return replace(self, epochs=None, steps=steps, learning_rate=self.rate(width))


@dataclass(frozen=True)
class CrossEncoderConfig(StepsConfig):
    """How a cross-encoder is trained on a query's positive and drawn negatives.

    Attributes:
        loss: "binary" judges each passage alone, so that its sigmoid is a probability, which thresholds need; "list"
            is the cross-entropy over the list.
        negatives_per_query: Drawn from the pool for each.
        rerank: Passages of each query that the trained model reranks, to be compared with the retriever; 0 for none.

    The others are those of :class:`StepsConfig`.

    Example:
        >>> CrossEncoderConfig(loss="list", negatives_per_query=15).check()
        >>> chosen = CrossEncoderConfig().suited(queries=8000, width=384)
        >>> chosen.epochs, chosen.learning_rate
        (6, 0.0001)
    """

    loss: Literal["binary", "list"] = "binary"
    negatives_per_query: Annotated[int, (1, 1 << 20)] = 4
    rerank: Annotated[int, (0, 1 << 20)] = 50

    def suited(self, queries: int, width: int) -> "CrossEncoderConfig":
        """Return these settings with a choice of those that are None, by training queries and width of the model."""
        return replace(self, epochs=self.passes(queries, most=10), learning_rate=self.rate(width))
