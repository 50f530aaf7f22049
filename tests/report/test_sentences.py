"""What the report says: every sentence, and the numbers in it."""

from collections.abc import Mapping
from typing import Any

import pytest
from fake_report import ELSEWHERE, MERGE, compare, demo_summary, dynamics_of, measured, metrics, run_of, summary_of

from ance_tele.report import merging, sentences
from ance_tele.report.verdict import FELL, FORGOTTEN_MUCH, NEW_FEW, SWINGS_MUCH, side_by_side, verdict
from ance_tele.runs.merged import MergeSummary
from ance_tele.runs.summary import Summary
from ance_tele.store.records import decode


def findings_of(summary):
    return sentences.findings(run_of(summary))


@pytest.mark.parametrize(
    ("difference", "p", "said"),
    [
        (
            0.05,
            0.0001,
            "The model of episode 3 is better than BM25 by 0.050 MRR@10 (p < 0.001, {TEST}).",
        ),
        (
            -0.05,
            0.02,
            "The model of episode 3 is worse than BM25 by 0.050 MRR@10 (p = 0.020, {TEST}).",
        ),
        (
            0.004,
            0.31,
            "Between the model of episode 3 and BM25 there is no significant difference in MRR@10 "
            "(+0.004, p = 0.31, {TEST}).",
        ),
    ],
)
def test_comparison_sentence(difference, p, said):
    assert findings_of(compare(demo_summary(3), difference, p))[0] == said.format(TEST=sentences.TEST)


def test_nothing_is_claimed_without_a_test():
    # A test of another metric or another system is no test of this one.
    summary = compare(demo_summary(3), 0.05, 0.0001, metric="nDCG@10")
    said = " ".join(findings_of(summary))
    assert (
        "MRR@10 between the model of episode 3 and BM25 is +0.050; whether it is more than chance was not tested"
        in said
    )
    assert "better than" not in said


def test_dynamics_shortage_and_peak_are_said_only_where_they_are():
    said = findings_of(demo_summary(3))
    changed = "12.2% of the 2,000 training queries did worse after episode 2 than before it"
    assert f"{changed}; 31.0% did better and 56.8% the same." in said
    # All negatives of a first episode are new, which says nothing.
    assert (
        "Negatives mined for the queries that no earlier episode had mined: "
        "40.0% in episode 2 and 40.0% in episode 3." in said
    )
    assert not any("Shortage" in one or "highest" in one for one in said)

    summary = demo_summary(4)  # its last episode is below the third
    summary["episodes"][1]["pool"].update(short_queries=1, missing=37, repeats=1200)
    summary["episodes"][0]["forgetting_rate"] = None
    said = findings_of(summary)
    assert (
        "Shortage in episode 2: 1 training query had too few negatives, 37 negatives were missing and "
        "each pass of training repeated 1,200 negatives."
    ) in said
    assert any("It was highest after episode 3: 0.712, against 0.704 at the end." in one for one in said)
    assert not any("did worse after episode 1 " in one for one in said)


def test_final_scores_are_of_the_test_split():
    summary = demo_summary(4)
    summary["final"] = metrics(0.123, 0.2, 0.3)
    assert not any("0.123" in one for one in findings_of(summary))
    summary["split"] = "dev"
    said = findings_of(summary)
    assert "On the test queries, the last model reaches 0.123 MRR@10." in said
    assert any("It was highest after episode 3: 0.712, against 0.704 at the end." in one for one in said)
    # Nor may they stand among scores of the dev split.
    summary.update(episodes=[], baselines={})
    assert Summary.of(summary).systems == {}
    del summary["data"]["queries"]["test"]
    assert Summary.of(summary).systems == {"zero-shot": metrics(0.123, 0.2, 0.3)}


def said_of(summary: Mapping[str, Any] | None = None, **parts: Any) -> str:
    answers = verdict(run_of(summary or summary_of(), **parts))
    return " ".join(sentence for found in answers.values() for sentence in found)


def test_verdict_on_forgetting() -> None:
    high, low = FORGOTTEN_MUCH + 0.001, FORGOTTEN_MUCH
    summary = summary_of(forgotten=(0.1, high, high))
    remedy = "Forgetting rose above 20% at episode 2: raise alpha or lower the learning rate."
    assert remedy in said_of(summary)
    summary["settings"]["alpha"] = 0.0
    assert "keep past negatives (momentum, alpha 0.5) or lower the learning rate" in said_of(summary)
    assert "Forgetting rose" not in said_of(summary_of(forgotten=(0.1, low, low)))
    assert "Each episode made between 5.0 and 15.0% of the training queries worse." in said_of()
    assert "Episodes 1 and 3 made more queries worse than better." in said_of(summary_of(forgotten=(0.31, 0.3, 0.4)))


def test_verdict_on_a_further_episode() -> None:
    assert "A further episode would meet only 5.0% new negatives: three episodes are enough." in said_of(
        dynamics=dynamics_of(new=NEW_FEW)
    )
    more = said_of(dynamics=dynamics_of(new=NEW_FEW + 0.001))
    assert "A further episode would meet 5.1% new negatives, and MRR@10 was still rising" in more
    assert "the same command with --episodes 4 and a new --out" in more
    flat = summary_of()
    flat["episodes"][2]["metrics"] = flat["episodes"][1]["metrics"]
    assert "further episode" not in said_of(flat, dynamics=dynamics_of(new=0.3))
    # A round that the run itself mined is no further one.
    assert "further episode" not in said_of(dynamics={"new": [{"round": 3, "new": 0.01}]})


