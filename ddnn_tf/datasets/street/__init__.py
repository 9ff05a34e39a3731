"""A generated street: six calibrated cameras, cars, persons and buses."""

from .reading import read_street
from .writing import FRAMES, write_street

__all__ = ["FRAMES", "read_street", "write_street"]
