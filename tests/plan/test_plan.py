"""A plan against numbers computed by hand, against what the code does, and against what it must never do."""

import inspect
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ance_tele.console.errors import UserError
from ance_tele.plan.assumed import BLOCK_QUERIES, BLOCK_ROWS, MARGIN, QUERY_ROWS, Assumed
from ance_tele.plan.hardware import GPU, GPUS, ModelShape, gpu_of, model_shape
from ance_tele.plan.plan import plan, plan_benchmark, refresh_seconds, scaled
from ance_tele.plan.render import notes, render
from ance_tele.plan.work import Plan
from ance_tele.recipes import RECIPES, recipe

# 100 TFLOP/s in 16 bits, 10 in float32, 10 GiB, 1 TB/s.
ROUND = GPU("round", 100, 10, 10, 1000)


def toy_plan(name: str = "ance-tele", gpu: GPU = ROUND, **settings: object) -> Plan:
    return plan(recipe(name).with_settings(**settings), 10_000, 1_200, 1_000, 200, ModelShape(), gpu)


# ---- by hand ---------------------------------------------------------------------------------------


def test_steps_of_ms_marco() -> None:
    made = plan_benchmark(recipe("marco"), "marco")
    assert made.steps_per_epoch == 62_868  # 502,939 / 8 = 62,867.4
    assert made.whole == 188_604
    assert [phase.amount for phase in made.of("train")] == [20_000, 20_000, 188_604]


def test_steps_of_nq() -> None:
    made = plan_benchmark(recipe("nq"), "natural-questions")
    assert (made.steps_per_epoch, made.whole) == (619, 24_760)  # 79,168 / 128 = 618.5; 40 epochs
    assert [phase.amount for phase in made.of("train")] == [2_000, 2_000, 24_760]


def test_bert_base_by_hand() -> None:
    shape = ModelShape()
    assert shape.body == 12 * (4 * 768 * 768 + 2 * 768 * 3072) == 84_934_656
    assert shape.parameters == 109_482_240  # what transformers counts for bert-base-uncased with its pooler
    assert shape.forward(100) == 2 * 84_934_656 * 100 + 4 * 12 * 768 * 100 * 100


def test_flops_of_a_step_and_of_the_corpus_by_hand() -> None:
    assumed = Assumed(query_tokens=10, passage_tokens=100)
    made = plan(recipe("dpr"), 1_000_000, 5_000, 1_000, 100, ModelShape(), ROUND, assumed=assumed)
    forward = 17_355_571_200  # 2 x 84,934,656 x 100 + 4 x 12 x 768 x 100^2
    asked = 1_702_379_520  # the same at 10 tokens
    (train,) = made.of("train")
    assert train.amount == 125 * 3
    assert train.flops == 375 * (3 * 8 * 32 * forward + 3 * 8 * asked)
    assert made.of("encode corpus")[0].flops == 1_000_000 * forward
    assert made.of("encode corpus")[0].seconds == pytest.approx(1_000_000 * forward / (0.3 * 100e12))
    search = made.of("search queries")[0]
    assert search.flops == 2 * 1_000 * 1_000_000 * 768 + 1_000 * asked
    products, moved = 2 * 1_000 * 1_000_000 * 768 / (0.4 * 10e12), 4 * 4 * 1_000 * 1_000_000 / 1e12
    assert search.seconds == pytest.approx(products + moved + 1_000 * asked / (0.3 * 100e12))


