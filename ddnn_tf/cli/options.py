"""The options of `ddnn`, each said once: one word means the same in every command."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edge_runtime.answers.policies import AnswerMode, Policy
from edge_runtime.task import Fallback

from ..names import Freeze, Merge, Method, SectionName

DataOption = Annotated[
    str,
    typer.Option(
        "--data", metavar="DATA", help="the samples: street (drawn here), a folder, or an .npz"
    ),
]
SplitOption = Annotated[
    str | None,
    typer.Option(
        "--split",
        metavar="NAME",
        help="the part of the data to use, such as train_dir or time:test; `ddnn data info` lists "
        "them",
        show_default="the test part",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="print one JSON object on stdout")]
FallbackOption = Annotated[
    Fallback,
    typer.Option(
        "--fallback",
        help="what answers where nothing arrives, by training data: the likeliest answer (prior); "
        "of classes also one drawn by their frequencies (prior-random) or evenly (uniform), of "
        "values also their mean or median",
    ),
]
SectionsOption = Annotated[
    SectionName,
    typer.Option(
        "--sections", help="what each node computes: convolutions, or fully connected layers"
    ),
]
EpochsOption = Annotated[
    int, typer.Option("--epochs", metavar="COUNT", help="how often training goes through the data")
]
BatchSizeOption = Annotated[
    int, typer.Option("--batch-size", metavar="COUNT", help="samples in a training step")
]
LearningRateOption = Annotated[
    float, typer.Option("--learning-rate", metavar="NUMBER", help="step size of the optimizer")
]

TopologyOption = Annotated[
    str,
    typer.Option(
        "--topology", metavar="TOPOLOGY", help="a shipped topology's name, or a topology file"
    ),
]
SurvivalOption = Annotated[
    str,
    typer.Option(
        "--survival",
        metavar="NAMES",
        help="how probably nodes, sensors and links work: presets of the topology, .json files or "
        "recorded .jsonl traces, with commas; or all presets",
    ),
]
#: Of one alone.
OneSurvivalOption = Annotated[
    str,
    typer.Option(
        "--survival",
        metavar="NAME",
        help="how probably nodes, sensors and links work: one preset of the topology, or a .json "
        "file of probabilities",
    ),
]
SeedsOption = Annotated[
    int,
    typer.Option(
        "--seeds", min=1, metavar="COUNT", help="how many trainings each reported result is of"
    ),
]
OutOption = Annotated[
    Path,
    typer.Option(
        "--out",
        metavar="FOLDER",
        help="where trainings and results are written; a search started again there goes on",
    ),
]

ImportOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--import",
        metavar="FILE.py",
        help="a Python file of your own that registers layers of the model; may be repeated",
        show_default="none",
    ),
]

# -- `ddnn train` ----------------------------------------------------------------------------------

TrainOutOption = Annotated[
    Path, typer.Option(metavar="MODEL.keras", help="where the model is written")
]
StartOption = Annotated[
    Path | None,
    typer.Option(
        metavar="MODEL.keras",
        help="go on from this model, with its topology and sections",
        show_default="none: a new model",
    ),
]
TrainSplitOption = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="the part of the data to use, such as train_dir or time:train; `ddnn data info` "
        "lists them",
        show_default="the training part",
    ),
]
ValidationOption = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="the part of the data to report on",
        show_default="the validation part; none with --split",
    ),
]
MethodOption = Annotated[
    Method,
    typer.Option(
        help="primary links only; all links; all links while nodes and links fail in training; "
        "the same, and residual links count only where the primary ones fail"
    ),
]
FreezeOption = Annotated[
    Freeze | None,
    typer.Option(
        help="what stays as it is of the model to go on from: its batch norm, or nothing",
        show_default="bn, with --start",
    ),
]
AugmentOption = Annotated[
    str | None,
    typer.Option(
        metavar="NAMES",
        help="variations of pictures of bytes in training: none, or of shift, brightness, mirror "
        "and zoom some with commas, each but mirror with its most, as shift:2,brightness:0.1",
        show_default="shift, brightness, and with --sections conv mirror; with --start none",
    ),
]
ExitsOption = Annotated[
    str | None,
    typer.Option(
        metavar="NODES",
        help="nodes that get a classifier of their own, with commas, or all",
        show_default="those of the topology",
    ),
]
RepeatsOption = Annotated[
    int,
    typer.Option(metavar="COUNT", help="failure configurations drawn for a sample at a time"),
]
SeedOption = Annotated[
    int,
    typer.Option(
        min=0,
        metavar="SEED",
        help="random seed of weights, order, variations and failures",
    ),
]
TrainSeedsOption = Annotated[
    int, typer.Option(metavar="COUNT", help="how many models to train, from --seed on")
]
CheckpointOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FOLDER",
        help="where the state of the training is kept, so that the same call goes on after an "
        "interruption",
        show_default="none",
    ),
]

# -- `ddnn evaluate` -------------------------------------------------------------------------------

ModelOption = Annotated[
    Path, typer.Argument(metavar="MODEL.keras|BUNDLE", help="a trained model, or a bundle")
]
AnswerOption = Annotated[
    AnswerMode, typer.Option(help="who answers: the output node, or any node that has an exit")
]
PolicyOption = Annotated[
    Policy,
    typer.Option(
        help="which answer is taken where several nodes answer: the surest of those that received "
        "the most (maximal), the surest of all (confident), that of the node nearest to the "
        "output (highest), or the first in an order chosen on validation data (priority)"
    ),
]
EarlyOption = Annotated[
    bool,
    typer.Option(
        "--early",
        help="let a node that is sure enough answer early, by the thresholds that `ddnn-edge "
        "exits` chose for the bundle",
    ),
]
ConfigurationsOption = Annotated[
    int | None,
    typer.Option(
        metavar="COUNT",
        help="draw this many failure configurations at random",
        show_default="all of them, exactly",
    ),
]
EvaluateSeedOption = Annotated[
    int,
    typer.Option(metavar="SEED", help="random seed of the failure configurations drawn"),
]

# -- `ddnn partition` ------------------------------------------------------------------------------

PartitionModelOption = Annotated[
    Path,
    typer.Argument(
        metavar="MODEL",
        help="any functional Keras model: .keras, .h5, or a SavedModel folder of Keras 2",
    ),
]
PartitionOutOption = Annotated[
    Path, typer.Option(metavar="CUT.keras", help="where the cut model is written")
]
ShapeOption = Annotated[
    list[str] | None,
    typer.Option(
        "--shape",
        metavar="NAME=SIZES",
        help="fix the sizes of an input that may have any, such as x=128,3, without those of the "
        "batch; NAME= may be left out for the only input; may be repeated",
        show_default="those of the model",
    ),
]
NodesOption = Annotated[
    str,
    typer.Option(
        metavar="NODES",
        help="a chain of nodes, lowest first, each with its probability to work where that is "
        "not 1: edge:0.9,cloud; three of them are for the survivabilities high, medium and low: "
        "edge:0.99/0.9/0.8,cloud",
        show_default="none; give a --topology",
    ),
]
PartitionTopologyOption = Annotated[
    str,
    typer.Option(
        metavar="TOPOLOGY",
        help="instead of --nodes: a topology file, or a shipped one's name",
        show_default="none",
    ),
]
AtOption = Annotated[
    str,
    typer.Option(
        metavar="LAYERS",
        help="the layers that end the sections, as A,B+C in the order of the nodes, or as fog=B",
        show_default="where the least bytes pass",
    ),
]
ResidualOption = Annotated[
    str,
    typer.Option(
        metavar="LINKS",
        help="residual links to add, as edge-cloud,fog1-fog3",
        show_default="none",
    ),
]
MergeOption = Annotated[
    Merge,
    typer.Option(
        help="how a section takes residual links: added to the primary ones, or only where "
        "those do not deliver"
    ),
]
ByteRangeOption = Annotated[
    str,
    typer.Option(
        metavar="LOW:HIGH",
        help="sensors give bytes, and 0 and 255 stand for these numbers of the model, as -1:1",
        show_default="sensors give the model's own numbers",
    ),
]
BalanceOption = Annotated[
    float | None,
    typer.Option(
        min=0,
        max=1,
        metavar="SHARE",
        help="least compute of a section, as a share of what each would have in an equal division",
        show_default="no least",
    ),
]
ClassesOption = Annotated[
    str,
    typer.Option(
        metavar="NAMES",
        help="names of the classes, labels or values, with commas, in the order of the model's "
        "numbers; of several outputs as kinds=car+bus,count=objects",
        show_default="those of --data, or numbers",
    ),
]
TaskOption = Annotated[
    str,
    typer.Option(
        metavar="TASK",
        help="what an answer means, where the model does not tell: classification, multi-label or "
        "regression; of several outputs as kinds=multi-label,count=regression",
        show_default="told from the model, its loss, or --data",
    ),
]
HeadOption = Annotated[
    str,
    typer.Option(
        metavar="HEAD",
        help="what the model's numbers are, where it does not tell: probabilities, logits (a "
        "softmax or sigmoid is put over them) or values; of several outputs as kinds=logits",
        show_default="told from the model or its loss",
    ),
]
PartitionDataOption = Annotated[
    str | None,
    typer.Option(
        "--data",
        metavar="DATA",
        help="samples of the model's inputs, of which it takes the classes, how frequent each is "
        "in the training part, and some to compare on",
        show_default="none",
    ),
]
PriorOption = Annotated[
    str,
    typer.Option(
        metavar="NUMBERS",
        help="how frequent each class is in training, with commas",
        show_default="that of --data, or all alike",
    ),
]

# -- `ddnn data import` ----------------------------------------------------------------------------

SourcesOption = Annotated[
    list[Path],
    typer.Argument(
        metavar="SOURCE",
        help="the arrays of the sensors and of the labels: x.npy y.npy, or cam0=a.npy "
        "cam1=b.npy y.npy; or a table FILE.csv; or a folder of class folders of pictures",
    ),
]
ImportOutOption = Annotated[
    Path, typer.Option(metavar="FILE.npz", help="where the samples are written")
]
ImportClassesOption = Annotated[
    str,
    typer.Option(
        metavar="NAMES",
        help="one class a sample: names of the classes, with commas, in the order of their numbers",
        show_default="numbers, or the names in the data",
    ),
]
LabelsOption = Annotated[
    str,
    typer.Option(
        metavar="NAMES",
        help="several labels may hold: their names, with commas; columns of 0 and 1",
        show_default="none",
    ),
]
ValuesOption = Annotated[
    str,
    typer.Option(
        metavar="NAMES",
        help="numbers to predict: their names, with commas; columns of numbers",
        show_default="none",
    ),
]
UnitsOption = Annotated[
    str,
    typer.Option(
        metavar="NAMES", help="unit of each of --values, with commas", show_default="none"
    ),
]
LabelOption = Annotated[
    str | None,
    typer.Option(metavar="COLUMN", help="of a table: the column of the class", show_default="none"),
]
SensorOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME=COLUMNS",
        help="of a table: a sensor, and its columns with commas, or a pattern such as arm_*; "
        "may be repeated",
        show_default="features, of all other columns",
    ),
]
GroupOption = Annotated[
    str | None,
    typer.Option(
        metavar="FILE|COLUMN",
        help="whom, which day or which site each sample is of: a .npy, a text with a line a "
        "sample, or a column of the table",
        show_default="unknown",
    ),
]
SizeOption = Annotated[
    str | None,
    typer.Option(
        metavar="HEIGHTxWIDTH",
        help="of pictures: scale all to this size",
        show_default="as they are",
    ),
]
