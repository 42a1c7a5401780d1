"""The front of the engine has every name that it promises."""

import pytest

from sfllava_plugin.engine import offline


@pytest.mark.parametrize("name", offline.__all__)
def test_every_public_name_exists(name):
    assert getattr(offline, name) is not None
    assert name in dir(offline)
