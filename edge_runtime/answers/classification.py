"""What an answer means: the classes, how frequent each is, and what is said of nothing."""

from __future__ import annotations

from typing import NamedTuple

from .fallback import Fallback


class Classification(NamedTuple):
    """One of several classes.

    `class_names`: in the order of a section's outputs. `prior`: training frequency of each class,
    from which the fallback is made. `fallback`: the answer when nothing reaches a node that
    answers.
    """

    class_names: tuple[str, ...]
    prior: tuple[float, ...]
    fallback: Fallback = "prior"
