"""Writes the files of the npm package: python packaging/npm/assemble.py DIRECTORY.

Uses nothing but the standard library. The modules of galileod are files here, not imported as a
package, for which galileod's dependencies would be needed.
"""

import json
import re
import runpy
import shutil
import sys
from pathlib import Path
from typing import Final

SOURCE: Final = Path(__file__).parents[2]

LEFT_OUT: Final = "galileo_send.js"
"""A classic script for pages without modules; the module exports GalileoSend as well."""


def npm_version(version: str) -> str:
    """The version as npm writes it: 1.0-rc.1 for 1.0rc1."""
    return re.sub(r"\.?(a|b|rc|dev)(\d+)$", r"-\1.\2", version)


def assemble(target: Path) -> None:
    """Write the package into an empty directory."""
    client = runpy.run_path(str(SOURCE / "galileod/server/client_files.py"))
    for path in client["CLIENT_FILES"]:
        if path != LEFT_OUT:
            (target / path).parent.mkdir(parents=True, exist_ok=True)
            (target / path).write_text(client["read_client_file"](path), "utf-8")
    here = Path(__file__).parent
    package = json.loads((here / "package.json").read_text("utf-8"))
    version = runpy.run_path(str(SOURCE / "galileod/__init__.py"))["__version__"]
    described = {"name": package.pop("name"), "version": npm_version(version), **package}
    (target / "package.json").write_text(json.dumps(described, indent=2) + "\n", "utf-8")
    shutil.copyfile(here / "README.md", target / "README.md")
    shutil.copyfile(SOURCE / "LICENSE", target / "LICENSE")


if __name__ == "__main__":
    assemble(Path(sys.argv[1]))
