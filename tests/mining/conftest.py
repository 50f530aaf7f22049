"""What several tests of mining share."""

from pathlib import Path

import pytest
from judges import write_judge


@pytest.fixture(scope="session")
def judge(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_judge(tiny_model, tmp_path_factory.mktemp("judges") / "judge", 1)
