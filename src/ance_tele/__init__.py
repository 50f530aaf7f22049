"""Train dense retrievers with teleportation negatives, and see what they learned and forgot.

The public functions work alone, on objects that people already have::

    import ance_tele as at

    collection = at.collection_from_dicts(corpus, queries, qrels)    # or at.load_collection(folder)
    recipe = at.recipe_for("ance-tele", collection, "path/to/model")    # defaults by what is at hand
    summary = at.run(recipe, collection, "path/to/model", "runs/mine")
"""

import logging
import re
from importlib import import_module
from pathlib import Path
from typing import Any

__version__ = "0.1.0"

logging.getLogger(__name__).addHandler(logging.NullHandler())  # nothing is printed unless somebody asks for the lines

# Public names are written once, as imports in the stub file, where type checkers and editors read them. They are
# imported when they are first asked for: some load torch.
_STUB = Path(__file__).with_suffix(".pyi").read_text("utf-8")
_MODULES = {name: module for module, name in re.findall(r"^from (\S+) import (\w+) as", _STUB, re.MULTILINE)}

__all__ = [*sorted(_MODULES), "__version__"]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'ance_tele' has no attribute '{name}'")
    return getattr(import_module(_MODULES[name]), name)
