"""Training on several devices: `tf.distribute.MirroredStrategy` on two logical processors.

Each test is a process of its own: logical devices are configured before TensorFlow starts, and a
second strategy would meet the collectives of the first.
"""

import subprocess
import sys
import textwrap
from pathlib import Path

BEGIN = """
import numpy as np, tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
from tests.reference import small_topology
"""


def run(code: str) -> None:
    """Run code after `BEGIN` in a new process; it fails by raising."""
    done = subprocess.run(
        [sys.executable, "-c", BEGIN + textwrap.dedent(code)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_every_replica_draws_its_own_failures() -> None:
    run("""
        from ddnn_tf.layers import FailureMask, NodeFailure

        topology = small_topology()
        half = dict.fromkeys(topology.elements, 0.5)
        x = np.ones((2000, 3), np.float32)
        with strategy.scope():
            layers = [FailureMask(topology, [half], seed=7), NodeFailure(0.5, seed=7)]

        @tf.function
        def step(k):
            return strategy.run(lambda: layers[k](x, training=True))

        for k in range(2):
            drawn = []
            for _ in range(3):
                drawn += [r.numpy() for r in strategy.experimental_local_results(step(k))]
            assert len(drawn) == 6
            for i, one in enumerate(drawn):
                assert abs(one.mean() - 0.5) < 0.06, one.mean()
                for two in drawn[:i]:
                    # Unrelated coins agree half of the time; the same ones always.
                    assert abs((one == two).mean() - 0.5) < 0.06, (k, i)
    """)


def test_two_replicas_learn_what_one_device_does_from_the_same_failures() -> None:
    # With all that has a loss of its own, and batch norm on the float sensors.
    run("""
        import contextlib
        import keras
        from keras import ops
        from ddnn_tf.layers import FailureMask
        from ddnn_tf.training.auxiliary import AuxiliaryLossModel
        from ddnn_tf.model import FAILURES, build

        SEED, SAMPLES = 7, 64
        topology = small_topology().with_exits()
        rng = np.random.default_rng(0)
        x = {s.name: rng.normal(size=(SAMPLES, *s.shape)).astype("f4") for s in topology.sensors}
        y, weight = rng.integers(0, 3, SAMPLES), np.linspace(0.5, 1.5, SAMPLES)

        def draw_as(replicas, model):
            # Half of a batch from the stream of each replica, as `ReplicaSeeds` makes it.
            own = model.get_layer(FAILURES)
            draw, inference = FailureMask.call, own.call
            streams = [FailureMask(topology, own.survival, SEED + r) for r in replicas]
            for stream, r in zip(streams, replicas):
                stream.seed_generator.state.assign([SEED + r, r])

            def call(inputs, training=None):
                if own._given is not None or not training:
                    return inference(inputs, training)
                halves = ops.split(inputs, 2)
                return ops.concatenate([draw(s, h, True) for s, h in zip(streams, halves)])

            own.call = call

        def trained(replicas=None):
            with contextlib.nullcontext() if replicas else strategy.scope():
                model = build(
                    topology, classes=["a", "b", "c"], dropout=["low", "high"], seed=SEED
                )
                learner = AuxiliaryLossModel(model, auxiliary=0.3, distil=0.5)
                learner.compile(keras.optimizers.SGD(0.05), "sparse_categorical_crossentropy")
            if replicas:
                draw_as(replicas, model)
            start = np.random.default_rng(1)
            # Not the moving variances: no variance is negative.
            for variable in learner.trainable_variables:
                variable.assign(start.normal(0, 0.2, variable.shape))
            told = learner.fit(
                x, y, sample_weight=weight, batch_size=16, shuffle=False, epochs=2, verbose=0
            )
            found = [*model.get_weights(), np.array(told.history["loss"])]
            assert all(np.isfinite(x).all() for x in found)
            return found

        def far(a, b):
            return max(np.abs(p - q).max() for p, q in zip(a, b, strict=True))

        two = trained()
        # What a compiler reorders is some 1e-6; other failures move weights by 1e-2.
        assert far(two, trained(replicas=(0, 1))) < 1e-4
        assert far(two, trained(replicas=(0, 0))) > 1e-3
    """)
