"""Models between two: exact at both ends, on the line or the arc between them."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sentence_transformers import SentenceTransformer

from ance_tele.console.errors import UserError
from ance_tele.encode.config import EncoderConfig
from ance_tele.encode.encoder import weights_fingerprint
from ance_tele.encode.loading import load_model
from ance_tele.encode.merging import Merge, MergeMethod, interpolated

FLOATS = st.floats(-10, 10, width=32)
PAIRS = st.integers(1, 6).flatmap(lambda n: st.tuples(*[st.lists(FLOATS, min_size=n, max_size=n)] * 2))


@settings(max_examples=100, deadline=None)
@given(PAIRS, st.floats(0, 1), st.sampled_from(["linear", "spherical"]))
def test_between(pair: tuple[list[float], list[float]], weight: float, method: MergeMethod) -> None:
    base, trained = (torch.tensor(one) for one in pair)
    found = interpolated(base, trained, weight, method)
    assert found.dtype == torch.float32 and torch.isfinite(found).all()
    for end, one in ((0.0, base), (1.0, trained)):
        assert torch.equal(interpolated(base, trained, end, method), one)
    # The other way round it is the same model, and between equal ones there is only that one.
    again = interpolated(trained, base, 1 - weight, method)
    assert torch.allclose(found, again, atol=1e-4)
    assert torch.allclose(interpolated(base, base, weight, method), base, atol=1e-6)
    if method == "linear":
        expected = (1 - weight) * np.array(pair[0]) + weight * np.array(pair[1])
        assert np.allclose(found.numpy(), expected, atol=1e-5)


@settings(max_examples=50, deadline=None)
@given(st.floats(0.01, 3.1), st.floats(0, 1), st.floats(0.1, 5), st.floats(0.1, 5))
def test_the_arc_has_constant_speed(angle: float, weight: float, first: float, second: float) -> None:
    """By angles and lengths in the plane."""
    ends = torch.tensor([first, 0.0]), second * torch.tensor([np.cos(angle), np.sin(angle)], dtype=torch.float32)
    x, y = interpolated(*ends, weight, "spherical").double().tolist()
    assert np.arctan2(y, x) == pytest.approx(weight * angle, abs=1e-4)
    assert np.hypot(x, y) == pytest.approx((1 - weight) * first + weight * second, rel=1e-4)


@pytest.fixture(scope="module")
def other(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model with other weights, as a sentence-transformers folder."""
    folder = tmp_path_factory.mktemp("models") / "other"
    model = load_model(tiny_model, EncoderConfig(), "cpu")
    torch.manual_seed(5)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.02 * torch.randn_like(weight))
    model.save_pretrained(str(folder), create_model_card=False)
    return folder


@pytest.mark.parametrize("method", ["linear", "spherical"])
def test_a_merge_is_an_ordinary_model(tiny_model: Path, other: Path, method: MergeMethod, tmp_path: Path) -> None:
    base, trained = (load_model(one, EncoderConfig(), "cpu") for one in (tiny_model, other))
    ends = weights_fingerprint(base), weights_fingerprint(trained)
    merge = Merge(base, trained, method)
    assert weights_fingerprint(merge.at(0.5)) not in ends
    merge.at(0.5).save_pretrained(str(tmp_path / "half"), create_model_card=False)
    half = SentenceTransformer(str(tmp_path / "half"), device="cpu")
    ends_of = [dict(load_model(one, EncoderConfig(), "cpu").named_parameters()) for one in (tiny_model, other)]
    for name, found in half.named_parameters():
        assert torch.allclose(found, interpolated(ends_of[0][name], ends_of[1][name], 0.5, method)), name
    vectors = half.encode(["t1 u7"])
    assert vectors.shape == (1, 32) and np.isfinite(vectors).all()
    assert (weights_fingerprint(merge.at(0.0)), weights_fingerprint(merge.at(1.0))) == ends, "also after others"


def test_separate_encoders(tiny_model: Path, other: Path) -> None:
    """A run that unties its encoders begins with one model twice, and merges with that."""
    untied = EncoderConfig(untie_encoders=True)
    merge = Merge(load_model(tiny_model, untied, "cpu"), load_model(other, untied, "cpu"))
    assert merge.at(0.25).encode_query("t1").shape == (32,)


def test_models_of_two_kinds(tiny_model: Path, other: Path, tmp_path: Path) -> None:
    from toy import write_model
    from transformers import BertConfig, BertModel

    write_model(tmp_path / "small")
    config = BertConfig.from_pretrained(tmp_path / "small")
    config.num_hidden_layers = 1
    BertModel(config, add_pooling_layer=False).save_pretrained(tmp_path / "small")
    config.intermediate_size = 48
    shutil.copytree(tmp_path / "small", tmp_path / "narrow")
    BertModel(config, add_pooling_layer=False).save_pretrained(tmp_path / "narrow")
    load = [load_model(one, EncoderConfig(), "cpu") for one in (other, tmp_path / "small", tmp_path / "narrow")]
    with pytest.raises(UserError, match=r"are not of one kind: only the trained model has the tensor '0\."):
        Merge(load[1], load[0])
    with pytest.raises(UserError, match=r"are not of one kind: '0\..*' is 64 x 32 in the base and 48 x 32 in the"):
        Merge(load[1], load[2])
    untied = load_model(other, EncoderConfig(untie_encoders=True), "cpu")
    with pytest.raises(UserError, match="are not of one kind"):
        Merge(load[0], untied)
