"""Titles and colours of the sources of negatives: declared by the source, or recorded by the run for a user's own."""

from ance_tele.mining.sources import SOURCES
from ance_tele.report.style import run_look, source_colour, source_title, sources_in_order

OWN = {"same_category": {"title": "same category", "colour": "#123456"}}


def test_a_built_in_source_is_shown_as_it_declares() -> None:
    for name, source in SOURCES.items():
        assert (source_title(name), source_colour(name)) == (source.title, source.colour)
        assert source_title(name, {name: {"title": "another", "colour": "#000000"}}) == source.title


def test_a_source_of_a_users_own_is_shown_as_the_run_recorded_it() -> None:
    assert (source_title("same_category", OWN), source_colour("same_category", OWN)) == ("same category", "#123456")
    assert source_title("same_category") == "same_category"
    assert source_colour("same_category") == source_colour("same_category") != source_colour("query")


def test_the_order_is_the_paper_s_sources_first_and_a_users_own_last() -> None:
    assert sources_in_order(["b", "momentum", "bm25", "a", "query"]) == ["query", "momentum", "bm25", "a", "b"]


def test_no_two_runs_of_a_large_comparison_look_alike() -> None:
    assert len({run_look(place) for place in range(64)}) == 64
