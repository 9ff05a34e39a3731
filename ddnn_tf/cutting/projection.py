"""Residual links into a section that was not made for them: one tensor in the shape of another."""

from __future__ import annotations

import math
from typing import Any

from keras import layers

from edge_runtime.errors import InputError

Tensor = Any  # a Keras tensor, which has no public type

_POOLS = {1: layers.AveragePooling1D, 2: layers.AveragePooling2D, 3: layers.AveragePooling3D}
_MEANS = {
    1: layers.GlobalAveragePooling1D,
    2: layers.GlobalAveragePooling2D,
    3: layers.GlobalAveragePooling3D,
}
_CONVOLUTIONS = {1: layers.Conv1D, 2: layers.Conv2D, 3: layers.Conv3D}
_UPSAMPLINGS = {1: layers.UpSampling1D, 2: layers.UpSampling2D, 3: layers.UpSampling3D}
_CROPPINGS = {1: layers.Cropping1D, 2: layers.Cropping2D, 3: layers.Cropping3D}


def project(x: Tensor, shape: tuple[int, ...], name: str, *, start: str = "zeros") -> Tensor:
    """A tensor of any shape in the given one, without the batch axis: the projection shortcut.

    As in He et al., *Deep Residual Learning* (2016), section 3.3, but where sizes differ it pools
    rather than skips. Channels by a 1x1 convolution, or a dense layer where either has no places;
    places by average pooling, or by repeating them. Without bias, so that a link that delivers
    nothing adds nothing.

    Args:
        x: floats, channels last.
        shape: the one to get.
        name: what the layers' names begin with.
        start: initializer of the kernel. With zeros nothing is added before training.
    """
    own = tuple(x.shape[1:])
    ranks = len(own) - 1, len(shape) - 1
    if max(ranks) > 3:
        raise InputError(f"expected at most three axes beside the channels, got {own} for {shape}")
    if ranks[0] != ranks[1] and ranks[0]:
        x = _MEANS[ranks[0]](name=f"{name}_mean")(x)
    if ranks[0] == ranks[1] and ranks[0]:
        # Pooled first: a convolution costs least where the map is smallest.
        x = _fewer_places(x, shape[:-1], name)
        kernel = _CONVOLUTIONS[ranks[0]]
        x = kernel(
            shape[-1], 1, use_bias=False, kernel_initializer=start, name=f"{name}_projection"
        )(x)
        return _more_places(x, shape[:-1], name)
    x = layers.Dense(
        shape[-1], use_bias=False, kernel_initializer=start, name=f"{name}_projection"
    )(x)
    if not ranks[1]:
        return x
    x = layers.Reshape((*(1,) * ranks[1], shape[-1]), name=f"{name}_places")(x)
    return _more_places(x, shape[:-1], name)


def _fewer_places(x: Tensor, places: tuple[int, ...], name: str) -> Tensor:
    """Average along the axes that are longer than wanted."""
    own = tuple(x.shape[1:-1])
    if all(a <= b for a, b in zip(own, places, strict=True)):
        return x
    steps = [max(1, a // b) for a, b in zip(own, places, strict=True)]
    # The widest window that still gives the places wanted, so that no row is left out.
    windows = [a - (b - 1) * s if a > b else 1 for a, b, s in zip(own, places, steps, strict=True)]
    return _POOLS[len(places)](_sizes(windows), strides=_sizes(steps), name=f"{name}_pool")(x)


def _more_places(x: Tensor, places: tuple[int, ...], name: str) -> Tensor:
    """Repeat along the axes that are shorter than wanted."""
    own = tuple(x.shape[1:-1])
    if own == places:
        return x
    factors = [math.ceil(b / a) for a, b in zip(own, places, strict=True)]
    x = _UPSAMPLINGS[len(places)](_sizes(factors), name=f"{name}_repeat")(x)
    extra = [(0, a * f - b) for a, b, f in zip(own, places, factors, strict=True)]
    if any(e for _, e in extra):
        cropping = extra[0] if len(places) == 1 else tuple(extra)
        x = _CROPPINGS[len(places)](cropping, name=f"{name}_crop")(x)
    return x


def _sizes(values: list[int]) -> Any:
    return values[0] if len(values) == 1 else tuple(values)
