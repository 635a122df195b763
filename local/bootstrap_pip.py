#!/usr/bin/env python3
"""Give a virtual environment pip where Python came without ensurepip, as Debian's does; standard library alone.

.venv/bin/python local/bootstrap_pip.py                    install the newest pip into this environment
.venv/bin/python local/bootstrap_pip.py --reachable URL    exit 0 where URL answers within 5 s, else 1
"""

import hashlib
import json
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path

INDEX = "https://pypi.org/simple/pip/"


def reachable(url: str) -> bool:
    """Whether `url` answers within 5 s."""
    try:
        with urllib.request.urlopen(url, timeout=5):
            return True
    except OSError:
        return False


def newest_wheel() -> tuple[str, str, str]:
    """File name, address and SHA-256 of the newest released pip."""
    request = urllib.request.Request(INDEX, headers={"Accept": "application/vnd.pypi.simple.v1+json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        files = json.load(answer)["files"]

    def version(name: str) -> tuple[int, ...]:
        return tuple(int(part) for part in name.split("-")[1].split("."))

    released = [
        file
        for file in files
        if file["filename"].endswith("-py3-none-any.whl")
        and all(part.isdigit() for part in file["filename"].split("-")[1].split("."))
        and not file.get("yanked")
    ]
    newest = max(released, key=lambda file: version(file["filename"]))
    return newest["filename"], newest["url"], newest["hashes"]["sha256"]


def main() -> int:
    if sys.argv[1:2] == ["--reachable"]:
        return 0 if reachable(sys.argv[2]) else 1
    try:
        name, url, expected = newest_wheel()
        with urllib.request.urlopen(url, timeout=60) as answer:
            content = answer.read()
    except OSError as error:
        print(f"error: pip cannot be fetched from {INDEX} ({error}): install python3-venv instead", file=sys.stderr)
        return 1
    if hashlib.sha256(content).hexdigest() != expected:
        print(f"error: {url} does not have the SHA-256 that the index gives", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as folder:
        wheel = Path(folder) / name
        wheel.write_bytes(content)
        return subprocess.call([sys.executable, f"{wheel}/pip", "install", "-q", str(wheel)])


if __name__ == "__main__":
    sys.exit(main())
