"""The public names: each is there, and nothing is loaded before it is asked for."""

import subprocess
import sys

import pytest

import ance_tele


def test_every_public_name_is_there() -> None:
    assert len(ance_tele.__all__) == len(set(ance_tele.__all__)) > 30
    for name in ance_tele.__all__:
        found = getattr(ance_tele, name)
        assert name == "__version__" or found.__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'rnu'"):
        _ = ance_tele.rnu


def test_importing_the_package_loads_none_of_it() -> None:
    code = "import ance_tele, sys; print(*(name for name in sys.modules if name.startswith('ance_tele')))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["ance_tele"]
