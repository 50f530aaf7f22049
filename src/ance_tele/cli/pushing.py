"""The verb `push`: a trained model to the Hugging Face hub."""

from ance_tele.cli.common import echo
from ance_tele.cli.flags import Flag, Given, Verb, switch
from ance_tele.console.errors import UserError
from ance_tele.console.garbage import importing


def push_verb(given: Given) -> int:
    """Upload a model with its card, or show what would be uploaded."""
    if not given.source or not given.to:
        raise UserError("push takes a run or a model, and where to: push RUN --to owner/name.")
    with importing():  # loads torch
        from ance_tele.export.hub import push

    options = {name: getattr(given, name) for name in ("episode", "best", "private", "dry_run")}
    done = push(given.source, given.to, **options)
    for name, size in done.files.items():
        echo(f"{size:>14,}  {name}")
    for name in done.left_out:
        echo(f"{'left out':>14}  {name}  (neither safetensors nor text)")
    total = f"{len(done.files)} files, {sum(done.files.values()):,} bytes"
    echo(f"\n{done.card}" if given.dry_run else f"\n{done.to}: {total}  {done.url}")
    if given.dry_run:
        echo(f"{total} would be uploaded to {done.to}; nothing was.")
    return 0


PUSH = Verb(
    push_verb,
    "Upload a model to the Hugging Face hub, with a card of what was measured. Safetensors and text, nothing else.",
    "RUN|MODEL --to OWNER/NAME [--private] [--dry-run]",
    [
        Flag("source", "a run folder, or the folder of a model"),
        Flag("--to", "the repository, owner/name; it is made if need be"),
        Flag("--episode", "of a run: which one; the last one", int | None),
        switch("--best", "of a run: the checkpoint with the highest metric on its split"),
        switch("--private", "make it a private repository"),
        switch("--dry_run", "show files, sizes and card; upload nothing"),
    ],
)
