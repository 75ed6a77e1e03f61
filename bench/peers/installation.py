"""Installs the peers, apart from the environment of this repository."""

import hashlib
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

HERE = Path(__file__).parent
MODULES = HERE / "node_modules"
NODE = MODULES / ".bin" / "node"
ENVIRONMENT = HERE / ".venv"
PYTHON = ENVIRONMENT / "bin" / "python"

INSTALL_SECONDS = 300.0


class NotInstalled(Exception):
    """A peer cannot be had here; the message is the reason, in one line."""


def install_node_peers() -> None:
    """Hocuspocus and the y-websocket server, with the Node.js that they are run by.

    Raises:
        NotInstalled: npm is missing, or failed.
    """
    command = ["npm", "ci", "--no-audit", "--no-fund", "--loglevel=error"]
    _install([command], HERE / "package-lock.json", MODULES)


def install_python_peer() -> None:
    """pycrdt-websocket, in a virtual environment of its own.

    Raises:
        NotInstalled: pip failed.
    """
    pins = HERE / "requirements.txt"
    pip = [str(PYTHON), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    commands = [[sys.executable, "-m", "venv", str(ENVIRONMENT)], [*pip, "-r", str(pins)]]
    _install(commands, pins, ENVIRONMENT)


def _install(commands: Sequence[Sequence[str]], pins: Path, target: Path) -> None:
    """Run the commands, unless they were run for the same `pins` before."""
    stamp = target / ".stamp"
    wanted = hashlib.sha256(pins.read_bytes()).hexdigest()
    if stamp.is_file() and stamp.read_text() == wanted:
        return
    print(f"Installing what {pins.name} of {HERE.name} names...", file=sys.stderr)
    for command in commands:
        _run(command)
    stamp.write_text(wanted)


def _run(command: Sequence[str]) -> None:
    name = Path(command[0]).name
    try:
        done = subprocess.run(
            command, cwd=HERE, capture_output=True, timeout=INSTALL_SECONDS, check=False
        )
    except FileNotFoundError:
        raise NotInstalled(f"there is no {name} on this machine") from None
    except subprocess.TimeoutExpired:
        raise NotInstalled(f"{name} did not end within {INSTALL_SECONDS:g} s") from None
    if done.returncode:
        said = [line for line in done.stderr.decode(errors="replace").splitlines() if line.strip()]
        reason = said[-1].strip() if said else f"exit code {done.returncode}"
        raise NotInstalled(f"{name} failed: {reason}")
