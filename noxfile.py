"""One session a wing; `nox -s verify` is the main job. Versions are pinned in constraints.txt."""

import hashlib
from pathlib import Path

import nox

nox.options.sessions = ["verify"]
nox.options.default_venv_backend = "virtualenv"
nox.options.reuse_existing_virtualenvs = True
nox.options.error_on_external_run = True

PROJECT = nox.project.load_toml("pyproject.toml")
QUIET = {"JAX_PLATFORMS": "cpu", "PYTHONHASHSEED": "0"}


def install(session, group):
    """Install a dependency group with the pinned versions, unless this environment already has them."""
    wanted = hashlib.sha256(b"".join(Path(f).read_bytes() for f in ("pyproject.toml", "constraints.txt"))).hexdigest()
    stamp = Path(session.virtualenv.location) / f"installed-{group}"
    if stamp.exists() and stamp.read_text() == wanted:
        return
    session.install("-c", "constraints.txt", *nox.project.dependency_groups(PROJECT, group))
    stamp.write_text(wanted)


@nox.session(venv_location=".nox/full")
def verify(session):
    """Prove, refute and cross-check everything; writes ledger.json and report.html (-- TOPIC… --quick)."""
    install(session, "verify")
    session.run("python", "-m", "verify", "run", *session.posargs, env=QUIET, success_codes=[0])


@nox.session(venv_location=".nox/full")
def tests(session):
    """Run all tests, every claim and a quick verify included (-- pytest arguments)."""
    install(session, "verify")
    session.run("python", "-m", "pytest", *session.posargs, env=QUIET)


@nox.session(venv_location=".nox/symbolic")
def derivations(session):
    """Prove and print the claims, without torch (-- TOPIC… --json)."""
    install(session, "derivations")
    session.run("python", "-m", "derivations", *session.posargs)


@nox.session(venv_location=".nox/full")
def bench(session):
    """Predicted against measured cost, then timings against peers in the same run (-- TOPIC…)."""
    install(session, "verify")
    session.run("python", "-m", "bench", *(session.posargs or ["attention"]), env=QUIET)
    session.run("python", "-m", "pytest", "bench", "--benchmark-enable", "--benchmark-only", env=QUIET)


@nox.session(venv_location=".nox/lint")
def lint(session):
    """Check the style of every file with ruff."""
    install(session, "lint")
    session.run("ruff", "check", ".")


@nox.session(venv_location=".nox/full")
def types(session):
    """Check the types of every wing with mypy."""
    install(session, "verify")
    install(session, "types")
    session.run("mypy")