def test_a_teacher_by_hand() -> None:
    """RocketQA judges every mined passage; distilling scores positives and pool; momentum was scored before."""
    assumed = Assumed(query_tokens=10, passage_tokens=91)
    forward = 17_355_571_200  # at 10 + 91 - 1 = 100 tokens, as above

    def made(name: str, **settings: object) -> Plan:
        chosen = recipe(name).with_settings(**settings)
        return plan(chosen, 1_000_000, 5_000, 1_000, 100, ModelShape(), ROUND, assumed=assumed)

    judged = made("rocketqa", depth=50).of("judge")
    assert [phase.amount for phase in judged] == [1_000 * 51] * 2
    assert judged[0].flops == 51_000 * forward
    assert judged[0].seconds == pytest.approx(51_000 * forward / (0.3 * 100e12))
    pools = made("ance-tele+teacher", pool_per_source=30).of("score pool")
    assert [phase.amount for phase in pools] == [61_000, 60_000, 60_000]  # of 60, then 120 negatives
    mutual = made("rocketqav2", pool_per_source=30)
    assert [phase.amount for phase in mutual.of("score pool")] == [61_000] * 2  # by another teacher each time
    learned = mutual.of("train teacher")
    assert [phase.amount for phase in learned] == [125] * 2  # 1,000 / 8
    assert learned[0].flops == 125 * 3 * 8 * 32 * forward
    more = made("rocketqa", depth=50, unlabelled_queries=2_000).of("judge unlabelled")
    assert [(phase.episode, phase.amount) for phase in more] == [(2, 100_000)]
    assert not any(phase.unit == "pairs" for phase in made("ance-tele").phases)


def test_a_teacher_of_another_size(tiny_model: Path) -> None:
    """Its own shape, where it is a folder; of several GPUs each scores a share, one trains it."""
    small = toy_plan("ar2", teacher=str(tiny_model))
    assert small.teacher.layers == 2 and toy_plan("ar2").teacher == ModelShape()
    assert small.of("score pool")[0].flops < toy_plan("ar2").of("score pool")[0].flops
    counts = 10_000, 1_200, 1_000, 200, ModelShape(), ROUND
    one, four = (plan(recipe("ar2"), *counts, processes=count) for count in (1, 4))
    assert four.of("score pool")[0].seconds == pytest.approx(one.of("score pool")[0].seconds / 4)
    assert four.of("train teacher")[0].seconds == one.of("train teacher")[0].seconds
    assert "pairs a second on one GPU" in render(one).replace("\n", " ")


def test_gradient_caching_takes_one_more_forward_pass() -> None:
    plain, cached = (toy_plan("dpr", grad_cache=choice).of("train")[0] for choice in (False, True))
    assert 1.32 < cached.flops / plain.flops < 4 / 3
    large = {"batch_queries": 128, "negatives_per_query": 11, "passage_max_len": 156}
    assert not toy_plan().cached and toy_plan(**large).cached  # 32,768 and 239,616 tokens; the limit is 65,536


def test_disk_of_ms_marco_by_hand() -> None:
    made = plan_benchmark(recipe("marco"), "marco")
    tokens = 8_841_823 * 77 + 516_756 * 9
    assert made.disk["tokens"] == 2 * tokens + 8 * (8_841_823 + 516_756)
    assert made.disk["vectors"] == 8_841_823 * 768 * 4  # 27 GB: one checkpoint's at a time
    # Two sources in three episodes, and the lists of four checkpoints.
    assert made.disk["candidates"] == pytest.approx(8.2 * 502_939 * 200 * (6 + 4))
    assert made.disk["pools"] == pytest.approx(9.5 * 502_939 * (60 + 120 + 120))
    assert made.disk["models"] == 3 * 4 * 109_482_240
    assert made.disk["checkpoints"] == 2 * 3 * 4 * 109_482_240


def test_memory_of_training_by_hand() -> None:
    made = toy_plan("dpr")
    live = 8 * 32 * 100 + 8 * 12
    assert made.gpu_memory["training"] == 18 * 109_482_240 + live * 12 * (18 * 768 + 4 * 3072)
    cached = toy_plan("dpr", grad_cache=True)
    assert cached.gpu_memory["training"] == 18 * 109_482_240 + (32768 + 8 * 12) * 12 * (18 * 768 + 4 * 3072)


