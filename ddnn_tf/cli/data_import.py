"""`ddnn data import`: a user's arrays, table or pictures as an `.npz`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from edge_runtime.errors import InputError
from edge_runtime.process.command import print_json

from .loader import quiet_tensorflow, say, words
from .options import (
    GroupOption,
    ImportClassesOption,
    ImportOutOption,
    JsonOption,
    LabelOption,
    LabelsOption,
    SensorOption,
    SizeOption,
    SourcesOption,
    UnitsOption,
    ValuesOption,
)

if TYPE_CHECKING:
    from edge_runtime.samples import Samples

    from ..datasets.importing import Wanted


def data_import(
    sources: SourcesOption,
    out: ImportOutOption,
    classes: ImportClassesOption = "",
    labels: LabelsOption = "",
    values: ValuesOption = "",
    units: UnitsOption = "",
    label: LabelOption = None,
    sensor: SensorOption = None,
    group: GroupOption = None,
    size: SizeOption = None,
    json: JsonOption = False,
) -> None:
    """Write arrays, a table or pictures to a .npz, checked as all data is."""
    if out.suffix != ".npz":
        raise InputError(f"expected --out to end in .npz, got {out}")
    quiet_tensorflow()
    from ..datasets import load
    from ..datasets.importing import Wanted

    wanted = Wanted(*(tuple(words(text)) for text in (classes, labels, values, units)))
    samples = _read([str(x) for x in sources], wanted, label, sensor, group, size)
    samples.save_npz(out)
    say(f"wrote {out}: {len(samples)} samples")
    summary = load(out).summary
    if json:
        print_json(summary.as_dict())
    else:
        print(summary)


def _read(
    sources: list[str],
    wanted: Wanted,
    label: str | None,
    sensor: list[str] | None,
    group: str | None,
    size: str | None,
) -> Samples:
    """The samples in whatever the sources are; options that do not apply are refused."""
    from ..datasets.importing import import_arrays, import_pictures, import_table

    first = Path(sources[0])
    table, folder = first.suffix.lower() == ".csv", first.is_dir()
    given = {
        "--label": (label, table),
        "--sensor": (sensor, table),
        "--group": (group, not folder),
        "--size": (size, folder),
    }
    for name, (value, applies) in given.items():
        if value is not None and not applies:
            raise InputError(
                f"{name} does not apply to {first}: --label and --sensor are of a table, --size of "
                "a folder of pictures, --group of all but that"
            )
    if len(sources) > 1 and (table or folder):
        raise InputError(
            f"expected {first} alone, got {len(sources)} sources; import one at a time"
        )
    if folder:
        return import_pictures(first, wanted, _size(size))
    if table:
        sensors = dict(_named("--sensor", text) for text in sensor) if sensor else None
        columns = None if sensors is None else {k: words(v) for k, v in sensors.items()}
        return import_table(first, wanted, label=label, sensors=columns, group=group)
    *arrays, target = sources
    if not arrays or "=" in target:
        raise InputError(
            f"expected the arrays of the sensors and then that of the labels, as x.npy y.npy, got "
            f"{' '.join(sources)}; see `ddnn data import --help`"
        )
    if len(arrays) == 1 and "=" not in arrays[0]:
        files = {first.stem: first}
    else:
        files = _distinct([_named("several sensors", text) for text in arrays])
    return import_arrays(files, Path(target), wanted, None if group is None else Path(group))


def _distinct(pairs: list[tuple[str, str]]) -> dict[str, Path]:
    names = [name for name, _ in pairs]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"sensor {name} has two arrays; give each a name of its own")
    return {name: Path(file) for name, file in pairs}


def _named(what: str, text: str) -> tuple[str, str]:
    name, found, value = text.partition("=")
    if not (name and found and value):
        raise InputError(f"{what}: expected NAME=…, got {text}")
    return name, value


def _size(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    height, _, width = text.lower().partition("x")
    try:
        size = int(height), int(width)
    except ValueError:
        size = 0, 0
    if min(size) < 1:
        raise InputError(f"expected --size HEIGHTxWIDTH in pixels, such as 32x32, got {text}")
    return size
