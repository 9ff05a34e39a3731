"""Train one network, cut it over machines, survive failures.

What this front lists is public; every other name of the package is internal and may change.
"""

from edge_runtime.lazy import attach as _attach

__getattr__, __all__ = _attach(__name__, __file__)


def __dir__() -> list[str]:
    return __all__
