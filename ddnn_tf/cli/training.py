"""What `ddnn train` makes of its options, and what it says of a model that it goes on from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from edge_runtime.errors import InputError
from edge_runtime.topology import Topology

from ..names import Freeze
from .loader import say, words

# TensorFlow takes seconds to import, so what needs it imports it itself.
if TYPE_CHECKING:
    from ..datasets import Batches
    from ..model import ResilientModel
    from ..reporting.report import Report
    from ..training.recipe import Recipe

#: The words of `--augment`: which field of a recipe each sets, and to what unless told.
VARIATIONS: Mapping[str, tuple[str, float]] = {
    "shift": ("shift", 3),
    "brightness": ("gain", 0.3),
    "mirror": ("mirror", True),
    "zoom": ("zoom", 0.15),
}


def check_unused(context: typer.Context, start: Path | None, freeze: Freeze | None) -> None:
    """`InputError` for options that say nothing beside `--start`, or without it."""
    if start is None:
        if freeze is not None:
            raise InputError(
                f"--freeze {freeze} is for a model to go on from, which has learned; give --start, "
                "or leave it out"
            )
        return
    unused = [
        f"--{name}"
        for name in ("topology", "sections", "exits")
        if getattr(context.get_parameter_source(name), "name", "") == "COMMANDLINE"
    ]
    if unused:
        raise InputError(
            f"{', '.join(unused)}: not used beside --start, as the model to go on from has its "
            "own; leave it out"
        )


def variation(text: str | None, topology: Topology) -> dict[str, Any]:
    """Parse `--augment`: the fields of a recipe that vary pictures; none where it is not given."""
    if text is None:
        return {}
    off: dict[str, Any] = {"shift": 0, "gain": 0.0, "mirror": False, "zoom": 0.0}
    given = words(text)
    if given == ["none"]:
        return off
    found: dict[str, Any] = {}
    for word in given:
        name, _, amount = word.partition(":")
        if name not in VARIATIONS or (amount and name == "mirror"):
            raise InputError(
                f"--augment: expected none, or of {', '.join(VARIATIONS)} some with commas, each "
                f"but mirror with its most, as in shift:2; got {word!r}"
            )
        field, usual = VARIATIONS[name]
        try:
            found[field] = type(usual)(amount) if amount else usual
        except ValueError as error:
            raise InputError(f"--augment {word}: expected a number, got {amount!r}") from error
    if not found:
        raise InputError("--augment is empty; give none for no variations")
    if not any(s.dtype == "uint8" and len(s.shape) == 3 for s in topology.sensors):
        raise InputError(
            f"--augment {text}: only pictures of bytes are varied, and no sensor of "
            f"{topology.name!r} gives any; leave it out"
        )
    return off | found


class Change:
    """What a training makes of a model to go on from, by one split of the data.

    `data`: the part to report on, or where there is none the training part.
    """

    def __init__(
        self, start: ResilientModel, data: Batches, wanted: Mapping[str, Any], recipe: Recipe
    ) -> None:
        from ..evaluation import expected_score

        _say_how(recipe.going_on())
        self.data, self.wanted, self.score = data, wanted, start.task.score
        self.before = self._figures(expected_score(start, data, survival=wanted))
        self._say("before", self.before)

    def of(self, reports: Sequence[Report]) -> dict[str, Any]:
        """Say what became of it, and warn of what fell; returns what `--json` holds."""
        after = {
            name: sum(figures[name] for figures in map(self._figures, reports)) / len(reports)
            for name in self.before
        }
        self._say("after", after)
        sign = self.score.sign
        fell = [name for name, x in after.items() if sign * (x - self.before[name]) < -1e-9]
        if fell:
            say(
                "warning: the training made it worse: "
                + ", ".join(
                    f"{name} {self.score.change(after[name] - self.before[name])}" for name in fell
                )
                + "; try a lower --learning-rate, fewer --epochs, --freeze bn, --augment none"
            )
        return {
            "split": self.data.name,
            "before": self.before,
            "after": after,
            "fell": fell,
        }

    def _figures(self, report: Report) -> dict[str, float]:
        expected = {name: report.expected_score(name) for name in self.wanted}
        return {"all_alive": report.all_alive, **expected}

    def _say(self, when: str, figures: Mapping[str, float]) -> None:
        score = self.score
        told = ", ".join(f"{name} {score.number(value)}" for name, value in figures.items())
        what = "" if score.name == "accuracy" else f", {score.name}"
        say(f"{when:<8} {told} {score.unit} expected on {self.data.name}{what}")


def _say_how(recipe: Recipe) -> None:
    """Say what is done with a model to go on from that no option had to ask for."""
    varied = recipe.variation
    told = [word for word, (field, _) in VARIATIONS.items() if varied[field]]
    say(
        f"batch norm {'stays as it is' if recipe.freeze == 'bn' else 'learns'}; pictures are "
        f"{'varied by ' + ', '.join(told) if told else 'not varied'}"
    )
