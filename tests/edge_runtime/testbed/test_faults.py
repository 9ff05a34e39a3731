import pytest

from edge_runtime.clock import SECOND, parse_seconds, time_text
from edge_runtime.errors import InputError
from edge_runtime.testbed.faults import Injection, check_injections, parse_injection

NODES = ("edge1", "fog4")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("5s", 5.0),
        ("0.5s", 0.5),
        ("500ms", 0.5),
        ("2min", 120.0),
        ("1.5h", 5400.0),
        ("0s", 0.0),
        ("0.000000001s", 1e-9),
    ],
)
def test_times(text: str, seconds: float) -> None:
    assert parse_seconds("--hold", text) == seconds
    assert parse_injection("fail", f"fog4@{text}", NODES) == Injection(seconds, "fail", "fog4")


@pytest.mark.parametrize(
    "text", ["", "s", "5m", "ms", "300000h", "-1s", "1e3s", "five", "1s ", "99999999s"]
)
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(InputError, match="--hold: expected a time such as 50ms, 5s"):
        parse_seconds("--hold", text)


@pytest.mark.parametrize("text", ["2", "0", "100", "0.5"])
def test_a_number_without_a_unit_is_no_time(text: str) -> None:
    for unit in ("s", "ms"):
        with pytest.raises(InputError) as caught:
            parse_seconds("--deadline", text, unit)
        assert f"a time with its unit, got {text!r}; write {text}{unit}" in str(caught.value)
    with pytest.raises(InputError, match=f"--fail fog4@{text}: .* write {text}s"):
        parse_injection("fail", f"fog4@{text}", NODES)


@pytest.mark.parametrize("nanoseconds", [0, 1, 100_000_000, SECOND, 3 * 3600 * SECOND + 7])
def test_a_time_is_written_as_it_is_read(nanoseconds: int) -> None:
    assert round(parse_seconds("--smooth", time_text(nanoseconds)) * SECOND) == nanoseconds


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


def planned(*words: str) -> list[Injection]:
    """Such as `fail fog4@5s`."""
    pairs = (word.split() for word in words)
    return [parse_injection(fault, text, NODES) for fault, text in pairs]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["restore fog4@1s"], "--restore fog4@1s: node 'fog4' runs at that time"),
        (["fail fog4@2s", "restore fog4@1s"], "--restore fog4@1s: node 'fog4' runs at that time"),
        (["fail fog4@1s", "restore edge1@2s"], "--restore edge1@2s: node 'edge1' runs"),
        (["fail fog4@1s", "fail fog4@2s"], "--fail fog4@2s: node 'fog4' was killed before"),
        (["fail fog4@1s", "hang fog4@2s"], "--hang fog4@2s: node 'fog4' was killed before"),
        (["hang fog4@1s", "hang fog4@2s"], "--hang fog4@2s: node 'fog4' hangs already"),
        (["fail fog4@10s"], "--fail fog4@10s: the run ends 10 s after its first frame"),
    ],
)
def test_a_fault_that_would_do_nothing_is_refused(words: list[str], message: str) -> None:
    with pytest.raises(InputError) as caught:
        check_injections(planned(*words), 10.0)
    assert message in str(caught.value)


def test_faults_that_do_something_are_none() -> None:
    words = ("restore fog4@3s", "hang fog4@1s", "fail fog4@2s", "fail fog4@4s", "hang edge1@9.9s")
    check_injections(planned(*words), 10.0)
    check_injections(planned("fail fog4@10s"))
