import sys
from unittest.mock import patch

import pytest

from sfllava_plugin.cli import main


@pytest.fixture
def sfllava(capfd, monkeypatch):
    """sfllava(argument, ...): run the command in this process; return exit code, standard output and error."""

    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["sfllava", *map(str, arguments)])
        with patch.dict("os.environ"), pytest.raises(SystemExit) as left:
            main()
        return left.value.code or 0, *capfd.readouterr()

    return call
