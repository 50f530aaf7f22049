"""The verb `pretrain`: an encoder's pretraining, continued on the passages of a collection."""

from dataclasses import replace
from pathlib import Path

from ance_tele.cli.common import HINTS, LENIENT, echo, need
from ance_tele.cli.dry import shown
from ance_tele.cli.flags import Flag, Given, Result, Verb
from ance_tele.cli.setting_flags import setting_flags
from ance_tele.console.errors import UserError
from ance_tele.console.garbage import importing
from ance_tele.pretraining.config import PretrainingConfig

_OUT = "folder of the encoder that comes out"


def pretrain_verb(given: Given) -> Result:
    """Pretrain an encoder, print the terms of its loss before and after."""
    from ance_tele.data.load import load_collection
    from ance_tele.engine.launched import Place

    config = _config(given)
    if Place.of_environment() is not None:
        raise UserError("pretrain is the work of one process; start it without torchrun, accelerate or srun.")
    collection = load_collection(given.data, strict=not given.lenient)

    with importing():  # loads torch
        from ance_tele.pretraining.pretrain import pretrain

    echo(f"{collection.name}: {len(collection.corpus):,} passages; objective {config.objective}, seed {config.seed}")
    found = pretrain(given.model, collection, Path(given.out), config)
    echo(f"{'cached' if found.reused else 'done'}: {found.steps:,} steps")
    echo(f"{'loss of':<10} before   after")
    for name, value in found.before.items():
        echo(f"{name:<10} {value:>6.3f}  {found.after[name]:>6.3f}")
    echo(f"\nModel:  {found.folder}")
    echo(f"Next:   ance-tele run ance-tele --data {given.data} --model {found.folder} --out FOLDER")
    return {
        "model": found.folder,
        "cached": found.reused,
        **{n: getattr(found, n) for n in ("steps", "before", "after")},
    }


def pretrain_dry(given: Given) -> Result:
    """Print what `pretrain` would train, and in how many steps at most: passages that are too short are left out."""
    from ance_tele.data.load import load_collection

    config = _config(given)
    passages = len(load_collection(given.data, strict=not given.lenient).corpus)
    steps = config.steps or -(-passages // config.batch_passages) * config.epochs
    return {"would_make": [shown("encoder", given.out, passages=passages, steps=steps)]}


def _config(given: Given) -> PretrainingConfig:
    need(given, "data", "model")
    if not given.out:
        raise UserError(f"--out is missing: {_OUT}.")
    config = PretrainingConfig(**given.settings)
    config.check()
    return config


_SETTINGS = setting_flags(PretrainingConfig(), "Pretraining")
_FIRST = ("objective", "epochs", "steps", "batch_passages", "learning_rate", "max_tokens")

PRETRAIN = Verb(
    pretrain_verb,
    "Continue a model's pretraining on the passages of a collection: masked words, Condenser, coCondenser, SEED. The "
    "same command resumes; coCondenser from a Condenser goes on with its head.",
    "--data DATA --model MODEL --out FOLDER --objective mlm|condenser|cocondenser|seed [settings]",
    [
        Flag("--data", HINTS["data"], heading="Most used"),
        Flag("--model", HINTS["model"] + ": BERT, RoBERTa, XLM-RoBERTa", heading="Most used"),
        Flag("--out", _OUT, heading="Most used"),
        *(replace(_SETTINGS.pop(name), heading="Most used") for name in _FIRST),
        replace(LENIENT, heading="More"),
        *_SETTINGS.values(),
    ],
    pretrain_dry,
)
