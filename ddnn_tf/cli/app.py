"""`ddnn`: the command line of a workstation."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edge_runtime.answers.rule import AnswerRule
from edge_runtime.bundle.manifest import BUNDLE_FILE, Quantization
from edge_runtime.errors import InputError
from edge_runtime.evaluation.bundle import check_task
from edge_runtime.failures.parsing import survivabilities
from edge_runtime.failures.sampling import Sampling, check_sampling
from edge_runtime.files import new_file
from edge_runtime.process.command import guarded, print_json, renamed_error, version_text
from edge_runtime.topology import Topology

from ..names import Method
from ..training.progress import epoch_bar, progress_bar
from .compress import BudgetOption, CompressOption, PackedOption, StepsOption, chosen
from .data_import import data_import
from .loader import (
    console,
    leaks_of,
    load_data,
    load_model,
    quiet_tensorflow,
    say,
    split_of,
    words,
)
from .options import (
    AnswerOption,
    AugmentOption,
    BatchSizeOption,
    CheckpointOption,
    ConfigurationsOption,
    DataOption,
    EarlyOption,
    EpochsOption,
    EvaluateSeedOption,
    ExitsOption,
    FallbackOption,
    FreezeOption,
    ImportOption,
    JsonOption,
    LearningRateOption,
    MethodOption,
    ModelOption,
    PolicyOption,
    RepeatsOption,
    SectionsOption,
    SeedOption,
    SplitOption,
    StartOption,
    SurvivalOption,
    TopologyOption,
    TrainOutOption,
    TrainSeedsOption,
    TrainSplitOption,
    ValidationOption,
)
from .partition import partition_app
from .place import place_app
from .search import links_app, search_app
from .training import Change, check_unused, variation

# TensorFlow takes seconds to import, so the commands that need it import it themselves.
if TYPE_CHECKING:
    from ..datasets import Batches, Dataset
    from ..model import ResilientModel
    from ..reporting.report import Report


app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
data_app = typer.Typer(help="Look at data, write a split of them to a file, import your own.")
data_app.command("import")(data_import)
app.add_typer(data_app, name="data", no_args_is_help=True)
app.add_typer(links_app, name="links", no_args_is_help=True)
for below in (partition_app, place_app, search_app):  # without a name: theirs stand beside ours
    app.add_typer(below)

#: Spellings that are gone, by command and option; what to write instead.
RENAMED: Mapping[str, Mapping[str, str]] = {
    "ddnn evaluate": {"--samples": "--configurations"},
    "ddnn links search": {"--budget-bytes": "--max-bytes", "--budget-links": "--max-links"},
    "ddnn partition": {"--bytes": "--byte-range"},
    "ddnn place": {
        "--accuracy": "--min-accuracy",
        "--bytes": "--max-bytes",
        "--latency": "--max-latency",
        "--least": "--objective",
    },
}

# Typer carries a Click of its own inside and exports only this leaf of its usage errors.
UsageError: Any = typer.BadParameter.__base__

INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code: 0 done, 1 proved wrong, 2 bad input, 130 stopped."""
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
            # Only Click's error for an unknown option has one.
            option = getattr(error, "option_name", None)
            if option is not None and (new := RENAMED.get(where, {}).get(option)):
                raise renamed_error(option, new, where) from error
            raise InputError(f"{said.rstrip('.')}; see `{where} --help`") from error
        if code == INTERRUPTED:  # what Typer makes of it
            raise KeyboardInterrupt
        return code

    return guarded("ddnn", command)


def _show_version(asked: bool) -> None:
    if asked:
        print(version_text("ddnn"))
        raise typer.Exit


@app.callback()
def program(
    version: Annotated[
        bool,
        typer.Option(
            "--version", is_eager=True, callback=_show_version, help="show the version, and exit"
        ),
    ] = False,
) -> None:
    """Train one network, cut it over machines, survive failures."""


