"""A zoo of model folders: each kind evaluated, trained and saved by us, and by sentence-transformers for comparison.

Run as a script, it prints what becomes of each kind: ``python tests/zoo.py [--episode] [parts of names]``.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from zoo_collection import collection, figures_alone, texts
from zoo_folders import (
    PROMPTS,
    SIZE,
    Build,
    adapted,
    backbone,
    bag,
    bert,
    bert_tokenizer,
    bloom,
    clip,
    convolved,
    decoder,
    distilbert,
    gpt2,
    half,
    late_interaction,
    leave_the_template_out,
    longformer,
    modernbert,
    older,
    opt,
    pad_with_the_end,
    pooled,
    recurrent,
    reranker,
    roberta,
    routed,
    sparse,
    static,
    t5,
    weighted_words,
    words,
    xlnet,
)


@dataclass(frozen=True)
class Kind:
    """A kind of model folder.

    Attributes:
        build: Writes one.
        refused: What the sentence says with which it is refused; empty where it is to work.
        untrained: What the sentence says with which it is measured, but not trained.
        needs: A package without which it cannot be built.
        alone: What sentence-transformers needs as options before it can measure the folder as it was given.
    """

    build: Build
    refused: str = ""
    untrained: str = ""
    needs: str = ""
    alone: Callable[[Any], None] = lambda model: None


CHAT = "{% for m in messages %}<|user|>{{ m['content'] }}<|end|>{% endfor %}"

KINDS: dict[str, Kind] = {
    # Encoders, as they come from pre-training.
    "BERT": Kind(bert),
    "BERT, masked language model": Kind(partial(bert, head="BertForMaskedLM")),
    "BERT, padded on the left": Kind(partial(bert, padding_side="left")),
    "RoBERTa": Kind(roberta),
    "XLM-R": Kind(partial(roberta, kind="xlm-roberta")),
    "MPNet": Kind(partial(roberta, kind="mpnet")),
    "DistilBERT": Kind(distilbert),
    "ELECTRA": Kind(lambda folder: backbone(folder, "electra", bert_tokenizer(), embedding_size=16, **SIZE)),
    "ALBERT": Kind(lambda folder: backbone(folder, "albert", bert_tokenizer(), embedding_size=16, **SIZE)),
    "DeBERTa": Kind(
        lambda folder: backbone(
            folder, "deberta-v2", bert_tokenizer(), relative_attention=True, pos_att_type=["p2c", "c2p"], **SIZE
        )
    ),
    "ModernBERT": Kind(modernbert),
    "XLNet": Kind(xlnet),
    "T5": Kind(t5),
    "Longformer": Kind(longformer),
    "FNet, which reads padding": Kind(
        lambda folder: backbone(folder, "fnet", bert_tokenizer(), max_position_embeddings=64, **SIZE),
        refused="depends on",
    ),
    # Decoders.
    "GPT-2, padded on the left": Kind(gpt2),
    "GPT-2, padded on the right": Kind(partial(gpt2, side="right")),
    "GPT-2 without a padding token": Kind(partial(gpt2, padded=False), alone=pad_with_the_end),
    "OPT": Kind(opt),
    "BLOOM": Kind(bloom),
    "Llama": Kind(partial(decoder, kind="llama")),
    "Llama without a padding token": Kind(partial(decoder, kind="llama", padded=False), alone=pad_with_the_end),
    "Qwen3, a causal language model": Kind(partial(decoder, kind="qwen3", head="Qwen3ForCausalLM")),
    "Qwen3 with a chat template": Kind(
        partial(decoder, kind="qwen3", chat_template=CHAT), alone=leave_the_template_out
    ),
    "CLIP": Kind(clip, refused="image processor"),
    # Folders of sentence-transformers.
    "pooling: CLS": Kind(partial(pooled, mode="cls")),
    "pooling: maximum": Kind(partial(pooled, mode="max")),
    "pooling: weighted mean": Kind(partial(pooled, mode="weightedmean")),
    "pooling: last token": Kind(partial(pooled, build=partial(decoder, kind="qwen3"), mode="lasttoken")),
    "pooling: three, joined": Kind(partial(pooled, mode=("cls", "max", "mean"))),
    "Dense": Kind(partial(pooled, dense=16)),
    "Normalize": Kind(partial(pooled, normalize=True)),
    "prompts": Kind(partial(pooled, prompts=PROMPTS)),
    "prompts left out of the mean": Kind(partial(pooled, include_prompt=False, prompts=PROMPTS)),
    "prompts left out of the last token": Kind(
        partial(pooled, build=gpt2, mode=("weightedmean", "lasttoken"), include_prompt=False, prompts=PROMPTS)
    ),
    "dot product": Kind(partial(pooled, similarity_fn_name="dot")),
    "truncate_dim": Kind(partial(pooled, truncate_dim=8)),
    "Euclidean": Kind(partial(pooled, similarity_fn_name="euclidean"), refused="euclidean"),
    "stored in float16": Kind(lambda folder: half("float16")(folder)),
    "stored in bfloat16": Kind(lambda folder: half("bfloat16")(folder)),
    "of an older release": Kind(older),
    "two encoders": Kind(routed),
    "two encoders, two tokenizers": Kind(partial(routed, document="roberta")),
    "static queries, BERT passages": Kind(partial(routed, query="static")),
    "static queries, static passages": Kind(partial(routed, query="static", document="static")),
    "static embeddings": Kind(static),
    "static embeddings, prompts": Kind(partial(static, prompts=PROMPTS)),
    "word embeddings": Kind(words),
    "word embeddings, frozen": Kind(partial(words, trained=False), untrained="no weight"),
    "word embeddings, frozen, with Dense": Kind(partial(words, trained=False, dense=16)),
    "word embeddings, weighted": Kind(weighted_words),
    "word embeddings, LSTM": Kind(recurrent),
    "word embeddings, CNN": Kind(convolved, refused="depends on"),
    "bag of words": Kind(bag, refused="no .safetensors"),
    "bag of words, Dense": Kind(partial(bag, dense=16)),
    "LoRA": Kind(adapted, needs="peft"),
    "LoRA with Dense": Kind(partial(adapted, dense=16), needs="peft"),
    "LoRA, the adapter alone": Kind(partial(adapted, bare=True), needs="peft", refused="adapter"),
    # What is no dense encoder.
    "sparse encoder": Kind(sparse, refused="sparse"),
    "re-ranker": Kind(reranker, refused="re-ranker"),
    "late interaction": Kind(late_interaction, refused="late-interaction"),
    "classifier": Kind(partial(bert, head="BertForSequenceClassification"), refused="a classifier or re-ranker"),
}


# ---- each kind, measured and trained ----------------------------------------------------------------------


@dataclass(frozen=True)
class Outcome:
    """What became of a kind: figures before and after training, ours and sentence-transformers' own.

    Attributes:
        refused: The sentence with which the folder was refused; nothing else is there then.
        untrained: The sentence with which its training was.
        before: Ours and theirs, of the folder as it was given.
        after: Ours and theirs, of the folder that training saved.
        company: The least cosine of a text's vector, encoded among others, to the one that it has alone.
        still: Modules that have weights to train, none of which has changed.
        changed: How many of the tensors changed, and how many there are.
    """

    refused: str = ""
    untrained: str = ""
    before: tuple[dict[str, float], ...] = ()
    after: tuple[dict[str, float], ...] = ()
    company: float = 1.0
    still: tuple[str, ...] = ()
    changed: tuple[int, int] = (0, 0)


def settings() -> Any:
    from ance_tele.encode.config import EncoderConfig

    return EncoderConfig(query_max_len=40, passage_max_len=40, precision="float32")


def figures_ours(folder: Path) -> dict[str, float]:
    """Return the same figures as we tell them."""
    from ance_tele.evaluate.model import evaluate_model

    _, scores = evaluate_model(folder, collection(), "test", settings(), depth=20)
    means = scores.means()
    return {name: means[name] for name in ("MRR@10", "nDCG@10")}


def least_cosine(model: Any, theirs: np.ndarray) -> float:
    """Encode the passages among others, in batches of several sizes; compare them to sentence-transformers' own."""
    from ance_tele.data.tokens import TokenStore
    from ance_tele.encode.encoder import text_format, tokenizer_of
    from ance_tele.encode.inference import encode_texts

    config = settings()
    form, passages = text_format(model, config, "document"), texts()[0]
    rendered = form.render([""] * len(passages), passages)
    ids = tokenizer_of(model, "document")(rendered, truncation=True, max_length=form.max_length)["input_ids"]
    least = 1.0
    for tokens in (1, 100, 1024):
        rows = np.arange(len(passages))
        ours = encode_texts(model, TokenStore.from_lists(ids), rows, "document", replace(config, encode_tokens=tokens))
        lengths = np.linalg.norm(ours, axis=1) * np.linalg.norm(theirs, axis=1)
        least = min(least, float(((ours * theirs).sum(1) / lengths).min()))
    return least