def test_verdict_on_stability() -> None:
    summary = summary_of()
    assert f"Yes: no episode lowered MRR@10 by {FELL:g} or more." in said_of(summary)
    summary["episodes"][2]["metrics"]["MRR@10"] = 0.4 - FELL - 1e-4
    said = said_of(summary)
    assert "No: MRR@10 fell by 0.006 after episode 3." in said and "Yes:" not in said
    assert "It was highest after episode 2: 0.400, against 0.394 at the end." in said
    assert "Take the model of episode 2" in said
    summary["episodes"][2]["metrics"]["MRR@10"] = 0.4 - FELL + 1e-4
    said = said_of(summary)
    assert "Yes: no episode lowered" in said and "Take the model" not in said


def test_verdict_on_false_negatives() -> None:
    def with_share(share: float) -> str:
        return said_of(suspects={"pairs": 100_000, "suspects": round(100_000 * share)})

    assert "read the list below" in with_share(1 / 31 + 0.001)
    assert "suspect" in with_share(1 / 31 - 0.001) and "read the list below" not in with_share(1 / 31 - 0.001)
    assert "suspect" not in said_of()


def test_verdict_on_swinging_and_bm25() -> None:
    assert "They swing little: 10.0% of the lists of round 1 were" in said_of(dynamics=dynamics_of(swing=SWINGS_MUCH))
    assert "They swing much: 10.1%" in said_of(dynamics=dynamics_of(swing=SWINGS_MUCH + 0.001))
    worse = summary_of()
    worse["comparisons"][0] |= {"difference": -0.1, "p": 0.049}
    assert "BM25 is significantly better here" in said_of(worse)
    worse["comparisons"][0]["p"] = 0.05
    assert "BM25 is significantly better" not in said_of(worse)
    worse["episodes"][1]["pool"]["short_queries"] = 1
    assert "In an episode 1 training query had fewer negatives than wanted" in said_of(worse)


def test_a_merge_says_how_it_was_chosen_and_what_it_does() -> None:
    of = decode(MergeSummary, MERGE)
    assert merging.choice(of) == (
        "Of the linear merges of the model of episode 3 with tiny-bert, at the weights 0, 0.5 and 1 of the former, 0.5 "
        "was chosen: the highest mean over demo (dev) and scifact (test). On scifact it was chosen by the very queries "
        "of its score."
    )
    own, other = merging.outcome(of)
    assert own == (
        "On demo (test) the merge reaches 0.460 MRR@10, its base 0.310 and the trained model 0.470; the merge is "
        f"better than its base by 0.150 MRR@10 (p = 0.001, {sentences.TEST}) and between the merge and the trained "
        f"model there is no significant difference in MRR@10 (-0.010, p = 0.40, {sentences.TEST})."
    )
    assert "the merge is better than the trained model by 0.190 MRR@10" in other
    kept = decode(MergeSummary, {**MERGE, "rule": "retain", "within": 0.01})
    assert "the highest mean over scifact (test), of those that lose at most 1.0% on demo" in merging.choice(kept)


def test_elsewhere_is_judged_by_its_test() -> None:
    def said(difference: float, p: float | None) -> str:
        one = {**ELSEWHERE, "difference": difference, "p": p}
        return sentences.out_of_domain(run_of(summary_of(), elsewhere=(one,)))

    assert "the trained model is worse than the untrained model by 0.110 MRR@10 (p = 0.049" in said(-0.11, 0.049)
    assert "no significant difference in MRR@10 (+0.110, p = 0.050" in said(0.11, 0.05)
    assert "is +0.110; whether it is more than chance was not tested" in said(0.11, None)


def test_side_by_side_says_nothing_of_scores_that_do_not_compare() -> None:
    a, b = run_of(summary_of(), "a"), run_of(summary_of(collection="other"), "b")
    assert any("different collections" in said for said in side_by_side([a, b]))
    assert not any("Final" in said for said in side_by_side([a, b]))
    assert side_by_side([a, run_of({**summary_of(), "final": measured(0.6)}, "b")])[0].startswith(
        "Final MRR@10 on dev: 0.600 (b) and 0.500 (a)."
    )


def test_each_comparison_is_a_sentence() -> None:
    summary = demo_summary(3)
    for difference, p in ((0.05, 0.0001), (-0.031, 0.012), (0.004, None), (0.02, 0.05)):
        compare(summary, difference, p)
    said = sentences.significance(Summary.of(summary))
    assert "is better" in said[0] and "is worse" in said[1] and "not tested" in said[2] and "no significant" in said[3]
    assert "p = 0.050" in said[3] and "0.031 MRR@10 (p = 0.012" in said[1]


def test_the_verdict_names_queries_that_nobody_has_asked() -> None:
    def said(notes: dict[str, int], amount: int = 80) -> str:
        summary = demo_summary(3)
        compare(summary, 0.05, 0.0001)
        summary["data"] |= {"notes": notes, "queries": {"train": amount - 8, "dev": 8}}
        return sentences.significance(Summary.of(summary))[0]

    made = "queries are made, not asked by people"
    assert "better than BM25 by 0.050 MRR@10 (p < 0.001" in said({})
    assert "by 0.050 MRR@10 on queries made from headings (p < 0.001" in said({f"{made} (heading)": 80})
    assert "MRR@10 on queries partly made from headings (" in said({f"{made} (heading)": 80}, 100)
    both = {f"{made} (heading)": 60, f"{made} (by hand)": 20}
    assert "MRR@10 on queries made from headings and otherwise (by hand) (" in said(both)
