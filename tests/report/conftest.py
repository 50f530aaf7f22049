import pytest

from ance_tele.report.drawing import write_rows


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the drawing out, where only words matter: it takes most of the time."""
    monkeypatch.setattr("ance_tele.report.page.panel_svg", lambda panel, size=None: "<svg/>")
    monkeypatch.setattr("ance_tele.report.write.curves", lambda run: b"")
    monkeypatch.setattr("ance_tele.report.write.save", write_rows)