def outcome(name: str, work: Path, whole: bool = False) -> Outcome:
    """Build a folder of a kind in ``work``, measure it, train it, save it, measure it again.

    Args:
        name: Of the kind.
        work: An empty folder.
        whole: By a whole run of one episode, rather than by a few steps of training.
    """
    from ance_tele.console.errors import UserError
    from ance_tele.encode.loading import load_model, quiet

    kind, folder = KINDS[name], work / "model"
    with quiet():
        kind.build(folder)
    try:
        ours = figures_ours(folder)
    except UserError as error:
        return Outcome(refused=str(error))
    with quiet():
        figures, vectors = figures_alone(folder, kind.alone)
        before, model = (ours, figures), load_model(folder, settings(), "cpu")
        company = least_cosine(model, vectors)
    try:
        measured, changed, still = _episode(folder, work) if whole else _steps(model, work)
    except UserError as error:
        return Outcome(untrained=str(error), before=before, company=company)
    with quiet():
        after = measured, figures_alone(work / "saved")[0]
    return Outcome(before=before, after=after, company=company, changed=changed, still=still)


def _steps(model: Any, work: Path) -> tuple[dict[str, float], tuple[int, int], tuple[str, ...]]:
    """Train for two steps with random negatives, and save; return figures and what has changed."""
    from ance_tele.data.tokens import tokenize
    from ance_tele.encode.encoder import text_format, tokenizer_of
    from ance_tele.encode.loading import quiet
    from ance_tele.mining.pool import COLUMNS, Pool
    from ance_tele.training.batches import BatchPlan
    from ance_tele.training.config import TrainingConfig
    from ance_tele.training.schedule import Schedule
    from ance_tele.training.trainer import train

    ours, config = collection(), settings()
    stores = [
        tokenize(part, tokenizer_of(model, task), text_format(model, config, task), work, ours.fingerprint, what)
        for part, task, what in ((ours.queries, "query", "queries"), (ours.corpus, "document", "passages"))
    ]
    positives = ours.split("train")
    count = len(positives.queries)
    drawn = np.random.default_rng(5).integers(0, len(ours.corpus), count * 4)
    columns = {name: np.zeros(len(drawn), kind) for name, kind in COLUMNS.items()}
    pool = Pool(positives.queries, np.arange(count + 1) * 4, **{**columns, "passages": drawn.astype(np.int32)})
    plan = BatchPlan(pool, positives, 8, 3, 1)
    tiny = TrainingConfig(batch_queries=8, negatives_per_query=3, train_precision="float32", report_to=("none",))
    before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    with quiet():
        train(model, plan, *stores, tiny, work / "checkpoints", Schedule(2, 4, 0, 1e-2))
        model.save_pretrained(str(work / "saved"), create_model_card=False)
    changed = {name: not weight.equal(before[name]) for name, weight in model.named_parameters()}
    children = {
        name: child for name, child in model.named_children() if any(w.requires_grad for w in child.parameters())
    }
    still = tuple(
        f"{name} {type(child).__name__}"
        for name, child in children.items()
        if not any(moved for weight, moved in changed.items() if weight.startswith(f"{name}."))
    )
    return figures_ours(work / "saved"), (sum(changed.values()), len(changed)), still


