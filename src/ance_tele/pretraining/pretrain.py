"""Continued pretraining of an encoder on the passages of a collection; what is interrupted resumes."""

import logging
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from ance_tele.console.errors import UserError
from ance_tele.console.numbers import counted
from ance_tele.data.collection import Collection
from ance_tele.data.load import cache_folder
from ance_tele.data.tokens import in_background
from ance_tele.encode.declared import separator_of
from ance_tele.encode.encoder import weights_fingerprint
from ance_tele.encode.loading import quiet
from ance_tele.encode.precision import resolve_precision
from ance_tele.encode.saving import save_model
from ance_tele.paper.settings import start_of
from ance_tele.pretraining.batches import PassageBatches
from ance_tele.pretraining.card import model_card
from ance_tele.pretraining.config import PretrainingConfig
from ance_tele.pretraining.model import Pretrained
from ance_tele.pretraining.start import Start, load_start, save_heads
from ance_tele.pretraining.words import passage_words
from ance_tele.store.artefacts import as_read_back, cached, writing
from ance_tele.store.files import remove, write_json
from ance_tele.store.lock import lock
from ance_tele.store.manifests import difference, manifest_path, package_versions, read_manifest
from ance_tele.training.batches import Feature, moved
from ance_tele.training.schedule import Schedule
from ance_tele.training.tracking import Tracking
from ance_tele.training.trainer import Pace, adamw, optimise

log = logging.getLogger(__name__)

# Passages whose loss is measured before and after, and the number of their epoch: no other has it.
SAMPLE, SAMPLE_EPOCH = 256, -1


@dataclass(frozen=True)
class PretrainingResult:
    """What came of a pretraining.

    Attributes:
        folder: The encoder.
        steps: Steps taken.
        before: Terms of the loss on a sample of the passages before it, by name.
        after: The same after it.
        reused: It was there already.
    """

    folder: Path
    steps: int
    before: dict[str, float]
    after: dict[str, float]
    reused: bool


def pretrain(
    model: str | Path,
    collection: Collection,
    out: Path,
    config: PretrainingConfig,
    cache: Path | None = None,
    device: str | None = None,
) -> PretrainingResult:
    """Continue an encoder's pretraining on the passages of a collection, and save it as an ordinary encoder folder.

    The same call resumes what was interrupted, to the same weights; checkpoints lie next to ``out`` meanwhile. One
    process does it, on one device.

    Args:
        model: Folder, hub name or short name of a BERT, RoBERTa or XLM-RoBERTa; heads beside it
            (``head.safetensors``) go on, so that coCondenser can start from a Condenser.
        collection: Its corpus is read; its queries and judgements are not.
        out: Folder of the encoder; a new one.
        config: Objective, steps, masks.
        cache: Folder for token stores; the user's cache folder by default.
        device: Where to compute; the best there is by default.

    Raises:
        UserError: The model is of another kind, a setting does not fit it, ``out`` holds something else, or training
            has diverged.

    Example:
        >>> import ance_tele as at
        >>> passages = {f"p{number}": f"t{number} u{number} w{number} w1 w2 w3" for number in range(8)}
        >>> collection = at.collection_from_dicts(passages, {"q1": "t1"}, {"test": {"q1": {"p1": 1}}})
        >>> config = at.PretrainingConfig(steps=2, span_min_tokens=2, batch_passages=4, report_to=("none",))
        >>> found = at.pretrain("my-model", collection, Path("pretrained"), config, device="cpu")
        >>> sorted(found.after), found.steps
        (['contrast', 'head', 'mlm'], 2)
        >>> at.load_model(found.folder, at.EncoderConfig(), device="cpu").get_embedding_dimension()
        32
    """
    config.check()
    out, known = Path(out), read_manifest(Path(out))
    ours = manifest_path(out).exists()
    if not ours and out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out} is there already, and not of a pretraining; give another --out.")
    start = load_start(start_of(str(model)), config, device)
    separator = separator_of(start.tokenizer, config.title_separator)
    given = collection.corpus, start.tokenizer, start.words, separator, cache or cache_folder(), collection.texts
    batches = PassageBatches(passage_words(*given), start.words, config)
    _check_passages(batches, config)
    inputs = as_read_back(
        {
            "texts": batches.passages.store.key,
            "start": weights_fingerprint(start.model),
            "heads": weights_fingerprint(start.pretrained) if start.heads else None,
            "settings": config.deciding() | {"train_precision": resolve_precision(config.train_precision, _at(start))},
        }
    )
    if known is not None and known.inputs != inputs:
        changed = difference(known.inputs, inputs)
        raise UserError(f"{out} holds an encoder of another pretraining ({changed}); give another --out.")
    work = out.with_name(f"{out.name}.checkpoints")
    with lock(out.with_name(f".{out.name}.lock")):
        manifest = cached(out, inputs)
        if manifest is None:
            with writing(out, "pretrained encoder", inputs) as made, quiet():
                tracking = Tracking(config.report_to, str(out.with_name(f"{out.name}.tracking")), 0, asdict(config))
                learned, made.earlier_seconds = _train(start, batches, config, work, inputs, tracking)
                made.facts |= learned
                _save(start, made.target, made.facts, config, str(model), collection)
            manifest = made.manifest
        remove(work)
    facts = manifest.facts
    return PretrainingResult(out, facts["steps"], facts["before"], facts["after"], manifest.reused)