@app.command()
def train(
    context: typer.Context,
    data: DataOption,
    out: TrainOutOption,
    topology: TopologyOption = "poster-residual",
    start: StartOption = None,
    split: TrainSplitOption = None,
    validation: ValidationOption = None,
    method: MethodOption = "dropout",
    sections: SectionsOption = "fc32",
    exits: ExitsOption = None,
    freeze: FreezeOption = None,
    augment: AugmentOption = None,
    survival: SurvivalOption = "all",
    epochs: EpochsOption = 150,
    batch_size: BatchSizeOption = 32,
    repeats: RepeatsOption = 1,
    learning_rate: LearningRateOption = 1e-3,
    seed: SeedOption = 0,
    seeds: TrainSeedsOption = 1,
    checkpoint: CheckpointOption = None,
    imports: ImportOption = None,
    json: JsonOption = False,
) -> None:
    """Train a model; with --seeds, several, and say how far they lie apart."""
    check_unused(context, start, freeze)
    _check_written(out, seeds)
    begun = load_model(start, imports) if start else None
    graph = _topology_to_train(topology, begun, exits, method)
    wanted = survivabilities(survival, graph)
    quiet_tensorflow()
    from ..evaluation import expected_score
    from ..training.checkpoint import clear_checkpoint
    from ..training.recipe import Recipe
    from ..training.training import train as train_model

    varied = variation(augment, graph)
    recipe = Recipe(epochs, batch_size, learning_rate, repeats=repeats, freeze=freeze, **varied)
    change: Change | None = None
    models: list[str] = []
    reports: list[Report] = []
    states: list[Path] = []
    leaks: dict[str, list[str]] = {}
    for number in range(seed, seed + seeds):
        source = load_data(data, graph, seed=number)
        train_split, held_out = _parts(source, split, validation)
        if held_out and number == seed:
            leaks = leaks_of(source, held_out.name, trained=train_split.name)
        target = out if seeds == 1 else out.with_suffix(f".seed{number}.keras")
        state = checkpoint and checkpoint / f"seed{number}"
        if start and number > seed:  # the one before has been trained
            begun = load_model(start)
        if begun and change is None:
            change = Change(begun, held_out or train_split, wanted, recipe)
        with new_file(target) as temporary, progress_bar(console) as bar:
            model = train_model(
                graph,
                train_split,
                method=method,
                survival=wanted,
                sections=sections,
                recipe=recipe,
                start=begun,
                seed=number,
                checkpoint=state,
                keep_checkpoint=True,
                callbacks=[epoch_bar(bar, f"{method} (seed {number})", epochs)],
            )
            model.save(temporary)
        say(f"wrote {target}")
        models.append(str(target))
        states += [state] if state else []
        if measured := held_out or (change and change.data):
            reports.append(expected_score(model, measured, survival=wanted))
    for state in states:  # only now, so that an interrupted call trains no seed twice
        clear_checkpoint(state)
    summary = {"models": models, "validation": _say_validation(reports if held_out else [], wanted)}
    changed = {"start": change.of(reports)} if change else {}
    if json:
        print_json(summary | leaks | changed)


def _check_written(out: Path, seeds: int) -> None:
    if out.suffix != ".keras":
        raise InputError(f"expected --out to end in .keras, got {out}")
    if seeds < 1:
        raise InputError(f"expected --seeds of at least 1, got {seeds}")


def _topology_to_train(
    topology: str, start: ResilientModel | None, exits: str | None, method: Method
) -> Topology:
    """What the options name: a topology with these exits and the links of this method."""
    graph = start.topology if start else Topology.load(topology)
    if exits is not None:
        graph = graph.with_exits(None if exits == "all" else words(exits))
    if method == "baseline":
        graph = graph.primary()  # so that survival of a link left out is refused here
    return graph


def _parts(
    source: Dataset, split: str | None, validation: str | None
) -> tuple[Batches, Batches | None]:
    """What to train on, and what to report on, if anything."""
    train_split = source.split(split, shuffle=True) if split else source.train
    if validation:
        return train_split, source.split(validation)
    # A split chosen by hand may contain the default validation part.
    return train_split, None if split else source.validation


def _say_validation(
    reports: Sequence[Report], wanted: Mapping[str, Any]
) -> dict[str, dict[str, float]]:
    """Say what the models reach on validation data, and return it by survivability."""
    from ..training.spread import spread

    summary = {}
    for name in wanted if reports else ():
        found, score = spread(reports, name), reports[0].score
        summary[name] = {score.key("expected"): found.mean, "half_range": found.half_range}
        more = ""
        if reports[0].is_balanced:
            balanced = spread(reports, name, balanced=True)
            summary[name]["balanced_accuracy"] = balanced.mean
            more = f" ({balanced} balanced)"
        what = "" if score.name == "accuracy" else f", {score.name}"
        say(f"{name:<8} {found} {score.unit} expected on validation{more}{what}")
    return summary


@app.command()
def evaluate(
    model: ModelOption,
    data: DataOption,
    split: SplitOption = None,
    survival: SurvivalOption = "all",
    fallback: FallbackOption = "prior",
    answer: AnswerOption = "output",
    policy: PolicyOption = "maximal",
    early: EarlyOption = False,
    configurations: ConfigurationsOption = None,
    seed: EvaluateSeedOption = 0,
    imports: ImportOption = None,
    json: JsonOption = False,
) -> None:
    """Expected score over all failure configurations."""
    check_sampling(configurations, seed)
    quiet_tensorflow()
    from ..reporting.report import Report

    if (model / BUNDLE_FILE).is_file():
        from edge_runtime.evaluation.bundle import Bundle, evaluate_bundle

        bundle = Bundle(model)
        source = load_data(data, bundle.manifest.topology)
        samples = split_of(source, split)
        report = Report.of(
            evaluate_bundle(
                bundle,
                samples,
                survival,
                fallback,
                rule=bundle.manifest.rule(AnswerRule(answer, policy), early=early),
                sampling=Sampling(configurations=configurations, seed=seed),
            )
        )
    else:
        from ..evaluation import expected_score

        if early:
            raise InputError(
                f"--early: {model} has no thresholds, which a bundle has; export it, and choose "
                "them with `ddnn-edge exits`"
            )
        trained = load_model(model, imports)
        source = load_data(data, trained.topology)
        samples = split_of(source, split)
        check_task(samples, trained.task)
        wanted = survivabilities(survival, trained.topology)
        priority = None
        if answer == "any" and policy == "priority":  # chosen on what is not reported
            priority = expected_score(trained, source.validation, survival=wanted).priority()
        report = expected_score(
            trained,
            samples,
            survival=wanted,
            fallback=fallback,
            answer=AnswerRule(answer, policy, priority),
            configurations=configurations,
            seed=seed,
        )
    leaks = leaks_of(source, samples.name)
    if json:
        print_json(report.to_dict() | leaks)
    else:
        print(report)