def test_several_gpus_by_hand() -> None:
    counts, assumed = (1_000_000, 5_000, 1_000, 100), Assumed(query_tokens=10, passage_tokens=100, disk=1e6)
    one = plan(recipe("dpr"), *counts, ModelShape(), ROUND, assumed=assumed)
    four = plan(recipe("dpr"), *counts, ModelShape(), ROUND, assumed=assumed, processes=4)
    eight = plan(recipe("dpr"), *counts, ModelShape(), ROUND, assumed=assumed, processes=4, nodes=2)
    for alone, shared in zip(one.phases, four.phases, strict=True):
        assert shared.flops == alone.flops
        if shared.name in ("tokenise", "mix"):  # the host's work is one process's
            assert shared.seconds == alone.seconds
        elif shared.name != "train":
            assert shared.seconds == pytest.approx(alone.seconds / 4)
    # A ring of n moves 2 (n - 1) / n x 4 bytes x 109,482,240 at 300 GB/s within a node, 25 GB/s between nodes.
    assert one.summing == 0 and four.summing == pytest.approx(8 * 109_482_240 * 3 / 4 / 300e9)
    assert eight.summing == pytest.approx(8 * 109_482_240 * 7 / 8 / 25e9)
    (train,), (shared,) = one.of("train"), four.of("train")
    adam = 28 * 109_482_240 / 1e12
    assert shared.seconds / 375 == pytest.approx((train.seconds / 375 - adam) / 4 + four.summing + adam)
    assert four.gpu_memory["training"] < one.gpu_memory["training"] and four.disk == one.disk


def test_a_shared_disk_bounds_what_more_gpus_give() -> None:
    counts = (1_000_000, 200_000, 150_000, 100)
    made = plan(recipe("dpr"), *counts, ModelShape(), ROUND, assumed=Assumed(10, 100), processes=512, nodes=64)
    once = 1_000_000 * 768 * 4 / 2e9
    assert made.of("encode corpus")[0].seconds == pytest.approx(once)
    assert made.of("search queries")[0].seconds == pytest.approx(3 * once)  # three blocks of queries


def test_shares_of_the_peak_are_measured_where_somebody_has() -> None:
    """The figures of docs/decisions.md, by the operations that a plan counts."""
    measured = GPUS["H100"].measured
    assert measured is not None
    step = plan(recipe("dpr"), 10**6, 9, 9, 9, gpu="H100", assumed=Assumed(9, 77)).of("train")[0]
    assert step.flops / step.amount / 0.132 / 989e12 == pytest.approx(measured.training, rel=0.01)
    for tokens, rate in ((8192, 5_800), (32768, 17_500), (131072, 20_800)):
        made = plan_benchmark(recipe("marco").with_settings(encode_tokens=tokens), "marco", gpu="H100")
        assert made.passages / made.of("encode corpus")[0].seconds == pytest.approx(rate, rel=0.01)
    assert made.assumed.measured and not plan_benchmark(recipe("marco"), "marco", gpu="A100-40G").assumed.measured
    whole = plan_benchmark(recipe("marco").with_settings(precision="float32"), "marco", gpu="H100")
    assert whole.assumed.encoding == 0.30 and not whole.assumed.measured


# ---- as the code does ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name in RECIPES if name != "bm25"])
def test_steps_are_those_that_the_run_schedules(name: str) -> None:
    made, asked = toy_plan(name), recipe(name)
    steps = [asked.schedule(episode, 1_000).steps for episode in range(1, asked.episode.episodes + 1)]
    assert [phase.amount for phase in made.of("train")] == steps


def test_phases_come_in_the_order_of_the_run() -> None:
    names = [(phase.episode, phase.name) for phase in toy_plan(episodes=1).phases]
    assert names == [
        (0, "tokenise"), (0, "encode corpus"), (0, "evaluate"),
        (1, "search queries"), (1, "search positives"), (1, "mix"), (1, "train"), (1, "encode corpus"),
        (1, "evaluate"), (1, "look back"),
    ]  # fmt: skip
    assert not toy_plan("q-neg").of("search positives")
    assert [phase.name for phase in toy_plan("zero-shot").phases] == ["tokenise", "encode corpus", "evaluate"]
    assert toy_plan("bm25").phases == ()