def _episode(folder: Path, work: Path) -> tuple[dict[str, float], tuple[int, int], tuple[str, ...]]:
    """Carry out a run of one episode; return the figures that it tells and what has changed."""
    from sentence_transformers import SentenceTransformer

    from ance_tele.encode.loading import quiet
    from ance_tele.episode import run
    from ance_tele.recipes import recipe

    chosen = recipe("ance-tele")
    chosen = replace(
        chosen,
        encoder=settings(),
        episode=replace(chosen.episode, episodes=1),
        mining=replace(chosen.mining, depth=12, pool_per_source=6),
        evaluation=replace(chosen.evaluation, baselines=()),
        training=replace(
            chosen.training,
            learning_rate=1e-2,
            negatives_per_query=3,
            epochs=2,
            train_precision="float32",
            report_to=("none",),
        ),
    )
    metrics = run(chosen, collection(), folder, work / "run")["final"]
    (work / "saved").symlink_to(work / "run" / "episode-1" / "model")
    with quiet():
        models = [SentenceTransformer(str(one), device="cpu") for one in (folder, work / "saved")]
    before, after = (dict(model.named_parameters()) for model in models)
    moved = [not before[name].equal(weight) for name, weight in after.items() if name in before]
    return {name: metrics[name] for name in ("MRR@10", "nDCG@10")}, (sum(moved), len(moved)), ()


def table(names: list[str], whole: bool) -> None:
    """Print what becomes of each kind."""
    row = "{:38} {:>7} {:>7}  {:>7} {:>7}  {:>7}  {}"
    print(row.format("kind", "ours", "alone", "trained", "alone", "changed", "nDCG@10, before and after training"))
    for name in names:
        if KINDS[name].needs and find_spec(KINDS[name].needs) is None:
            print(row.format(name, *[""] * 5, f"needs {KINDS[name].needs}, which is not installed"))
            continue
        with TemporaryDirectory() as work:
            try:
                found = outcome(name, Path(work), whole)
            except Exception as error:  # shown, and on to the next
                print(row.format(name, *[""] * 5, f"! {type(error).__name__}: {str(error).strip()[:160]}"), flush=True)
                continue
        figures = [f"{each['nDCG@10']:.4f}" for pair in (found.before, found.after) for each in pair]
        figures += [""] * (4 - len(figures))
        alike = all(
            abs(pair[0][name] - pair[1][name]) < 1e-6
            for pair in (found.before, found.after)
            if pair
            for name in pair[0]
        )
        verdict = "" if alike else "! figures differ"
        dependent = f"! cosine {found.company:.4f} to itself alone" if found.company < 0.99999 else ""
        notes = [found.refused, found.untrained, verdict, dependent, " ".join(found.still)]
        changed = "{}/{}".format(*found.changed) if found.after else ""
        print(row.format(name, *figures, changed, " ".join(filter(None, notes))), flush=True)


if __name__ == "__main__":
    asked = [word.lower() for word in sys.argv[1:] if not word.startswith("--")]
    table([name for name in KINDS if not asked or any(word in name.lower() for word in asked)], "--episode" in sys.argv)
