"""Build wheel and source distribution, check what they hold and need, install the wheel afresh, and use it.

    python tools/package.py [--python PYTHON] [--lowest] [--out dist]

What it needs is looked up for the oldest and the newest Python, too. Packages come from where pip is set up to look;
nothing of this repository is on the path of what is used.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from email.message import Message
from email.parser import HeaderParser
from pathlib import Path
from time import perf_counter

ROOT = Path(__file__).parents[1]
TOY = ROOT / "tests" / "toy.py"
# What a source distribution is there for: to build, to test, to read.
IN_SOURCES = (
    "pyproject.toml",
    "README.md",
    "LICENSE",
    "CHANGELOG.md",
    "tests/toy.py",
    "tools/package.py",
    "mkdocs.yml",
)
METADATA = {"METADATA", "WHEEL", "RECORD", "entry_points.txt", "licenses/LICENSE"}
PUBLIC = "import ance_tele as at, sys; [getattr(at, name) for name in at.__all__]; print(at.__file__)"
MADE = """
import json, toy, pathlib
data, model = pathlib.Path("data"), pathlib.Path("model")
toy.write_toy(data)
toy.write_model(model)
print(json.dumps(toy.run_command(data, model, "run", episodes=1)))
"""


def build(root: Path, out: Path, *kinds: str) -> list[Path]:
    """Build wheel or source distribution ("wheel", "sdist") of a source tree into a folder, and return their paths."""
    shutil.rmtree(out, ignore_errors=True)
    words = [sys.executable, "-m", "hatchling", "build", "-d", str(out), *(f"-t{kind}" for kind in kinds)]
    subprocess.run(words, cwd=root, check=True, stdout=sys.stderr)
    return [next(out.glob({"wheel": "*.whl", "sdist": "*.tar.gz"}[kind])) for kind in kinds]


def sources(root: Path = ROOT) -> set[str]:
    """Return the files of the package, as a wheel names them."""
    files = (path for path in (root / "src").rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {path.relative_to(root / "src").as_posix() for path in files}


def faults_of_wheel(wheel: Path, root: Path = ROOT) -> Iterator[str]:
    """Yield what a wheel lacks, and what it holds besides the package and its metadata."""
    with zipfile.ZipFile(wheel) as file:
        held = set(file.namelist())
    info = f"{'-'.join(wheel.name.split('-')[:2])}.dist-info/"
    wanted = sources(root) | {info + name for name in METADATA}
    yield from (f"{wheel.name} lacks {name}" for name in sorted(wanted - held))
    yield from (f"{wheel.name} holds {name}" for name in sorted(held - wanted))


def faults_of_sources(archive: Path, wheel: Path) -> Iterator[str]:
    """Yield what a source distribution lacks, and whether the wheel built of it is another one."""
    with tempfile.TemporaryDirectory() as folder, tarfile.open(archive) as file:
        held = {name.partition("/")[2] for name in file.getnames()}
        file.extractall(folder, filter="data")
        (again,) = build(next(Path(folder).iterdir()), Path(folder) / "dist", "wheel")
        if again.read_bytes() != wheel.read_bytes():
            yield f"{archive.name} builds another {wheel.name}"
    yield from (f"{archive.name} lacks {name}" for name in IN_SOURCES if name not in held)


def metadata(wheel: Path) -> Message:
    """Return the metadata of a wheel."""
    with zipfile.ZipFile(wheel) as file:
        name = next(name for name in file.namelist() if name.endswith(".dist-info/METADATA"))
        return HeaderParser().parsestr(file.read(name).decode())


def requirements(wheel: Path) -> list[str]:
    """Return what the wheel needs without any extra, as its metadata has it."""
    return [one for one in metadata(wheel).get_all("Requires-Dist", []) if "extra ==" not in one]


def lowest(needs: Sequence[str]) -> list[str]:
    """Return the oldest versions that requirements allow, as constraints of pip.

    Example:
        >>> lowest(["torch<2.14,>=2.6", "types-PyYAML"])
        ['torch==2.6']
    """
    found = (re.match(r"([\w.-]+).*>=([\w.]+)", one) for one in needs)
    return [f"{one[1]}=={one[2]}" for one in found if one]


def pythons(described: Message) -> list[str]:
    """Return the versions of Python that metadata declares, such as "3.10", oldest first."""
    found = re.findall(r":: Python :: (3\.\d+)", "\n".join(described.get_all("Classifier", [])))
    return sorted(found, key=lambda version: int(version.partition(".")[2]))


def resolve(wheel: Path, python: str, constraints: Sequence[str]) -> int:
    """Return how many packages pip would install with a wheel for a version of Python; nothing is installed.

    Raises:
        CalledProcessError: There is no such set of packages; pip has printed why.
    """
    with tempfile.TemporaryDirectory() as name:
        report, limits = Path(name) / "report.json", Path(name) / "constraints.txt"
        limits.write_text("\n".join(constraints) + "\n", "utf-8")
        words = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--dry-run"]
        words += ["--ignore-installed", "--only-binary", ":all:", "--python-version", python, "--target", name]
        words += ["--report", str(report), "--constraint", str(limits), str(wheel)]
        subprocess.run(words, check=True)
        return len(json.loads(report.read_text("utf-8"))["install"])


def install(wheel: Path, python: str, folder: Path, constraints: Sequence[str]) -> None:
    """Install a wheel into a new virtual environment of a Python."""
    subprocess.run([python, "-m", "venv", str(folder)], check=True)
    (folder / "constraints.txt").write_text("\n".join(constraints) + "\n", "utf-8")
    words = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*words, "--constraint", str(folder / "constraints.txt"), str(wheel)], check=True)


def smoke(environment: Path, work: Path) -> None:
    """Use what is installed in an environment: each public name, the first verbs, a run of one episode offline.

    Raises:
        CalledProcessError: A command has failed, and has printed why.
        SystemExit: The package was imported from elsewhere, or the run left no report.
    """
    python, command = (str(environment / "bin" / name) for name in ("python", "ance-tele"))
    shutil.copy(TOY, work)
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {"HF_HUB_OFFLINE": "1"}

    def run(*words: str) -> str:
        done = subprocess.run(words, cwd=work, env=clean, check=True, stdout=subprocess.PIPE, text=True)
        return done.stdout.strip()

    where = run(python, "-c", PUBLIC).splitlines()[-1]
    if not Path(where).is_relative_to(environment):
        sys.exit(f"ance_tele was imported from {where}, not from {environment}")
    print("version", run(command, "--version"))
    run(command, "--help")
    run(command, "recipes")
    run(command, *json.loads(run(python, "-c", MADE)))
    print(run(command, "search", "run", "t3 u20", "-k", "2"))
    if not (work / "run" / "report.html").is_file():
        sys.exit("the run left no report.html")


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", default=sys.executable, help="of the environment (default: this one)")
    parser.add_argument("--lowest", action="store_true", help="install the oldest dependencies that are allowed")
    parser.add_argument("--out", type=Path, default=ROOT / "dist", help="folder of wheel and source distribution")
    given = parser.parse_args(argv)
    began = perf_counter()
    wheel, archive = build(ROOT, given.out, "wheel", "sdist")
    faults = [*faults_of_wheel(wheel), *faults_of_sources(archive, wheel)]
    for line in faults:
        print(line)
    if faults:
        return 1
    for path in (wheel, archive):
        print(f"{path.name}: {path.stat().st_size:,} bytes")
    oldest, *_, newest = pythons(metadata(wheel))
    limits = lowest(requirements(wheel))
    for python, what, constraints in ((oldest, "oldest", limits), (oldest, "newest", ()), (newest, "newest", ())):
        count = resolve(wheel, python, constraints)
        print(f"Python {python}: the {what} dependencies that are allowed exist ({count} packages)")
    with tempfile.TemporaryDirectory() as name:
        environment, work = Path(name).resolve() / "environment", Path(name) / "work"
        work.mkdir()
        before = perf_counter()
        install(wheel.resolve(), given.python, environment, limits if given.lowest else ())
        installed = perf_counter()
        size = sum(path.stat().st_size for path in environment.rglob("*") if path.is_file() and not path.is_symlink())
        print(f"environment: {size / 1e6:,.0f} MB, installed in {installed - before:.0f} s")
        smoke(environment, work)
        print(f"used in {perf_counter() - installed:.0f} s, all in {perf_counter() - began:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