def test_search_is_planned_as_it_is_cut() -> None:
    from ance_tele.search import grid, topk

    assert grid.BLOCK_QUERIES == BLOCK_QUERIES
    defaults = inspect.signature(topk.exact_topk).parameters
    assert defaults["query_rows"].default == QUERY_ROWS
    assert (topk.BLOCK_ROWS, topk.MARGIN) == (BLOCK_ROWS, MARGIN)


def test_the_shape_of_a_model_is_read_from_its_folder(tiny_model: Path, tmp_path: Path) -> None:
    from safetensors import safe_open

    shape = model_shape(tiny_model)
    assert (shape.layers, shape.hidden, shape.intermediate, shape.positions) == (2, 32, 64, 128)
    with safe_open(tiny_model / "model.safetensors", "np") as weights:
        stored = sum(weights.get_tensor(name).size for name in weights.keys())  # noqa: SIM118
    assert shape.parameters == stored + 32 * 32 + 32  # the fixture has no pooler
    (tmp_path / "0_Transformer").mkdir()
    distil = {"n_layers": 6, "dim": 768, "hidden_dim": 3072, "vocab_size": 30522, "max_position_embeddings": 512}
    (tmp_path / "0_Transformer" / "config.json").write_text(json.dumps(distil))
    assert model_shape(tmp_path).layers == 6
    assert model_shape("Luyu/condenser") == model_shape(None) == ModelShape()


# ---- whatever the numbers --------------------------------------------------------------------------

SIZES = st.integers(1, 10**8)


@given(SIZES, SIZES, SIZES, st.integers(1, 10**6))
def test_more_data_never_takes_less(passages: int, train: int, measured: int, more: int) -> None:
    def cost(passages: int, train: int) -> tuple[float, ...]:
        made = plan(recipe("marco"), passages, train + measured, train, measured, gpu=ROUND)
        return made.flops, made.seconds, sum(made.disk.values()), made.host_memory, *made.gpu_memory.values()

    base = cost(passages, train)
    for larger in (cost(passages + more, train), cost(passages, train + more)):
        assert all(after >= before for before, after in zip(base, larger, strict=True))


@given(st.integers(1, 10**6), st.integers(1, 512), st.integers(1, 10))
def test_steps_cover_every_query_in_every_epoch(train: int, batch: int, epochs: int) -> None:
    made = plan(recipe("dpr").with_settings(batch_queries=batch, epochs=epochs), 10, train, train, 1, gpu=ROUND)
    assert (made.steps_per_epoch - 1) * batch < train <= made.steps_per_epoch * batch
    assert made.of("train")[0].amount == made.whole == epochs * made.steps_per_epoch


def test_a_faster_gpu_takes_less_time_and_the_same_work() -> None:
    slow, fast = (plan_benchmark(recipe("marco"), "marco", gpu=name) for name in ("A100-40G", "H200"))
    assert fast.flops == slow.flops and fast.seconds < slow.seconds
    assert fast.of("train")[2].seconds > slow.of("train")[2].seconds * 312 / 989  # AdamW waits for memory, too


def test_without_bf16_float32_is_what_counts() -> None:
    made, other = (toy_plan(gpu=GPU("x", 100, 10, 10, 1000, bf16=bf16)) for bf16 in (False, True))
    assert made.of("encode corpus")[0].seconds == pytest.approx(10 * other.of("encode corpus")[0].seconds)
    assert any("no bf16" in note for note in notes(made)) and not any("no bf16" in note for note in notes(other))
    assert toy_plan(precision="float32").of("encode corpus")[0].seconds == made.of("encode corpus")[0].seconds


# ---- the paper's hours -----------------------------------------------------------------------------


