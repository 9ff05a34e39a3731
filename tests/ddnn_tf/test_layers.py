import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ddnn_tf.layers import Answer, Deliveries, FailureMask, NodeFailure
from edge_runtime.arrays import Array
from edge_runtime.errors import InputError
from edge_runtime.failures.configurations import deliveries
from edge_runtime.failures.distribution import FailureModel
from edge_runtime.task import Classification
from edge_runtime.topology import Group, Share, Survival, Topology, Uptime
from tests.reference import small_topology
from tests.strategies import masks, topologies

# Draws are seeded, so these never fail by chance; the bounds say what a seed may deviate by.
DRAWS = 4000
FIVE_DEVIATIONS = 5 * 0.5 / DRAWS**0.5


def run_layer_test(
    kind: type[keras.layers.Layer],
    arguments: dict[str, Any],
    *inputs: Array,
    shape: tuple[int, ...],
    tmp_path: Path,
) -> None:
    """What must hold of any layer: configuration, shapes, types, a saved model, training."""
    layer = kind(**arguments)
    config = layer.get_config()
    assert json.loads(json.dumps(config)) is not None, "the configuration must be plain"
    again = kind.from_config(json.loads(json.dumps(config)))
    assert json.dumps(again.get_config()) == json.dumps(config)
    assert set(config) - set(keras.layers.Layer().get_config()) == set(arguments)

    symbols = [keras.Input(x.shape[1:], dtype=x.dtype.name) for x in inputs]
    output = layer(*symbols)
    given_back = layer(*inputs)
    assert tuple(output.shape) == (None, *shape)
    assert tuple(given_back.shape) == (len(inputs[0]), *shape)
    assert given_back.dtype.name == keras.backend.standardize_dtype(output.dtype)

    flat = keras.layers.Flatten()(keras.layers.Rescaling(1.0, dtype="float32")(output))
    model = keras.Model(symbols, keras.layers.Dense(2)(flat))
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert np.asarray(loaded(list(inputs))) == pytest.approx(np.asarray(model(list(inputs))))
    model.compile("sgd", "mse")
    loss = model.fit(list(inputs), np.ones((len(inputs[0]), 2)), epochs=2, verbose=0)
    assert np.isfinite(loss.history["loss"]).all()


TASK = {"kind": "classification", "class_names": ["a", "b"], "prior": [0.25, 0.75]}
ORIGINAL = {"inputs": "", "answers": [[0.5, 0.5]]}


@pytest.mark.parametrize(
    ("kind", "arguments", "inputs", "shape"),
    [
        (NodeFailure, {"survival": 0.5, "column": 0, "seed": 3}, [np.ones((8, 3), "f4")], (3,)),
        (
            NodeFailure,
            {"survival": 1.0, "column": 1, "seed": None},
            [np.ones((8, 4, 4, 3), "u1"), np.ones((8, 2), "f4")],
            (4, 4, 3),
        ),
        (
            FailureMask,
            {"topology": small_topology(), "survival": ["low", {"left": 0.5}, None], "seed": 3},
            [np.ones((8, 3), "u1")],
            (10,),
        ),
        (
            FailureMask,
            {"topology": small_topology(), "survival": None, "seed": None},
            [np.ones((8, 3), "f4")],
            (10,),
        ),
        (Deliveries, {"topology": small_topology()}, [np.ones((8, 10), "f4")], (5,)),
        (Answer, {"task": TASK, "original": None}, [np.ones((8, 2), "f4")], (2,)),
        (Answer, {"task": TASK, "original": ORIGINAL}, [np.ones((8, 2), "f4")], (2,)),
    ],
)
def test_layers_keep_their_promises_to_keras(
    kind: type[keras.layers.Layer],
    arguments: dict[str, Any],
    inputs: list[Array],
    shape: tuple[int, ...],
    tmp_path: Path,
) -> None:
    run_layer_test(kind, arguments, *inputs, shape=shape, tmp_path=tmp_path)


