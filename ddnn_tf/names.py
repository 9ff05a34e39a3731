"""What is chosen by name; apart, because the command line must not wait for TensorFlow."""

from typing import Literal

__all__ = ["MergeWeights", "Method", "RatesPer", "SectionName", "StudyName"]

#: `baseline`: primary links only. `residual`: all links. `dropout`: all links, and nodes and links
#: fail in training.
Method = Literal["baseline", "residual", "dropout"]

#: What a section that adds multiplies each link by: `one`; `survival`, how probably the link
#: delivers; `normalised`, the same divided by the sum over the node's links (the poster's choice);
#: `learned`, one number a link, found in training from one on.
MergeWeights = Literal["one", "survival", "normalised", "learned"]

#: The ready-made sets of sections, see `ddnn_tf.sections`.
SectionName = Literal["conv", "fc32"]

#: What shares a rate of failure in a search over rates: everything, a tier, or nothing.
RatesPer = Literal["all", "tier", "node"]

#: The ready-made studies, see `ddnn_tf.study`.
StudyName = Literal["grouping", "merge-weights", "rates", "splits", "survivability", "table"]
