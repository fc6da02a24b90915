"""Every number of the product on the tiny data set is the one of the golden file; see `tests/golden.py`."""

import golden
import pytest

WANTED = golden.expected()


@pytest.fixture(scope="module")
def got() -> dict:
    """Everything, computed once."""
    return golden.compute()


def test_every_method_is_in_the_golden_file(got):
    assert set(got["runs"]) == set(WANTED["runs"])


@pytest.mark.parametrize("name", WANTED["runs"])
def test_the_numbers_are_those_of_the_golden_file(name, got):
    exact = golden.alike(got["machine"], WANTED["machine"])
    found = golden.differences(got["runs"][name], WANTED["runs"][name], exact)
    assert not found, f"{name}: {'; '.join(found)}"


def test_no_two_methods_share_their_scores():
    for kind in golden.KINDS:
        scores = [one["digests"]["scores"] for name, one in WANTED["runs"].items() if name.startswith(f"{kind}/")]
        assert len(set(scores)) == len(scores) == len(golden.METHODS)


def test_a_difference_is_named():
    one = {"digests": {"scores": "a", "estimate": None}, "numbers": {"mAP": 10.0, "mean score": 0.5}}
    other = {"digests": {"scores": "b", "estimate": None}, "numbers": {"mAP": 10.6, "mean score": 0.501}}
    assert golden.differences(one, one, True) == golden.differences(one, one, False) == []
    assert golden.differences(one, other, True) == ["scores: a, not b"]
    assert golden.differences(one, other, False) == ["mAP: 10.0, not near 10.6"]
    assert golden.differences({"digests": {}, "numbers": {}}, other, False)[0] == "mAP: missing, not near 10.6"