def _at(start: Start) -> torch.device:
    return start.model.device


def _check_passages(batches: PassageBatches, config: PretrainingConfig) -> None:
    """Refuse a corpus without passages that are long enough; log how many are left out."""
    every, kept = len(batches.sizes), len(batches.rows)
    why = f"shorter than two spans of {config.span_min_tokens} tokens" if config.spans == 2 else "empty"
    if not kept or (kept < 2 and config.spans == 2):
        raise UserError(f"All but {kept} of {counted(every, 'passage', 'passages')} are {why}: nothing to learn from.")
    if kept < every:
        log.info(f"{every - kept:,} of {every:,} passages are left out: they are {why}")


def _train(
    start: Start,
    batches: PassageBatches,
    config: PretrainingConfig,
    work: Path,
    inputs: dict[str, Any],
    tracking: Tracking,
) -> tuple[dict[str, Any], float]:
    """Train the encoder with its heads, in place; return what is known of it, and the seconds before a resumption."""
    model, device = start.pretrained, _at(start)
    total = config.steps or batches.steps_per_epoch * config.epochs
    schedule = Schedule(total, total, math.ceil(config.warmup_ratio * total), config.learning_rate)
    before = losses(model, batches)
    torch.manual_seed(config.seed)

    def after(done: int) -> Iterator[tuple[Feature]]:
        return in_background((moved(batches(step), device),) for step in range(done, total))

    pace = Pace(config.max_grad_norm, config.logging_steps, config.save_steps, tracking)
    optimizer = adamw(model, config.weight_decay)
    trained = optimise(model, optimizer, model, after, pace, work, schedule, config.seed, inputs)
    facts = {
        "steps": trained.steps,
        "batch": config.batch_passages,
        "corpus": len(batches.sizes),
        "passages": len(batches.rows),
        "left_out": len(batches.sizes) - len(batches.rows),
        "sample": min(SAMPLE, len(batches.rows)),
        "seed": config.seed,
        "before": before,
        "after": losses(model, batches),
        "heads": list(start.heads),
        "loss": trained.loss,
        "learning_rate": trained.learning_rate,
    }
    return facts, trained.earlier_seconds


def losses(model: Pretrained, batches: PassageBatches) -> dict[str, float]:
    """Return the terms of the loss on a sample of the passages, without dropout, with masks of their own."""
    feature = batches.collate(batches.order(SAMPLE_EPOCH)[:SAMPLE], SAMPLE_EPOCH)
    model.eval()
    with torch.no_grad():
        terms = model.terms(moved(feature, model.table.device))
    return {name: float(value) for name, value in terms.items()}


def _save(
    start: Start, target: Path, facts: dict[str, Any], config: PretrainingConfig, base: str, collection: Collection
) -> None:
    """Write the encoder as it was found, plain or of sentence-transformers; its heads, loss curve and card beside."""
    start.pretrained.eval()
    if start.plain:
        start.pretrained.body.save_pretrained(target)
        start.tokenizer.save_pretrained(target)
    else:
        save_model(start.model, target)
    save_heads(start.pretrained, target)
    facts["weights"] = weights_fingerprint(start.model)
    curve = {name: facts.pop(name) for name in ("loss", "learning_rate")}
    write_json(target / "pretraining.json", {"settings": asdict(config), **facts, **curve})
    named = {"base": base, "collection": collection.name, "version": package_versions()["ance-tele"]}
    (target / "README.md").write_text(model_card({**facts, **named}, asdict(config)), "utf-8")
