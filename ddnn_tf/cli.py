"""`ddnn`: the front desk on a workstation."""

from __future__ import annotations

import os
import sys
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from edge_runtime.cli import (
    check_classes,
    check_sampling,
    guarded,
    print_json,
    survivabilities,
)
from edge_runtime.errors import InputError
from edge_runtime.files import new_file
from edge_runtime.manifest import BUNDLE_FILE, Quantization
from edge_runtime.quiet import quiet
from edge_runtime.reliability import Fallback
from edge_runtime.topology import Topology

from .names import Method, SectionName
from .place_cli import place_command
from .progress import epoch_bar, progress_bar

# What Keras, zipfile and h5py raise for a damaged file.
_DAMAGED = (ValueError, OSError, KeyError, TypeError, RuntimeError, zipfile.BadZipFile, zlib.error)

# TensorFlow takes seconds to import, so the commands that need it import it themselves.
if TYPE_CHECKING:
    from .datasets import Batches, Dataset
    from .model import ResilientModel
    from .report import Report

__all__ = ["main"]

app = typer.Typer(
    help="Train one network, cut it over machines, survive failures.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    add_completion=False,
)
data_app = typer.Typer(help="Look at data, or write a split of them to a file.")
app.add_typer(data_app, name="data", no_args_is_help=True)
app.command("place")(place_command)

#: People's output goes to stderr, so that stdout is free for `--json`.
console = Console(stderr=True)

# Typer carries a Click of its own inside and exports only this leaf of its usage errors.
UsageError: Any = typer.BadParameter.__base__

INTERRUPTED = 130

DataOption = Annotated[str, typer.Option("--data", help="street, a folder, or a .npz")]
SplitOption = Annotated[
    str | None, typer.Option("--split", help="such as train_dir, time:test; see `ddnn data info`")
]
JsonOption = Annotated[bool, typer.Option("--json", help="print one JSON object on stdout")]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code: 0 done, 2 bad input, 130 interrupted."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

    def command() -> int:
        try:
            code = int(app(args=arguments, prog_name="ddnn", standalone_mode=False) or 0)
        except typer.Abort:  # what Click makes of Ctrl-C
            raise KeyboardInterrupt from None
        except UsageError as error:
            said = error.format_message()
            if "\n" in said:  # the help, where no command was named
                error.show()
                return 2
            where = error.ctx.command_path if error.ctx else "ddnn"
            raise InputError(f"{said.rstrip('.')}; see `{where} --help`") from error
        if code == INTERRUPTED:  # what Typer makes of it
            raise KeyboardInterrupt
        return code

    return guarded("ddnn", command)


