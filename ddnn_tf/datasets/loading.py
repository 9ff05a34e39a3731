"""All forms of data, read by one function."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from edge_runtime.errors import InputError

from .boxes import Boxes
from .crops import is_crops, read_crops
from .dataset import Dataset
from .mhealth import is_mhealth, read_mhealth
from .npz import is_npz, read_npz
from .raw import is_raw, read_raw
from .street import read_street

_FORMS = (
    "expected 'street' (the generated scene), a folder of crops "
    "(train_dir/CLASS_images/cCAMERA_OBJECT_FRAME.jpg), a folder in the raw form of the EPFL set "
    "(multiclass_ground_truth_images/ and bounding_boxes_EPFL_cross/), a folder of MHEALTH logs "
    "(mHealth_subjectN.log), an .npz file, or a folder of them (GROUP.npz)"
)


def load(
    source: str | os.PathLike[str] = "street",
    *,
    split: str | None = None,
    seed: int = 0,
    batch_size: int = 64,
    size: int | tuple[int, int] | None = None,
    margin: float | Sequence[float] | None = None,
    boxes: Boxes | None = None,
    scene: int = 0,
    cache: str | os.PathLike[str] | None = None,
    fill_missing: bool | None = None,
) -> Dataset:
    """Read data in any accepted form.

    Args:
        source: `"street"` for the generated scene; a folder of crops (`read_crops`); a folder in
            the raw form of the EPFL set (`read_raw`); a folder of MHEALTH logs (`read_mhealth`);
            an `.npz` file, or a folder of them, one for each group (`read_npz`).
        split: The splits that `train`, `validation` and `test` stand for, such as `"time"`; by
            default `train_dir` for crops, `time` for whole pictures, `group` for logs and where
            an `.npz` tells of groups, and `npz` for one that does not.
        seed: Seed of the order of the training samples.
        batch_size: Samples per batch.
        size: Height and width of a view, for whole pictures only; 32 by default.
        margin: Width of a view relative to its box, or several, see `read_raw`; for whole pictures
            only; 1 by default.
        boxes: Whether the size of each view's box is a sensor of its own, `beside` the view or
            `alone`, see `Boxes`; for whole pictures only.
        scene: Which street to generate.
        cache: Where generated streets are kept; see `read_street`.
        fill_missing: Whether crops may be missing; see `read_crops`.

    Raises:
        InputError: The source has none of these forms, is incomplete or damaged, or an option
            does not apply to it.
    """
    try:
        path = Path(source)
        street = str(source) == "street"
        if not (street or path.exists()):
            raise InputError(f"there is no {source}: {_FORMS}")
        views: dict[str, Any] = {"size": size, "margin": margin, "boxes": boxes}
        common: dict[str, Any] = {"split": split, "seed": seed, "batch_size": batch_size}
        given = {name: value for name, value in views.items() if value is not None}
        if street or is_raw(path):
            _check_boxes(boxes)
            if street:
                return read_street(scene=scene, cache=cache, **common, **given)
            return read_raw(path, **common, **given)
        if given:
            raise InputError(
                f"{source} holds views as they are: size, margin and boxes need whole pictures"
            )
        return _read_views(source, common, fill_missing)
    except OSError as error:
        raise InputError(f"cannot read {source}: {error}") from error


def _check_boxes(boxes: Boxes | None) -> None:
    if boxes not in (None, *get_args(Boxes)):
        raise InputError(f"expected boxes as one of {', '.join(get_args(Boxes))}; came {boxes!r}")


def _read_views(
    source: str | os.PathLike[str], common: Mapping[str, Any], fill_missing: bool | None
) -> Dataset:
    """Read data whose views are cut already; `common`: options that every form takes."""
    path = Path(source)
    if is_mhealth(path):
        return read_mhealth(path, **common)
    if is_crops(path):
        return read_crops(path, **common, fill_missing=fill_missing)
    if is_npz(path):
        return read_npz(path, **common)
    raise InputError(f"{source} has none of the accepted forms: {_FORMS}")