# -- NodeFailure -------------------------------------------------------------------------------


def test_alone_a_node_does_not_fail_at_inference() -> None:
    x = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    for survival in (0.0, 0.5, 1.0):
        layer = NodeFailure(survival, seed=1)
        assert (np.asarray(layer(x)) == x).all()
        assert (np.asarray(layer(x, training=False)) == x).all()


@pytest.mark.parametrize("survival", [0.0, 0.3, 0.9, 1.0])
@pytest.mark.parametrize("dtype", ["float32", "uint8"])
def test_alone_it_drops_whole_samples_in_training_at_its_rate(survival: float, dtype: str) -> None:
    x = np.full((DRAWS, 2, 3), 7, dtype)
    out = np.asarray(NodeFailure(survival, seed=5)(x, training=True))
    assert out.dtype == dtype
    survived = (out == 7).all(axis=(1, 2))
    assert (survived | (out == 0).all(axis=(1, 2))).all(), "a sample fails as a whole, unscaled"
    assert survived.mean() == pytest.approx(survival, abs=FIVE_DEVIATIONS)


def test_every_call_draws_anew_and_a_seed_repeats_the_series() -> None:
    x = np.ones((64, 1), np.float32)
    one, two = NodeFailure(0.5, seed=5), NodeFailure(0.5, seed=5)
    first, second = np.asarray(one(x, training=True)), np.asarray(one(x, training=True))
    assert (first != second).any()
    assert (np.asarray(two(x, training=True)) == first).all()


def test_a_mask_decides_by_its_column_in_training_and_at_inference() -> None:
    x = np.ones((3, 2), np.float32)
    works = np.array([[0, 1], [1, 0], [0, 0]], np.float32)
    for training in (False, True):
        layer = NodeFailure(survival=0.0, column=1)
        assert np.asarray(layer(x, works, training=training)).tolist() == [[1, 1], [0, 0], [0, 0]]


def test_nothing_of_a_dead_sender_gets_through_not_even_nan() -> None:
    x = np.array([[np.nan], [np.inf], [2.0]], np.float32)
    works = np.array([[0.0], [0.0], [1.0]], np.float32)
    assert np.asarray(NodeFailure()(x, works)).tolist() == [[0.0], [0.0], [2.0]]


@pytest.mark.parametrize("survival", [-0.1, 1.1, float("nan")])
def test_a_survival_outside_0_to_1_is_refused(survival: float) -> None:
    with pytest.raises(InputError, match=f"from 0 to 1, got survival={survival}"):
        NodeFailure(survival)


# -- FailureMask -------------------------------------------------------------------------------

BATCH = np.zeros((DRAWS, 3), np.uint8)


def test_no_failures_are_drawn_at_inference_or_without_a_survivability() -> None:
    topology = small_topology()
    assert np.asarray(FailureMask(topology, ["low"])(BATCH)).all()
    assert np.asarray(FailureMask(topology, ["low"])(BATCH, training=False)).all()
    assert np.asarray(FailureMask(topology, None)(BATCH, training=True)).all()


def test_in_training_every_element_fails_at_its_own_rate_and_on_its_own() -> None:
    topology = small_topology()
    survival = {"cam0": 0.9, "left": 0.5, "right": 0.5, "top": 0.8, "cam0->top": 0.6}
    drawn = np.asarray(FailureMask(topology, [survival], seed=2)(BATCH, training=True))
    assert set(np.unique(drawn)) == {0.0, 1.0}
    assert drawn.mean(axis=0) == pytest.approx(topology.survival(survival), abs=FIVE_DEVIATIONS)
    varying = drawn[:, [topology.index[name] for name in survival]]
    correlations = np.corrcoef(varying.T) - np.eye(len(survival))
    assert np.abs(correlations).max() < 5 / DRAWS**0.5
    # Nor does one sample's failure say anything about the next one's.
    assert abs(np.corrcoef(varying[1:, 1], varying[:-1, 1])[0, 1]) < 5 / DRAWS**0.5


