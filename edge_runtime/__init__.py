"""The ground floor: what a device carries, and what every other part counts with.

Imports numpy and msgspec; LiteRT, Zenoh and TensorFlow only where a node asks for them. What this
front lists is public; every other name of the package is internal and may change.
"""

from .lazy import attach as _attach

__getattr__, __all__ = _attach(__name__, __file__)


def __dir__() -> list[str]:
    return __all__