def test_the_paper_s_hours_stand_beside_the_same_work_only() -> None:
    made = plan_benchmark(recipe("nq"), "nq", gpu="A100-80G")
    assert made.paper is not None and made.paper.overall == 21.3
    assert scaled(made, 21.3) == pytest.approx(21.3 * 4 * 125 / 312)
    assert plan_benchmark(recipe("marco/q-neg"), "marco").paper is None
    assert plan_benchmark(recipe("marco").with_settings(episodes=5), "marco").paper is None
    assert plan(recipe("marco"), 10_000, 1_200, 1_000, 200, collection="marco").paper is None


def test_a_refresh_encodes_once_and_searches_for_both() -> None:
    made = toy_plan()
    encodings = made.of("encode corpus")[:3]
    searches = made.of("search queries") + made.of("search positives") + made.of("mix")
    assert refresh_seconds(made) == pytest.approx(sum(phase.seconds for phase in encodings + searches) / 3)
    assert refresh_seconds(toy_plan("zero-shot")) == 0


# ---- what is shown ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*RECIPES, "marco/ance", "nq/dpr"])
@pytest.mark.parametrize("gpu", ["A100-40G", "v100-32g"])
def test_a_plan_fits_into_100_columns(name: str, gpu: str) -> None:
    text = render(plan_benchmark(recipe(name), "triviaqa" if "triviaqa" in name else "marco", gpu=gpu))
    assert max(map(len, text.splitlines())) <= 100
    assert text.startswith(f"{name}: ")


def test_the_plan_says_what_counts() -> None:
    text = render(plan_benchmark(recipe("marco"), "marco"))
    assert "62,868 steps an epoch, 188,604 in all epochs; the episodes take 20,000, 20,000 and 188,604." in text
    assert "paper, 1 x A100-40G" in text and "32.1" in text
    assert "Assumed: 77 tokens a passage and 9 a query" in text
    assert "more than its 10" in render(plan(recipe("marco"), 10**6, 10, 10**6, 9, ModelShape(24, 1024, 4096), ROUND))
    assert render(toy_plan("bm25")).splitlines()[1] == "No model: nothing runs on the GPU."


def test_the_plan_of_several_gpus_says_what_it_assumes() -> None:
    one = " ".join(render(plan_benchmark(recipe("marco"), "marco", gpu="H100")).split())
    assert "Measured on an H100, with BERT-base: 8% of the GPU's peak in training, 24% in encoding." in one
    assert "the GPU's peak" not in one.partition("Measured")[0] and "shared disk" not in one
    text = render(plan_benchmark(recipe("marco"), "marco", gpu="H100", processes=8, nodes=2))
    assert max(map(len, text.splitlines())) <= 100
    shown = " ".join(text.split())
    assert "2 nodes x 8 H100: 989 TFLOP/s in 16 bits each." in shown and "each GPU" in shown
    assert "Assumed of 16 processes with a GPU each: the texts of a step divide evenly, summing gradients" in shown
    assert "adds 32.8 ms a step (25 GB/s between nodes), vectors go to and from a shared disk at 2 GB/s" in shown
    assert "(NVLink, 300 GB/s)" in " ".join(render(plan_benchmark(recipe("marco"), "marco", processes=8)).split())
    with pytest.raises(UserError, match="nodes is 0; it must be at least 1"):
        plan_benchmark(recipe("marco"), "marco", nodes=0)


def test_what_cannot_be_planned_is_said_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="There is no GPU 'T4' to plan for; there are: A100-40G"):
        gpu_of("T4")
    assert gpu_of("h100") is GPUS["H100"]
    with pytest.raises(UserError, match="size of 'scifact' is not published"):
        plan_benchmark(recipe("marco"), "scifact")
    with pytest.raises(UserError, match=r"no config\.json that declares a model's shape"):
        model_shape(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(UserError, match="is no JSON"):
        model_shape(tmp_path)


def test_planning_needs_no_torch() -> None:
    import subprocess
    import sys

    code = (
        "import sys; from ance_tele.plan.plan import plan_benchmark; from ance_tele.plan.render import render; "
        "from ance_tele.recipes import recipe; render(plan_benchmark(recipe('marco'), 'marco')); "
        "print({'torch', 'transformers', 'faiss', 'datasets'} & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
