"""A generated street: six calibrated cameras, cars, persons and buses."""

from .reading import read_street as read_street
from .writing import FRAMES as FRAMES
from .writing import write_street as write_street
