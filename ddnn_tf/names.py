"""What is chosen by name; apart, because the command line must not wait for TensorFlow."""

from typing import Literal

#: `baseline`: primary links only. `residual`: all links. `dropout`: all links, and nodes and links
#: fail in training. `multiplexer`: as `dropout`, but a residual link is used only where the
#: primary links that it goes round do not deliver, in training and at inference alike.
Method = Literal["baseline", "residual", "dropout", "multiplexer"]

#: What a section that adds multiplies each link by: `one`; `survival`, how probably the link
#: delivers; `normalized`, the same divided by the sum over the node's links (the poster's choice);
#: `learned`, one number a link, found in training from one on.
MergeWeights = Literal["one", "survival", "normalized", "learned"]

#: The ready-made sets of sections, see `ddnn_tf.sections`.
SectionName = Literal["conv", "fc32"]

#: What shares a rate of failure in a search over rates: everything, a tier, or nothing.
RatesPer = Literal["all", "tier", "node"]

#: What of a model to go on from stays as it is: the batch norm (`bn`), or nothing.
Freeze = Literal["bn", "none"]

#: The ready-made studies, see `ddnn_tf.searches.study`.
StudyName = Literal["grouping", "merge-weights", "rates", "splits", "survivability", "table"]

#: How a section hears residual links: `add`, beside the primary ones; `multiplexer`, only where
#: the primary ones that they go round do not deliver.
Merge = Literal["add", "multiplexer"]
