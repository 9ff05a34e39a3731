"""Labeled samples of cameras and other sensors: readers, splits, and a generated street."""

from .batches import Batches
from .boxes import with_boxes
from .crops import read_crops
from .dataset import Dataset
from .loading import load
from .mhealth import read_mhealth
from .npz import read_npz
from .raw import read_raw
from .street import read_street, write_street
from .summary import Summary

__all__ = [
    "Batches",
    "Dataset",
    "Summary",
    "load",
    "read_crops",
    "read_mhealth",
    "read_npz",
    "read_raw",
    "read_street",
    "with_boxes",
    "write_street",
]
