"""What was read, merged, dropped or filled."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple


class Range(NamedTuple):
    """From where to where a value goes, its mean, and its unit, empty where that is unknown."""

    least: float
    mean: float
    most: float
    unit: str


@dataclass(frozen=True)
class Summary:
    """The account a reader gives of its source; `print` it, or store `as_dict()` as JSON.

    Attributes:
        source: The folder, file or generator that was read.
        form: Which of the accepted forms it has.
        samples: Number of samples.
        sensors: Sensor name to shape and type of one sample, such as `"32x32x3 uint8"`.
        seen: Sensor name to the number of samples it sees (its view is not blank).
        classes: Class, or one label of several, to number of samples; empty for a regression.
        kind: What the labels are, such as `classification`.
        splits: Split name to class name to number of samples.
        sizes: Split name to number of samples.
        values: Of a regression alone: each value's name to its range.
        groups: Number of groups, such as persons, days or sites; None where they are unknown.
        leaks: Split name to what it shares with the split that is trained on, see `leak_of`.
        events: What was merged, dropped, filled or skipped, to how often. Zeros are left out.
        notes: The same in sentences that name files; for people.
    """

    source: str
    form: str
    samples: int
    sensors: Mapping[str, str]
    seen: Mapping[str, int]
    classes: Mapping[str, int]
    kind: str = "classification"
    splits: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    sizes: Mapping[str, int] = field(default_factory=dict)
    values: Mapping[str, Range] = field(default_factory=dict)
    groups: int | None = None
    leaks: Mapping[str, str] = field(default_factory=dict)
    events: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """A dictionary of strings, integers, lists and dictionaries only."""
        return {
            "source": self.source,
            "form": self.form,
            "samples": self.samples,
            "sensors": dict(self.sensors),
            "seen": dict(self.seen),
            "kind": self.kind,
            "classes": dict(self.classes),
            "splits": {name: dict(counts) for name, counts in self.splits.items()},
            "sizes": dict(self.sizes),
            "values": {name: value._asdict() for name, value in self.values.items()},
            "groups": self.groups,
            "leaks": dict(self.leaks),
            "events": dict(self.events),
            "notes": list(self.notes),
        }

    def __str__(self) -> str:
        """A few lines for a terminal."""
        groups = "" if self.groups is None else f", {self.groups} groups"
        lines = [
            f"{self.source} ({self.form}): {self.samples} samples, {len(self.sensors)} sensors"
            f"{groups}",
            "  sees the object: "
            + ", ".join(f"{s} {100 * n / self.samples:.0f}%" for s, n in self.seen.items()),
            f"  {'split':<24}{'samples':>8}" + "".join(f"{c:>10}" for c in self.classes),
        ]
        rows = {"all": self.classes, **self.splits}
        for name, counts in rows.items():
            lines.append(
                f"  {name:<24}{self.sizes.get(name, self.samples):>8}"
                + "".join(f"{counts.get(c, 0):>10}" for c in self.classes)
            )
        lines += [
            f"  {name}: {x.least:g} to {x.most:g}, mean {x.mean:g} {x.unit}".rstrip()
            for name, x in self.values.items()
        ]
        lines += [f"  {leak}" for leak in self.leaks.values()]
        if self.events:
            lines.append("  " + ", ".join(f"{what}: {n}" for what, n in self.events.items()))
        lines += [f"  {note}" for note in self.notes]
        return "\n".join(lines)
