"""The configuration of a node in docs/nodes.md."""

import re
from pathlib import Path
from textwrap import dedent
from typing import Final

from helpers.daemon import run_galileod
from helpers.replacing import replaced

TEXT: Final = (Path(__file__).parents[2] / "docs/nodes.md").read_text()

SECRETS: Final = {
    "/etc/galileod.s3": "[default]\naws_access_key_id = key\naws_secret_access_key = secret\n",
    "/etc/galileod.database-password": "secret\n",
}


def configuration(folder: Path) -> str:
    """As it is documented, but for the places of the files with secrets."""
    (block,) = re.findall(r"^ *```toml\n(.*?)^ *```$", TEXT, re.DOTALL | re.MULTILINE)
    places = {}
    for path, content in SECRETS.items():
        file = folder / Path(path).name
        file.touch(0o600)
        file.write_text(content)
        places[path] = str(file)
    return replaced(dedent(block), places)


def test_the_configuration_of_a_node_is_accepted(tmp_path: Path) -> None:
    config = tmp_path / "galileod.toml"
    config.write_text(configuration(tmp_path))
    checked = run_galileod("check-config", "--config", config)
    assert checked.returncode == 0, checked.stderr
    assert 'node = "node1"' in checked.stdout
