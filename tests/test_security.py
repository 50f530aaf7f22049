"""Nothing that is read is executed: the source loads no pickle, and what is planted in a model or run stays unread."""

import ast
import json
import pickle
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_layers import MODULES

from ance_tele.console.errors import UserError
from ance_tele.encode.config import EncoderConfig
from ance_tele.store.tables import open_array

# ---- the source ----------------------------------------------------------------------------------

# Modules that load pickles, or whose purpose is to; an error of theirs may be named.
UNPICKLERS = {"pickle", "_pickle", "cPickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}
CALLS = {"torch.load", "pd.read_pickle", "pandas.read_pickle", "os.system", "os.popen"}
EXECUTED = {"eval", "exec", "compile", "__import__"}
YAML = {"load", "load_all"}
SAFE_LOADERS = {"SafeLoader", "CSafeLoader"}
TRUST = ("config.trust_remote_code", "trust_remote_code")  # the setting, or an argument of that name handed on


def dotted(node: ast.expr) -> str:
    return f"{dotted(node.value)}.{node.attr}" if isinstance(node, ast.Attribute) else getattr(node, "id", "?")


def safe_loaders(tree: ast.Module) -> set[str]:
    """The names in a module that are a safe loader of YAML: classes derived from one, and what is assigned one."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef) and {dotted(base).rpartition(".")[2] for base in node.bases} <= SAFE_LOADERS:
            names.add(node.name)
        if isinstance(node, (ast.Assign, ast.AnnAssign)) and node.value:
            used = {one.attr for one in ast.walk(node.value) if isinstance(one, ast.Attribute)}
            texts = {one.value for one in ast.walk(node.value) if isinstance(one, ast.Constant)}
            if (used | texts) & SAFE_LOADERS and not (used | texts) & {"Loader", "UnsafeLoader", "FullLoader"}:
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                names |= {target.id for target in targets if isinstance(target, ast.Name)}
    return names


def dangers(source: str) -> Iterator[str]:
    """Yield what a module does that could execute what it reads."""
    tree = ast.parse(source)
    loaders = safe_loaders(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (one.name for one in node.names if one.name.partition(".")[0] in UNPICKLERS)
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            if module.partition(".")[0] in UNPICKLERS:
                yield from (f"{module}.{one.name}" for one in node.names if not one.name.endswith("Error"))
            yield from (name for one in node.names if (name := f"{module}.{one.name}") in CALLS)
        elif isinstance(node, ast.Call):
            yield from _calls(node, loaders)
        elif isinstance(node, ast.Dict):
            pairs = zip(node.keys, node.values, strict=True)
            given = {key.value: dotted(value) for key, value in pairs if isinstance(key, ast.Constant)}
            if given.get("trust_remote_code", TRUST[0]) not in TRUST:
                yield "trust_remote_code"


def _calls(node: ast.Call, loaders: set[str]) -> Iterator[str]:
    name = dotted(node.func)
    if name in CALLS or name in EXECUTED:
        yield name
    if name.startswith("yaml.") and name.rpartition(".")[2] not in ("safe_load", "safe_dump", "dump"):
        given = [dotted(one) for one in [*node.args[1:], *(word.value for word in node.keywords)]]
        safe = any(one in loaders or one.rpartition(".")[2] in SAFE_LOADERS for one in given)
        if name.rpartition(".")[2] in (*YAML, "unsafe_load", "full_load") and not safe:
            yield name
    for word in node.keywords:
        off = isinstance(word.value, ast.Constant) and word.value.value in (False, None)
        if word.arg in ("allow_pickle", "shell") and not off:
            yield f"{name}({word.arg}=)"
        if word.arg == "weights_only" and off:
            yield f"{name}(weights_only=)"
        if word.arg == "trust_remote_code" and not (off or dotted(word.value) in TRUST):
            yield f"{name}(trust_remote_code=)"


@pytest.mark.parametrize(
    "line",
    [
        "import pickle", "import joblib", "from pickle import loads", "import cloudpickle.x", "from torch import load",
        "torch.load(path)", "np.load(path, allow_pickle=True)", "np.load(path, allow_pickle=anything)",
        "pd.read_pickle(path)", "eval(text)", "exec(text)", "subprocess.run(words, shell=True)", "os.system(words)",
        "yaml.load(text)", "yaml.load(text, yaml.Loader)", "yaml.load(text, Loader=yaml.FullLoader)",
        "yaml.unsafe_load(text)", "class Mine(yaml.Loader): ...\nyaml.load(text, Mine)",
        "AutoModel.from_pretrained(name, trust_remote_code=True)", "load(name, weights_only=False)",
        "S(name, **{'trust_remote_code': True})",
    ],
)  # fmt: skip
def test_the_scan_sees(line: str) -> None:
    assert list(dangers(line))


@pytest.mark.parametrize(
    "line",
    [
        "np.load(path, mmap_mode='r')", "model.eval()", "ast.literal_eval(text)", "subprocess.run(words)",
        "class Mine(yaml.SafeLoader): ...\nyaml.load(text, Mine)", "yaml.safe_load(text)",
        "S(name, trust_remote_code=config.trust_remote_code)", "opened(place, trust_remote_code=trust_remote_code)",
        "from pickle import UnpicklingError", "re.compile(text)",
    ],
)  # fmt: skip
def test_the_scan_passes(line: str) -> None:
    assert list(dangers(line)) == []


def test_no_module_executes_what_it_reads() -> None:
    found = {name: list(dangers(path.read_text("utf-8"))) for name, path in MODULES.items()}
    assert len(found) > 200 and {name: one for name, one in found.items() if one} == {}


# ---- models --------------------------------------------------------------------------------------


class Plant:
    """Unpickled, it leaves an empty file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (str(self.marker), "w")


@pytest.fixture
def marker(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "executed"
    sys.modules.pop("planted", None)


def plant(path: Path, marker: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(Plant(marker)))


def test_a_plant_would_be_noticed(tmp_path: Path, marker: Path) -> None:
    plant(tmp_path / "x.bin", marker)
    pickle.loads((tmp_path / "x.bin").read_bytes())
    assert marker.exists()


Change = Callable[[Path, Path], None]


def declare(folder: Path, *modules: tuple[str, str]) -> None:
    """Make a folder of sentence-transformers with mean pooling and more modules, each a class and a folder."""
    pooling = ("sentence_transformers.models.Pooling", "1_Pooling")
    every = [("sentence_transformers.models.Transformer", ""), pooling, *modules]
    for _, path in every:
        (folder / path).mkdir(exist_ok=True)
    entries = [{"idx": at, "name": str(at), "path": path, "type": kind} for at, (kind, path) in enumerate(every)]
    (folder / "modules.json").write_text(json.dumps(entries))
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"embedding_dimension": 32, "pooling_mode": "mean"}))


