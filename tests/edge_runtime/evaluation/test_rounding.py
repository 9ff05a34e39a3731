from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from edge_runtime.evaluation.rounding import Rounded
from edge_runtime.transport.wire import Encoding, Message, decode, encode, rounded
from tests.reference import small_topology

RNG = np.random.default_rng(0)


class Echo:
    """Answers what it was given."""

    def run(self, node: str, inputs: Mapping[str, Any]) -> Any:
        return tuple(inputs.values())


def arrived(tensor: Any, encoding: Encoding) -> Any:
    message = Message(
        frame=0, sender="left", incarnation=0, fingerprint=bytes(8), state=1, age_ns=0,
        tensors=(tensor,),
    )  # fmt: skip
    return decode(*encode(message, encoding)).tensors[0]


@pytest.mark.parametrize("encoding", ["raw", "float16", "int8"])
def test_each_sample_is_rounded_as_a_message_of_its_own(encoding: Encoding) -> None:
    sent = (RNG.normal(size=(5, 4)) * [[1], [10], [0], [1e-3], [1e4]]).astype(np.float32)
    (heard,) = Rounded(Echo(), small_topology(), encoding).run("top", {"left": sent})
    for row, tensor in zip(heard, sent, strict=True):
        assert (row == arrived(tensor, encoding)).all()
        assert (row == rounded(tensor, encoding)).all()
    assert (heard != sent).any() == (encoding != "raw")


def test_what_sensors_deliver_is_no_message() -> None:
    view = RNG.normal(size=(2, 3)).astype(np.float32)
    (heard,) = Rounded(Echo(), small_topology(), "int8").run("top", {"cam0": view})
    assert heard is view


def test_what_an_encoding_cannot_hold_arrives_as_it_was() -> None:
    for tensor in (np.array([np.inf, 1], np.float32), np.array([1, 2])):
        assert (rounded(tensor, "int8") == tensor).all()
