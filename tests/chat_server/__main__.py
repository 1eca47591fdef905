"""``python -m tests.chat_server``: serve until standard input closes."""

from __future__ import annotations

import argparse
import asyncio
import json

from tests.chat_server._behaviour import Behaviour
from tests.chat_server._server import run


def main() -> None:
    """Run the server from the command line."""
    parser = argparse.ArgumentParser(description="A chat server that misbehaves on demand.")
    parser.add_argument("--config", default="{}", help="a Behaviour, as JSON")
    parser.add_argument("--port", type=int, default=0)
    arguments = parser.parse_args()
    asyncio.run(run(Behaviour(**json.loads(arguments.config)), arguments.port))


if __name__ == "__main__":
    main()