def instead_of_weights(folder: Path, marker: Path) -> None:
    (folder / "model.safetensors").unlink()
    plant(folder / "pytorch_model.bin", marker)


def dense(folder: Path, **changes: Any) -> None:
    declare(folder, ("sentence_transformers.models.Dense", "2_Dense"))
    tanh = "torch.nn.modules.activation.Tanh"
    config = {"in_features": 32, "out_features": 16, "bias": True, "activation_function": tanh, **changes}
    (folder / "2_Dense" / "config.json").write_text(json.dumps(config))


def of_a_module(folder: Path, marker: Path) -> None:
    dense(folder)
    plant(folder / "2_Dense" / "pytorch_model.bin", marker)


def in_a_router(folder: Path, marker: Path) -> None:
    declare(folder)
    entries = [{"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Router"}]
    (folder / "modules.json").write_text(json.dumps(entries))
    types = {f"{task}_0_Dense": "sentence_transformers.models.Dense" for task in ("query", "document")}
    structure = {"query": ["query_0_Dense"], "document": ["document_0_Dense"]}
    (folder / "router_config.json").write_text(json.dumps({"types": types, "structure": structure, "parameters": {}}))
    for path in types:
        plant(folder / path / "pytorch_model.bin", marker)


def of_an_adapter(folder: Path, marker: Path) -> None:
    declare(folder)
    (folder / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": str(folder)}))
    plant(folder / "adapter_model.bin", marker)


@pytest.mark.parametrize("change", [instead_of_weights, of_a_module, in_a_router, of_an_adapter])
def test_a_pickle_in_a_model_is_refused(tiny_model: Path, tmp_path: Path, marker: Path, change: Change) -> None:
    from ance_tele.encode.loading import load_model

    folder = tmp_path / "model"
    shutil.copytree(tiny_model, folder)
    change(folder, marker)
    with pytest.raises(UserError, match=r"pickle.*which is not read because it can run any code"):
        load_model(folder, EncoderConfig())
    assert not marker.exists()


def test_a_pickle_that_is_not_needed_stays_unread(tiny_model: Path, tmp_path: Path, marker: Path) -> None:
    from ance_tele.encode.loading import load_model

    folder = tmp_path / "model"
    shutil.copytree(tiny_model, folder)
    for name in ("pytorch_model.bin", "training_args.bin", "optimizer.pt"):
        plant(folder / name, marker)
    assert load_model(folder, EncoderConfig()).get_embedding_dimension() == 32
    assert not marker.exists()


def code(folder: Path, marker: Path) -> None:
    source = f"open({str(marker)!r}, 'w')\nclass Own: ...\nclass Config: ...\n"
    (folder / "modeling_own.py").write_text(source)
    (folder.parent / "planted.py").write_text(source)  # on the path, as an installed package is


def own_architecture(folder: Path, marker: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "own", "auto_map": {"AutoConfig": "modeling_own.Config", "AutoModel": "modeling_own.Own"}}
    (folder / "config.json").write_text(json.dumps(config))


def own_module(folder: Path, marker: Path) -> None:
    declare(folder, ("modeling_own.Own", "2_Own"))


def installed_module(folder: Path, marker: Path) -> None:
    declare(folder, ("planted.Own", "2_Own"))


def routed_module(folder: Path, marker: Path) -> None:
    in_a_router(folder, marker)
    found = json.loads((folder / "router_config.json").read_text())
    found["types"] = dict.fromkeys(found["types"], "planted.Own")
    (folder / "router_config.json").write_text(json.dumps(found))
    for path in found["types"]:
        (folder / path / "pytorch_model.bin").unlink()


def own_activation(folder: Path, marker: Path) -> None:
    from safetensors.torch import save_file
    from torch import ones

    dense(folder, activation_function="planted.Own")
    save_file({"linear.weight": ones(16, 32), "linear.bias": ones(16)}, folder / "2_Dense" / "model.safetensors")


@pytest.mark.parametrize("change", [own_architecture, own_module, installed_module, routed_module, own_activation])
def test_code_of_a_model_needs_the_option(
    tiny_model: Path, tmp_path: Path, marker: Path, change: Change, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ance_tele.encode.loading import load_model

    folder = tmp_path / "model"
    shutil.copytree(tiny_model, folder)
    code(folder, marker)
    change(folder, marker)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UserError, match=r"brings code of its own \(its .*set trust_remote_code to true"):
        load_model(folder, EncoderConfig())
    assert not marker.exists()


# ---- arrays and checkpoints of a run -------------------------------------------------------------


def test_arrays_of_objects_are_refused(tmp_path: Path, marker: Path) -> None:
    np.save(tmp_path / "x.npy", np.array([Plant(marker)], dtype=object), allow_pickle=True)
    with pytest.raises(UserError, match=r"x\.npy is damaged \(.*[Oo]bject"):
        open_array(tmp_path / "x.npy")
    assert not marker.exists()
