"""Sets up whatever is missing and runs one of the project's two main jobs.

    python3 run.py tour     the ticket reservation tour, on the embedded runtime
    python3 run.py test     lint, type checks and all tests

Everything goes into `.nox` beside this file; the system's Python is left alone, and so is a `.venv` of yours. This file has to parse on
a Python that is too old for the project, in order to say so.
"""

import hashlib
import os
import subprocess
import sys

MINIMUM = (3, 11)
ROOT = os.path.dirname(os.path.abspath(__file__))
VENV = os.path.join(ROOT, ".nox", "run")
PYTHON = os.path.join(VENV, "Scripts", "python.exe") if os.name == "nt" else os.path.join(VENV, "bin", "python")
STAMP = os.path.join(VENV, "installed")


def main():  # type: () -> int
    job = sys.argv[1] if len(sys.argv) == 2 else ""
    if job not in ("tour", "test"):
        return fail("usage: python3 run.py tour | test", 2)
    if sys.version_info[:2] < MINIMUM:
        return fail("run.py: this is Python %d.%d, and 3.11 or newer is needed: run it with one, such as python3.11" % sys.version_info[:2])
    try:
        import ensurepip  # noqa: F401
        import venv  # noqa: F401
    except ImportError:
        package = "python3-venv" if sys.executable.startswith("/usr/bin/") else "python%d.%d-venv" % sys.version_info[:2]
        return fail(
            "run.py: %s has no venv module: install it (Debian, Ubuntu: apt install %s), then run this again" % (sys.executable, package)
        )
    if install() != 0:
        return fail("run.py: the set-up failed, see the messages above")
    if job == "tour":
        return call(PYTHON, os.path.join(ROOT, "examples", "ticket_reservation", "run_tour.py"))
    return call(PYTHON, "-m", "nox", "--noxfile", os.path.join(ROOT, "noxfile.py"), "--session", "ci")


def install():  # type: () -> int
    """Makes `.nox/run` with the project and nox in it; does nothing where that is done already."""
    import tomllib

    with open(os.path.join(ROOT, "pyproject.toml"), "rb") as file:
        content = file.read()
    # The path counts: neither a virtual environment nor an editable install can be moved.
    wanted = hashlib.sha256(content + repr((sys.version_info, sys.base_prefix, ROOT)).encode()).hexdigest()
    if os.path.exists(STAMP) and os.path.exists(PYTHON):
        with open(STAMP) as file:
            if file.read() == wanted:
                return 0
    print("run.py: setting up %s, once" % VENV, flush=True)
    nox = tomllib.loads(content.decode())["dependency-groups"]["nox"]
    status = call(sys.executable, "-m", "venv", "--clear", VENV)
    if status == 0:
        status = call(PYTHON, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--editable", ".[codegen]", *nox)
    if status == 0:
        with open(STAMP, "w") as file:
            file.write(wanted)
    return status


def call(*command):  # type: (*str) -> int
    return subprocess.call(command, cwd=ROOT)


def fail(message, status=1):  # type: (str, int) -> int
    sys.stderr.write(message + "\n")
    return status


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
