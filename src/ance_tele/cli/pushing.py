"""The verb `push`: a trained model to the Hugging Face hub."""

from ance_tele.cli.common import echo
from ance_tele.cli.flags import Flag, Given, Result, Verb, switch
from ance_tele.console.errors import UserError
from ance_tele.console.garbage import importing


def push_verb(given: Given) -> Result:
    """Upload a model with its card."""
    return _push(given, dry=False)


def push_dry(given: Given) -> Result:
    """Print files, sizes and card of what would be uploaded."""
    return _push(given, dry=True)


def _push(given: Given, dry: bool) -> Result:
    if not given.source or not given.to:
        raise UserError("push takes a run or a model, and where to: push RUN --to owner/name.")
    with importing():  # loads torch
        from ance_tele.export.hub import push

    options = {name: getattr(given, name) for name in ("episode", "best", "private")}
    done = push(given.source, given.to, **options, dry_run=dry)
    for name, size in done.files.items():
        echo(f"{size:>14,}  {name}")
    for name in done.left_out:
        echo(f"{'left out':>14}  {name}  (neither safetensors nor text)")
    total = f"{len(done.files)} files, {sum(done.files.values()):,} bytes"
    echo(f"\n{done.card}" if dry else f"\n{done.to}: {total}  {done.url}")
    if dry:
        echo(f"{total} would be uploaded to {done.to}; nothing was.")
    return {"to": done.to, "url": done.url, "files": done.files, "left_out": list(done.left_out), "uploaded": not dry}


PUSH = Verb(
    push_verb,
    "Upload a model to the Hugging Face hub, with a card of what was measured. Safetensors and text, nothing else.",
    "RUN|MODEL --to OWNER/NAME [--private] [--dry_run]",
    [
        Flag("source", "a run folder, or the folder of a model"),
        Flag("--to", "the repository, owner/name; it is made if need be"),
        Flag("--episode", "of a run: which one; the last one", int | None),
        switch("--best", "of a run: the checkpoint with the highest metric on its split"),
        switch("--private", "make it a private repository"),
    ],
    push_dry,
)
