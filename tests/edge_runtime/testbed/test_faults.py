import pytest

from edge_runtime.clock import parse_seconds
from edge_runtime.errors import InputError
from edge_runtime.testbed.faults import Injection, parse_injection

NODES = ("edge1", "fog4")


@pytest.mark.parametrize(
    ("text", "seconds"), [("5s", 5.0), ("0.5s", 0.5), ("500ms", 0.5), ("2", 2.0), ("0s", 0.0)]
)
def test_times(text: str, seconds: float) -> None:
    assert parse_seconds("--hold", text) == seconds
    assert parse_injection("fail", f"fog4@{text}", NODES) == Injection(seconds, "fail", "fog4")


@pytest.mark.parametrize("text", ["", "s", "5m", "-1s", "1e3s", "five", "1s ", "99999999s"])
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(InputError, match="--hold: expected a time such as 5s or 500ms"):
        parse_seconds("--hold", text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("fog4", "--hang fog4: expected a node and a time, as in fog4@5s"),
        ("fog9@5s", "--hang fog9@5s: no such node; there are edge1, fog4"),
        ("@5s", "no such node"),
        ("fog4@soon", "--hang fog4@soon: expected a time"),
    ],
)
def test_what_is_no_injection(text: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_injection("hang", text, NODES)
    assert message in str(caught.value)


def test_injections_sort_by_time() -> None:
    words = ["fog4@12s", "edge1@8s", "fog4@500ms"]
    found = sorted(parse_injection("fail", word, NODES) for word in words)
    assert [injection.at_s for injection in found] == [0.5, 8, 12]
