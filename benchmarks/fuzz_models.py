"""Models that are loaded, and runs that train: made once, and run again with one of their files damaged."""

import contextlib
import io
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from unittest.mock import patch

from fuzz_inputs import Found, Reader
from fuzz_own import made, reopened, small

sys.path.append(str(Path(__file__).parents[1] / "tests"))  # the tiny model and collection of the tests

TRAINED = (
    "--episodes 1 --depth 8 --query_max_len 16 --passage_max_len 16 --pool_per_source 4 --negatives_per_query 2 "
    "--batch_queries 4 --epochs 1 --learning_rate 3e-3 --precision float32 --train_precision float32 "
    "--keep_vectors true"
)


def _model(folder: Path) -> None:
    """Write a tiny BERT with a dense layer behind it, as sentence-transformers saves it."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Transformer
    from sentence_transformers.sentence_transformer.modules import Dense, Pooling
    from toy import write_model

    with tempfile.TemporaryDirectory() as plain:
        write_model(Path(plain))
        modules = [Transformer(plain), Pooling(32), Dense(32, 16)]
        SentenceTransformer(modules=modules, device="cpu").save_pretrained(str(folder), create_model_card=False)


def vectors(folder: Path, cache: Path) -> Found:
    """Evaluate a model as it is asked for by `ance-tele evaluate`."""
    from ance_tele.encode.config import EncoderConfig
    from ance_tele.evaluate.model import evaluate_model

    os.environ["ANCE_TELE_CACHE"] = str(cache)
    run, _ = evaluate_model(folder, small(cache), "test", EncoderConfig())
    return Found(repr([run.passage_ids, [scores.tolist() for scores in run.scores]]), {})


@contextlib.contextmanager
def _undrawn() -> Iterator[None]:
    """Draw no pictures: they are most of the time of so small a run."""
    nothing = {
        "ance_tele.analysis.analyse._project": None,
        "ance_tele.report.page.panel_svg": "<svg xmlns='http://www.w3.org/2000/svg'></svg>",
        "ance_tele.report.write.curves": b"",
    }
    with contextlib.ExitStack() as stack:
        for name, value in nothing.items():
            stack.enter_context(patch(name, lambda *given, value=value: value))
        yield


def trained(folder: Path, cache: Path) -> Found:
    """Train, or run the same command again, and read what that leaves."""
    from ance_tele.cli.main import _main
    from ance_tele.console.log import log_to

    os.environ["ANCE_TELE_CACHE"] = str(cache)
    given = ["--data", str(folder / "source"), "--model", str(folder / "model"), "--out", str(folder / "run")]
    with log_to(lambda line: None), contextlib.redirect_stdout(io.StringIO()), _undrawn():
        _main(["run", "ance-tele", *given, *TRAINED.split(), "--report_to", "[none]"])
    return reopened(folder, cache)


def _train(folder: Path) -> None:
    from toy import write_model, write_toy

    write_model(folder / "model")
    write_toy(folder / "source", topics=4)
    trained(folder, folder / "cache")
    shutil.rmtree(folder / "cache")


def _trained() -> Mapping[str, bytes]:
    every = made(_train)
    return {name: content for name, content in every.items() if not name.startswith("run/report")}


def model_readers() -> tuple[Reader, ...]:
    """Return these readers; the model and the run are made now."""
    return (
        Reader("model that is loaded", made(_model), vectors, hints=True),
        Reader("trained run again", _trained(), trained, own=True),
    )
