"""One session a wing; `nox -s verify` is the main job. Versions are pinned in constraints.txt."""

import hashlib
import sys
from pathlib import Path

import nox

nox.needs_version = ">=2025.2.9"
nox.options.sessions = ["verify"]
nox.options.default_venv_backend = "none"  # the sessions share the environments that `python` makes

GROUPS = nox.project.load_toml("pyproject.toml")
QUIET = {"JAX_PLATFORMS": "cpu", "PYTHONHASHSEED": "0"}


def python(session, group, files=None):
    """The interpreter of .nox/GROUP, which is made at first, and anew whenever a group or a pinned version changes.

    Packages of the group `files` are installed for what lies in them: without what they would need to run.
    """
    home = Path(".nox", group)
    interpreter = home / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    pinned = f"{GROUPS['dependency-groups']}\n{Path('constraints.txt').read_text()}"
    wanted, stamp = hashlib.sha256(pinned.encode()).hexdigest(), home / "installed"
    if not stamp.exists() or stamp.read_text() != wanted:
        session.log(f"making {home}: the first time this takes a few minutes")
        session.run(sys.executable, "-m", "virtualenv", "--quiet", "--clear", str(home), silent=True)
        packages = nox.project.dependency_groups(GROUPS, group)
        pip = (str(interpreter), "-m", "pip", "--disable-pip-version-check", "install", "--quiet")
        session.run(*pip, "-c", "constraints.txt", *packages)
        if files:
            session.run(*pip, "--no-deps", "-c", "constraints.txt", *nox.project.dependency_groups(GROUPS, files))
        stamp.write_text(wanted)
    return str(interpreter)


@nox.session
def verify(session):
    """Prove, refute and cross-check everything; writes ledger.json and report.html (-- TOPIC… --quick)."""
    session.run(python(session, "full"), "-m", "verify", "run", *session.posargs, env=QUIET)


@nox.session
def tests(session):
    """Run all tests, every claim and a quick verify included, a process a core (-- pytest arguments)."""
    spread, env = ("-n", "auto", "--dist", "worksteal"), {**QUIET, "OMP_NUM_THREADS": "1"}
    session.run(python(session, "full"), "-m", "pytest", *spread, *session.posargs, env=env)


@nox.session
def derivations(session):
    """Prove and print the claims, without torch (-- TOPIC… --json)."""
    session.run(python(session, "derivations"), "-m", "derivations", *session.posargs)


@nox.session
def papers(session):
    """Compare the generated parts of the articles with what the code says now (-- --write)."""
    session.run(python(session, "full"), "-m", "verify.articles", *session.posargs, env=QUIET)


@nox.session
def bench(session):
    """Measure a topic (-- TOPIC --svg FILE); without one attention's cost, and timings beside peers in one run.

    The transformer's peer is `transformers`, which only the environment of interop has.
    """
    interpreter = python(session, *(("interop", "files") if session.posargs[:1] == ["transformer"] else ("full",)))
    session.run(interpreter, "-m", "bench", *(session.posargs or ["attention"]), env=QUIET)
    if not session.posargs:
        session.run(interpreter, "-m", "pytest", "bench", "--benchmark-enable", "--benchmark-only", env=QUIET)


@nox.session
def interop(session):
    """Compare with other people's libraries and published files (-- pytest arguments, or -- bench TOPIC)."""
    interpreter, wanted = python(session, "interop", "files"), session.posargs
    if wanted[:1] == ["bench"]:
        session.run(interpreter, "-m", *wanted, env=QUIET)
    else:
        session.run(interpreter, "-m", "pytest", *(wanted or ["tests_interop"]), env=QUIET)


@nox.session
def lint(session):
    """Check the style of every file with ruff."""
    interpreter = python(session, "lint")
    session.run(interpreter, "-m", "ruff", "check", ".")
    session.run(interpreter, "-m", "ruff", "format", "--check", ".")


@nox.session
def types(session):
    """Check the types of every wing with mypy."""
    session.run(python(session, "full"), "-m", "mypy")
