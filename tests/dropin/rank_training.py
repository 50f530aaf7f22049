"""One rank of a training with the callback, started by torch's launcher: DATA MODEL OUT SETTINGS."""

import json
import sys
from pathlib import Path

from training_pairs import FLOAT32, MINING, load, read_pairs, trainer_of

import ance_tele as at


def main(data: Path, model: Path, out: Path, settings: str) -> None:
    callback = at.TeleportationCallback(
        *read_pairs(data), num_negatives=2, mining=MINING, encoder=FLOAT32, **json.loads(settings)
    )
    trainer = trainer_of(callback, load(model), out, save_strategy="steps", save_steps=3)
    trainer.train(resume_from_checkpoint=(out / "checkpoint-3").is_dir())
    read = callback.train_dataset[:]["negative_1"]
    parts = [float(one.double().sum()) for one in trainer.model.state_dict().values()]
    result = {"pools": len(callback.pools), "weights": parts, "negatives": read, "steps": trainer.state.global_step}
    (out / f"rank-{trainer.args.process_index}.json").write_text(json.dumps(result))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:4]), sys.argv[4])
