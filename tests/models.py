"""Small Keras models that show what is wrong: no weight of theirs is zero."""

from typing import Any

import keras
import numpy as np
from keras import layers

from ddnn_tf.cutting.graph import read_graph
from ddnn_tf.sections import Site, concatenate, unit_scale


def randomized(model: Any, seed: int = 0, *, scale: float = 3.0) -> Any:
    """The model with random weights, biases among them: Keras' own start at zero and leak unseen.

    Scaled so that outputs stay of the order of one and differ between inputs.
    """
    rng = np.random.default_rng(seed)
    weights = []
    for variable in model.weights:
        value = rng.normal(0, 0.5, variable.shape)
        if "variance" in variable.path:
            value = 0.5 + np.abs(value)
        elif len(variable.shape) > 1:
            value *= scale / np.sqrt(np.prod(variable.shape[:-1]))
        weights.append(value)
    model.set_weights(weights)
    return model


def lively(model: Any, seed: int = 0) -> Any:
    """A deep model with random weights whose outputs differ between inputs.

    With plain random ones a deep model gives the same for every input, and garbage agrees with it.
    Batch norm gets the statistics that it meets, off by some tenths, layer by layer.
    """
    rng = np.random.default_rng(seed)
    graph = read_graph(model)
    values = {v: keras.ops.convert_to_tensor(scenes(v.shape, 8, seed + 1)) for v in graph.inputs}
    for call in graph.calls:
        layer = call.operation
        if isinstance(layer, layers.BatchNormalization):
            x = np.asarray(values[call.inputs[0]])
            axes = tuple(range(x.ndim - 1))
            mean, deviation = x.mean(axes), x.std(axes) + 1e-3 * np.abs(x).max()
            n = len(mean)
            moved = mean + 0.2 * rng.normal(size=n) * deviation
            given = {
                "gamma": rng.uniform(0.6, 1.4, n),
                "beta": rng.normal(0, 0.3, n),
                "moving_mean": moved,
                "moving_variance": (deviation * rng.uniform(0.8, 1.3, n)) ** 2,
            }
            layer.set_weights([given[w.name] for w in layer.weights])
        elif not isinstance(layer, layers.Normalization):
            for weight in getattr(layer, "weights", ()):
                fan_in = np.prod(weight.shape[:-1]) if weight.ndim > 1 else 100
                if isinstance(layer, layers.DepthwiseConv2D) and weight.ndim > 1:
                    fan_in = np.prod(weight.shape[:2])
                weight.assign(rng.normal(0, np.sqrt(2 / fan_in), weight.shape))
        options = {"training": False} if getattr(layer, "_call_has_training_arg", False) else {}
        results = keras.tree.flatten(call.run(values, **options))
        values.update(zip(call.outputs, results, strict=True))
    return model


def residual_net(*, shape: tuple[int, ...] = (8, 8, 3), classes: int = 4, **last: Any) -> Any:
    """Two residual blocks, the second with a projection and a stride."""
    x = image = keras.Input(shape, name="image")
    x = layers.Conv2D(6, 3, padding="same", name="stem")(x)
    for block, (filters, stride) in enumerate([(6, 1), (8, 2)]):
        y = layers.Conv2D(filters, 3, strides=stride, padding="same", name=f"conv_{block}a")(x)
        y = layers.BatchNormalization(name=f"norm_{block}")(y)
        y = layers.ReLU(name=f"relu_{block}")(y)
        y = layers.Conv2D(filters, 3, padding="same", name=f"conv_{block}b")(y)
        if stride > 1:
            x = layers.Conv2D(filters, 1, strides=stride, name=f"shortcut_{block}")(x)
        x = layers.Add(name=f"add_{block}")([x, y])
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    x = layers.Dropout(0.2, name="dropout")(x)
    scores = layers.Dense(classes, name="scores", **{"activation": "softmax", **last})(x)
    return randomized(keras.Model(image, scores, name="residual_net"))


def scenes(shape: tuple[int | None, ...], count: int, seed: int = 0) -> Any:
    """Pictures 0..255, float32, that differ in the large and not in their noise alone."""
    rng = np.random.default_rng(seed)
    height, width, channels = (int(d or 1) for d in shape)
    coarse = rng.uniform(0, 255, (count, 4, 4, channels)) * rng.uniform(
        0.2, 1, (count, 1, 1, channels)
    )
    rows, columns = np.arange(height) * 4 // height, np.arange(width) * 4 // width
    pictures = coarse[:, rows][:, :, columns] + rng.normal(0, 20, (count, height, width, channels))
    return np.clip(pictures, 0, 255).astype(np.float32)


def flagged(site: Site) -> Any:
    """A section of one dense layer over all that it hears, with link-present flags."""
    flat = {n: layers.Flatten()(unit_scale(x)) for n, x in site.inputs.items()}
    merged = concatenate(flat, site.present)
    if site.classes is not None:
        return layers.Dense(site.classes, activation="softmax")(merged)
    return layers.Dense(3, activation="relu")(merged)


def two_outputs(site: Site) -> Any:
    """As `flagged`, but every link carries two tensors."""
    flat = {n: layers.Flatten()(unit_scale(x)) for n, x in site.inputs.items()}
    merged = concatenate(flat, site.present)
    if site.classes is not None:
        return layers.Dense(site.classes, activation="softmax")(merged)
    return [layers.Dense(2, activation="relu")(merged), layers.Dense(1)(merged)]


def plain_model(*, between: Any = None, after: Any = None, inputs: str = "dict") -> keras.Model:
    """A Keras model over `small_topology` that knows nothing of ddnn_tf.

    `between` is a layer from left to top, `after` one above top; `inputs` says how the sections
    take theirs: as a `dict`, or as a `list` or a single tensor.
    """

    def section(name: str, sizes: dict[str, int], units: int, activation: str) -> keras.Model:
        tensors = {n: keras.Input((size,), name=n) for n, size in sizes.items()}
        parts = list(tensors.values())
        x = layers.Concatenate()(parts) if len(parts) > 1 else parts[0]
        x = layers.Dense(units, activation=activation)(x)
        return keras.Model(shaped(tensors), x, name=name)

    def shaped(tensors: dict[str, Any]) -> Any:
        if inputs == "dict":
            return tensors
        return list(tensors.values()) if len(tensors) > 1 else next(iter(tensors.values()))

    cam0, cam1 = (keras.Input((3,), name=name) for name in ("cam0", "cam1"))
    left = section("left", {"cam0": 3}, 4, "relu")(shaped({"cam0": cam0}))
    right = section("right", {"cam1": 3}, 4, "relu")(shaped({"cam1": cam1}))
    if between is not None:
        left = between(left)
    top = section("top", {"left": 4, "right": 4, "cam0": 3}, 2, "softmax")
    answer = top(shaped({"left": left, "right": right, "cam0": cam0}))
    if after is not None:
        answer = after(answer)
    return randomized(keras.Model([cam0, cam1], answer, name="plain"))
