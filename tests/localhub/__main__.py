"""``python -m tests.localhub``: start a hub to look at."""

from __future__ import annotations

import argparse
import signal
import sys
import time
from pathlib import Path

from tests.localhub.hub import LocalHub


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.localhub", description="A Hub on this machine.")
    parser.add_argument("--port", type=int, default=8420, help="the storage takes the port after it (default: 8420)")
    parser.add_argument("--data", type=Path, help="where repos lie (default: a folder that goes when the hub stops)")
    parser.add_argument("--user", default="alice", help="a user who is an admin of acme (default: alice)")
    parser.add_argument("--token", help="the user's token (default: a new one)")
    parser.add_argument("--no-xet", action="store_true", help="offer LFS alone; clients need HF_HUB_DISABLE_XET=1")
    parser.add_argument("--log", action="store_true", help="print each request")
    wish = parser.parse_args(argv)
    for stop in (signal.SIGINT, signal.SIGTERM):  # also where a shell started it in the background, deaf to Ctrl-C
        signal.signal(stop, signal.default_int_handler)
    with LocalHub(wish.data, port=wish.port, user=wish.user, token=wish.token, xet=not wish.no_xet) as hub:
        sys.stdout.write(
            f"export HF_ENDPOINT={hub.endpoint}\nexport HF_TOKEN={hub.token}\n\n"
            f"# look:  {hub.endpoint}/   or   git clone {hub.endpoint}/acme/NAME\n"
            f"# repos: {hub.data}   (each a bare git repository)\n# Ctrl-C stops it.\n"
        )
        sys.stdout.flush()
        follow(hub, wish.log)


def follow(hub: LocalHub, printing: bool) -> None:
    shown = 0
    try:
        while True:
            time.sleep(0.2)
            while printing and shown < len(hub.log) and hub.log[shown].finished:
                sys.stdout.write(f"{hub.log[shown]}\n")
                sys.stdout.flush()
                shown += 1
    except KeyboardInterrupt:
        sys.stdout.write("\nstopped\n")


if __name__ == "__main__":
    main()