def test_elements_of_survival_zero_and_one_are_certain() -> None:
    topology = small_topology()
    drawn = np.asarray(FailureMask(topology, [{"left": 0.0}], seed=2)(BATCH, training=True))
    assert (drawn == (np.array(topology.elements) != "left")).all()


def test_every_sample_draws_one_survivability_which_all_elements_share() -> None:
    topology = small_topology()
    never = dict.fromkeys(topology.elements, 0.0)
    half = dict.fromkeys(topology.elements, 0.0) | {"left": 1.0}
    drawn = np.asarray(FailureMask(topology, [never, None, half], seed=4)(BATCH, training=True))
    rows, counts = np.unique(drawn, axis=0, return_counts=True)
    assert rows.sum(axis=1).tolist() == [0, 1, len(topology.elements)]
    assert counts / DRAWS == pytest.approx([1 / 3] * 3, abs=FIVE_DEVIATIONS)


def test_groups_and_recorded_masks_are_drawn_as_often_as_they_should_be() -> None:
    groups = (Group("switch", ("left", "cam0->top"), 0.7), Group("power", ("left",), 0.8))
    topology = small_topology(groups=groups)
    survivals: list[Survival] = [
        {"left": 0.9, "right": Uptime(3, 1)},
        (Share(("left", "top"), 0.25), Share((), 0.75)),
    ]
    for survival in survivals:
        layer = FailureMask(topology, [survival], seed=6)
        layer = FailureMask.from_config(json.loads(json.dumps(layer.get_config())))
        drawn = np.asarray(layer(BATCH, training=True))
        expected = FailureModel.of(topology, survival).element_marginals
        assert drawn.mean(axis=0) == pytest.approx(expected, abs=FIVE_DEVIATIONS)
        if len(expected[expected < 1]) == 2:  # what was recorded together fails together
            assert (drawn[:, topology.index["left"]] == drawn[:, topology.index["top"]]).all()


def test_a_given_mask_holds_within_its_block_alone() -> None:
    layer = FailureMask(small_topology(), ["low"], seed=1)
    x = np.zeros((2, 3), np.uint8)
    mask = np.eye(2, 10, dtype=bool)
    inner = np.zeros((2, 10), bool)
    with layer.given(mask):
        for training in (False, True):
            assert (np.asarray(layer(x, training=training)) == mask).all()
        with layer.given(inner):
            assert not np.asarray(layer(x)).any()
        assert (np.asarray(layer(x)) == mask).all()
    assert np.asarray(layer(x)).all()
    with pytest.raises(KeyboardInterrupt), layer.given(mask):
        raise KeyboardInterrupt
    assert np.asarray(layer(x)).all()


@pytest.mark.parametrize(
    ("survival", "fragment"),
    [
        ("low", "expected a list of survivabilities or None, got 'low'; .*such as \\[\"high\"\\]"),
        ([], "expected a list of survivabilities or None, got \\[\\]"),
        (["lowest"], "unknown survivability 'lowest': topology 'small' has low, high"),
        ([{"lost": 0.5}], "unknown element 'lost'"),
    ],
)
def test_survivabilities_that_cannot_be_drawn_are_refused(survival: Any, fragment: str) -> None:
    with pytest.raises(InputError, match=fragment):
        FailureMask(small_topology(), survival)


# -- Deliveries --------------------------------------------------------------------------------


@settings(max_examples=40)
@given(data=st.data(), topology=topologies())
def test_links_deliver_in_keras_as_on_the_devices(data: st.DataObject, topology: Topology) -> None:
    cases = data.draw(masks(topology))
    found = np.asarray(Deliveries(topology)(cases.astype(np.float32)))
    assert (found == deliveries(topology, cases)).all()


# -- Answer ------------------------------------------------------------------------------------


def test_an_answer_passes_unchanged() -> None:
    x = np.random.default_rng(0).normal(size=(4, 2)).astype(np.float32)
    assert (np.asarray(Answer(Classification(("a", "b")))(x)) == x).all()
