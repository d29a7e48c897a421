"""What the word `serve` does."""

import argparse
from pathlib import Path

from adapters import machine, workspace
from cli.run import say
from darkroom.params import read_params
from serving.run import Address, Means, ServingError, serve_folder, serve_registry


def serve(given: argparse.Namespace) -> int:
    """Serve a folder or the workspace's champion until told to stop. Raises ServingError."""
    if not 1 <= given.batch <= 1024:
        raise ServingError(f"--batch is {given.batch}; it must be from 1 to 1024")
    if not 1 <= given.port <= 65535:
        raise ServingError(f"--port is {given.port}; it must be from 1 to 65535")
    token = _token(given.token_file)
    names = tuple(name.lower() for name in given.name)
    address = Address(given.host, given.port, names, token, given.open)
    means = Means(given.device, given.batch, given.signing_key)
    if given.model is not None:
        return serve_folder(given.model, address, means, say)
    found = workspace.opened(given.workspace or Path.cwd())
    return serve_registry(found, read_params(found / "params.yaml").register_.name, address, means, say)


def _token(file: Path | None) -> str:
    if file is None:
        return machine.setting("DARKROOM_TOKEN") or ""
    token = file.read_text(encoding="utf-8").strip()
    if not token:
        raise ServingError(f"{file}: it is empty; write a token into it, such as `openssl rand -hex 24` makes")
    return token