@app.command()
def export(
    model: Annotated[Path, typer.Argument(metavar="MODEL.keras", help="a trained model")],
    data: DataOption,
    out: Annotated[Path, typer.Option(metavar="BUNDLE", help="where the bundle is written")],
    split: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="the part of the data to use for calibration; `ddnn data info` lists them",
            show_default="the training part",
        ),
    ] = None,
    validation: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="the part of the data to report on: what the bundle says its answers are worth",
            show_default="the validation part",
        ),
    ] = None,
    quantize: Annotated[
        Quantization, typer.Option(help="numbers in which the artifacts keep their weights")
    ] = "none",
    saved_model: Annotated[
        str,
        typer.Option(
            metavar="NODES",
            help="nodes that also get a TensorFlow SavedModel, with commas",
            show_default="none",
        ),
    ] = "",
    compress: CompressOption = None,
    budget: BudgetOption = None,
    packed: PackedOption = False,
    steps: StepsOption = 500,
    table: Annotated[
        bool, typer.Option(help="also measure what the artifacts cost here, in time and accuracy")
    ] = False,
    imports: ImportOption = None,
    json: JsonOption = False,
) -> None:
    """Cut a trained model into one artifact per node, each checked against the model."""
    trained = load_model(model, imports)
    from export import export_bundle

    compression, budgets = chosen(compress, budget, packed, steps)
    source = load_data(data, trained.topology)
    check_task(source, trained.task)
    calibration = source.split(split) if split else source.train
    held_out = source.split(validation) if validation else source.validation
    leaks = leaks_of(source, held_out.name)
    with _parity_proved(), progress_bar(console) as bar:
        task = bar.add_task("export", total=len(trained.topology.order))
        found = export_bundle(
            trained,
            out,
            calibration,
            held_out,
            quantize=quantize,
            compression=compression,
            budget=budgets,
            saved_models=words(saved_model),
            progress=lambda node: bar.update(task, advance=1, description=f"export {node}"),
        )
    cost = None
    if table:
        from export.costs import costs
        from export.split import KerasRunner

        cost = costs(out, KerasRunner(trained, trained.topology), held_out, profile=True)
    if json:
        print_json(found.to_dict() | ({"costs": cost.to_dict()} if cost else {}) | leaks)
    else:
        print(found)
        if cost:
            print(cost)


@data_app.command("export")
def data_export(
    data: DataOption,
    out: Annotated[Path, typer.Option(metavar="FILE.npz", help="where the samples are written")],
    split: SplitOption = None,
    topology: Annotated[
        str | None,
        typer.Option(
            metavar="TOPOLOGY",
            help="the topology whose sensors the samples are for, a name or a file: some sensors "
            "also read the size of boxes",
            show_default="none",
        ),
    ] = None,
) -> None:
    """Write a split to a .npz, which `ddnn-edge` reads."""
    if out.suffix != ".npz":
        raise InputError(f"expected --out to end in .npz, got {out}")
    quiet_tensorflow()
    graph = None if topology is None else Topology.load(topology)
    samples = split_of(load_data(data, graph), split)
    samples.samples.save_npz(out)
    say(f"wrote {out}: {len(samples.labels)} samples")


@data_app.command("info")
def data_info(data: DataOption, json: JsonOption = False) -> None:
    """Say what was read, merged, dropped or filled, and which splits there are."""
    quiet_tensorflow()
    summary = load_data(data).summary
    if json:
        print_json(summary.as_dict())
    else:
        print(summary)


@app.command()
def demo(
    data: DataOption = "street",
    out: Annotated[
        Path, typer.Option(metavar="FOLDER", help="where the report and the bundle are written")
    ] = Path("demo"),
    epochs: EpochsOption = 40,
    seed: Annotated[
        int,
        typer.Option(min=0, metavar="SEED", help="random seed of data, weights and failures"),
    ] = 0,
    sections: SectionsOption = "fc32",
) -> None:
    """The poster's experiment from end to end: train, evaluate, cut, check, report."""
    quiet_tensorflow()
    from ..demo import run

    with _parity_proved():
        run(data, out, epochs=epochs, seed=seed, sections=sections, console=console)


# -- what the commands share ---------------------------------------------------------------------


@contextmanager
def _parity_proved() -> Iterator[None]:
    """Exit code 1, in one line, where an artifact does not compute what its model computes."""
    from export import ParityError

    try:
        yield
    except ParityError as error:
        say(f"ddnn: no bundle written: {error}")
        raise typer.Exit(1) from error


if __name__ == "__main__":
    sys.exit(main())