@app.command()
def train(
    data: DataOption,
    out: Annotated[Path, typer.Option(help="the .keras file to write")],
    topology: Annotated[str, typer.Option(help="a shipped one by name, or a file")] = (
        "poster-residual"
    ),
    split: SplitOption = None,
    validation: Annotated[str | None, typer.Option(help="split to report on")] = None,
    method: Method = "dropout",
    sections: SectionName = "fc32",
    survival: Annotated[
        str, typer.Option(help="presets, .json or .jsonl files, with commas; or all presets")
    ] = "all",
    epochs: int = 150,
    batch_size: int = 32,
    repeats: Annotated[int, typer.Option(help="failure masks a sample in each batch")] = 1,
    learning_rate: float = 1e-3,
    seed: Annotated[
        int, typer.Option(min=0, help="of weights, order, variations and failures")
    ] = 0,
    seeds: Annotated[int, typer.Option(help="train so many, from --seed on")] = 1,
    checkpoint: Annotated[
        Path | None, typer.Option(help="folder that lets an interrupted training go on")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Train a model; with --seeds, several, and say how far they lie apart."""
    graph = Topology.load(topology)
    if method == "baseline":
        graph = graph.primary()  # so that survival of a link left out is refused here
    wanted = _survivabilities(survival, graph)
    if out.suffix != ".keras":
        raise InputError(f"expected --out to end in .keras, got {out}")
    if seeds < 1:
        raise InputError(f"expected --seeds of at least 1, got {seeds}")
    _quiet_tensorflow()
    from .evaluation import expected_accuracy
    from .training import Recipe, spread
    from .training import train as train_model

    recipe = Recipe(
        epochs=epochs, batch_size=batch_size, repeats=repeats, learning_rate=learning_rate
    )
    models: list[str] = []
    reports: list[Report] = []
    for number in range(seed, seed + seeds):
        source = _load(data, graph, seed=number)
        train_split = source.split(split, shuffle=True) if split else source.train
        # A split chosen by hand may contain the default validation part.
        held_out = source.split(validation) if validation else None if split else source.validation
        target = out if seeds == 1 else out.with_suffix(f".seed{number}.keras")
        with new_file(target) as temporary, progress_bar(console) as bar:
            model = train_model(
                graph,
                train_split,
                method=method,
                survival=wanted,
                sections=sections,
                recipe=recipe,
                seed=number,
                checkpoint=checkpoint and checkpoint / f"seed{number}",
                callbacks=[epoch_bar(bar, f"{method} (seed {number})", epochs)],
            )
            model.save(temporary)
        _say(f"wrote {target}")
        models.append(str(target))
        if held_out:
            reports.append(expected_accuracy(model, held_out, wanted))
    summary: dict[str, Any] = {"models": models, "validation": {}}
    for name in wanted if reports else ():
        found, balanced = spread(reports, name), spread(reports, name, balanced=True)
        summary["validation"][name] = {
            "expected_accuracy": found.mean,
            "balanced_accuracy": balanced.mean,
            "half_range": found.half_range,
        }
        _say(f"{name:<8} {found} % expected on validation ({balanced} balanced)")
    if json:
        print_json(summary)


@app.command()
def evaluate(
    model: Annotated[Path, typer.Argument(help="a .keras file or a bundle")],
    data: DataOption,
    split: SplitOption = None,
    survival: Annotated[
        str | None, typer.Option(help="presets, .json or .jsonl files, with commas")
    ] = None,
    fallback: Fallback = "prior",
    sampled: Annotated[
        int | None, typer.Option("--samples", help="failure configurations to draw, not all")
    ] = None,
    seed: Annotated[int, typer.Option(help="of the configurations drawn")] = 0,
    json: JsonOption = False,
) -> None:
    """Expected accuracy over all failure configurations."""
    check_sampling(sampled, seed)
    _quiet_tensorflow()
    from .report import Report

    if (model / BUNDLE_FILE).is_file():
        from edge_runtime.cli import evaluate_bundle
        from edge_runtime.simulate import Bundle

        bundle = Bundle(model)
        samples = _split(_load(data, bundle.manifest.topology), split)
        report = Report.of(
            evaluate_bundle(bundle, samples, survival, fallback, sampled=sampled, seed=seed)
        )
    else:
        from .evaluation import expected_accuracy

        trained = _load_model(model)
        samples = _split(_load(data, trained.topology), split)
        check_classes(samples, trained.class_names)
        wanted = survivabilities(survival, trained.topology)
        report = expected_accuracy(
            trained, samples, wanted, fallback=fallback, samples=sampled, seed=seed
        )
    if json:
        print_json(report.to_dict())
    else:
        print(report)


@app.command()
def export(
    model: Annotated[Path, typer.Argument(help="a .keras file")],
    data: DataOption,
    out: Annotated[Path, typer.Option(help="the bundle's folder")],
    split: Annotated[str | None, typer.Option(help="for calibration; default training")] = None,
    validation: Annotated[
        str | None, typer.Option(help="for the reliability table; default validation")
    ] = None,
    quantize: Quantization = "none",
    saved_model: Annotated[str, typer.Option(help="nodes that also get one, with commas")] = "",
    json: JsonOption = False,
) -> None:
    """Cut a trained model into one artifact per node, each checked against the model."""
    trained = _load_model(model)
    from export import ParityError, export_bundle

    source = _load(data, trained.topology)
    check_classes(source, trained.class_names)
    calibration = source.split(split) if split else source.train
    try:
        with progress_bar(console) as bar:
            task = bar.add_task("export", total=len(trained.topology.order))
            found = export_bundle(
                trained,
                out,
                calibration,
                source.split(validation) if validation else source.validation,
                quantize=quantize,
                saved_models=[node.strip() for node in saved_model.split(",") if node.strip()],
                progress=lambda node: bar.update(task, advance=1, description=f"export {node}"),
            )
    except ParityError as error:
        _say(f"ddnn: nothing written: {error}")
        raise typer.Exit(1) from error
    if json:
        print_json(found.to_dict())
    else:
        print(found)


@data_app.command("export")
def data_export(
    data: DataOption,
    out: Annotated[Path, typer.Option(help="the .npz to write")],
    split: SplitOption = None,
) -> None:
    """Write a split to a .npz, which `ddnn-edge` reads."""
    if out.suffix != ".npz":
        raise InputError(f"expected --out to end in .npz, got {out}")
    _quiet_tensorflow()
    samples = _split(_load(data), split)
    samples.samples.save_npz(out)
    _say(f"wrote {out}: {len(samples.labels)} samples")


@data_app.command("info")
def data_info(data: DataOption, json: JsonOption = False) -> None:
    """Say what was read, merged, dropped or filled, and which splits there are."""
    _quiet_tensorflow()
    summary = _load(data).summary
    if json:
        print_json(summary.as_dict())
    else:
        print(summary)


@app.command()
def demo(
    data: DataOption = "street",
    out: Annotated[Path, typer.Option(help="folder for the report and the bundle")] = Path("demo"),
    epochs: int = 40,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    sections: SectionName = "fc32",
) -> None:
    """The poster's experiment from end to end: train, evaluate, cut, check, report."""
    _quiet_tensorflow()
    from .demo import run

    run(data, out, epochs=epochs, seed=seed, sections=sections, console=console)


# -- what the commands share ---------------------------------------------------------------------


def _say(text: str) -> None:
    """Tell people something: unlike rich, without breaking lines within a path."""
    print(text, file=sys.stderr)


def _survivabilities(text: str, topology: Topology) -> dict[str, Any]:
    return survivabilities(None if text == "all" else text, topology)


def _load(data: str, topology: Topology | None = None, *, seed: int = 0) -> Dataset:
    """Read data and check them against the topology's sensors."""
    from . import datasets

    with console.status(f"reading {data}"):
        source = datasets.load(data, seed=seed)
    if topology is not None:
        source.samples.check({s.name: (s.shape, s.dtype) for s in topology.sensors})
    return source


def _split(source: Dataset, split: str | None) -> Batches:
    return source.split(split) if split else source.test


def _load_model(path: Path) -> ResilientModel:
    if not path.is_file():
        raise InputError(
            f"{path}: expected a .keras file or a bundle (a folder with {BUNDLE_FILE})"
        )
    _quiet_tensorflow()
    import keras

    from .model import ResilientModel  # registers what a saved model is made of

    try:
        model = keras.models.load_model(path)
    except _DAMAGED as error:
        raise InputError(
            f"{path}: not a Keras model that this version reads ({error}); train it again"
        ) from error
    if not isinstance(model, ResilientModel):
        raise InputError(
            f"{path}: a {type(model).__name__} without a topology; "
            "expected a model from `ddnn train` or ddnn_tf.build"
        )
    return model


def _quiet_tensorflow() -> None:
    """Import TensorFlow without its page of notices; a failed import shows them."""
    if "tensorflow" in sys.modules:
        return
    with quiet():
        import tensorflow as tf

        tf.config.list_logical_devices()  # looks for GPUs, and says so


if __name__ == "__main__":
    sys.exit(main())
