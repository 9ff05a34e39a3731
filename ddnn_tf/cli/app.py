"""`ddnn`: the command line on a workstation."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edge_runtime.answers.fallback import Fallback
from edge_runtime.answers.policies import AnswerMode, Policy
from edge_runtime.answers.rule import AnswerRule
from edge_runtime.bundle.manifest import BUNDLE_FILE, Quantization
from edge_runtime.cli.options import check_sampling
from edge_runtime.errors import InputError
from edge_runtime.evaluation.bundle import check_classes
from edge_runtime.failures.parsing import survivabilities
from edge_runtime.failures.sampling import Sampling
from edge_runtime.files import new_file
from edge_runtime.process.command import guarded, print_json
from edge_runtime.topology import Topology

from ..names import Method, SectionName
from ..training.progress import epoch_bar, progress_bar
from .compress import BudgetOption, CompressOption, PackedOption, StepsOption, chosen
from .options import (
    DataOption,
    JsonOption,
    SplitOption,
    console,
    load_data,
    load_model,
    quiet_tensorflow,
    say,
    split_of,
    wanted_survivabilities,
    words,
)
from .partition import partition_command
from .place import place_command
from .search import links_app, plan, rates, study

# TensorFlow takes seconds to import, so the commands that need it import it themselves.
if TYPE_CHECKING:
    from ..reporting.report import Report


app = typer.Typer(
    help="Train one network, cut it over machines, survive failures.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    add_completion=False,
)
data_app = typer.Typer(help="Look at data, or write a split of them to a file.")
app.add_typer(data_app, name="data", no_args_is_help=True)
app.add_typer(links_app, name="links", no_args_is_help=True)
app.command("partition")(partition_command)
app.command("place")(place_command)
for command in (rates, plan, study):
    app.command()(command)

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
    start: Annotated[
        Path | None, typer.Option(help="go on from this model, with its topology and sections")
    ] = None,
    split: SplitOption = None,
    validation: Annotated[str | None, typer.Option(help="split to report on")] = None,
    method: Method = "dropout",
    sections: SectionName = "fc32",
    exits: Annotated[
        str | None, typer.Option(help="nodes that get a classifier, with commas, or all")
    ] = None,
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
    graph = load_model(start).topology if start else Topology.load(topology)
    if exits is not None:
        if start:
            raise InputError("exits belong to the model to go on from; give --start or --exits")
        graph = graph.with_exits(None if exits == "all" else words(exits))
    if method == "baseline":
        graph = graph.primary()  # so that survival of a link left out is refused here
    wanted = wanted_survivabilities(survival, graph)
    if out.suffix != ".keras":
        raise InputError(f"expected --out to end in .keras, got {out}")
    if seeds < 1:
        raise InputError(f"expected --seeds of at least 1, got {seeds}")
    quiet_tensorflow()
    from ..evaluation import expected_accuracy
    from ..training.checkpoint import clear_checkpoint
    from ..training.recipe import Recipe
    from ..training.spread import spread
    from ..training.training import train as train_model

    recipe = Recipe(
        epochs=epochs, batch_size=batch_size, repeats=repeats, learning_rate=learning_rate
    )
    models: list[str] = []
    reports: list[Report] = []
    states: list[Path] = []
    for number in range(seed, seed + seeds):
        source = load_data(data, graph, seed=number)
        train_split = source.split(split, shuffle=True) if split else source.train
        # A split chosen by hand may contain the default validation part.
        held_out = source.split(validation) if validation else None if split else source.validation
        target = out if seeds == 1 else out.with_suffix(f".seed{number}.keras")
        state = checkpoint and checkpoint / f"seed{number}"
        with new_file(target) as temporary, progress_bar(console) as bar:
            model = train_model(
                graph,
                train_split,
                method=method,
                survival=wanted,
                sections=sections,
                recipe=recipe,
                start=load_model(start) if start else None,
                seed=number,
                checkpoint=state,
                keep_checkpoint=True,
                callbacks=[epoch_bar(bar, f"{method} (seed {number})", epochs)],
            )
            model.save(temporary)
        say(f"wrote {target}")
        models.append(str(target))
        states += [state] if state else []
        if held_out:
            reports.append(expected_accuracy(model, held_out, wanted))
    for state in states:  # only now, so that an interrupted call trains no seed twice
        clear_checkpoint(state)
    summary: dict[str, Any] = {"models": models, "validation": {}}
    for name in wanted if reports else ():
        found, balanced = spread(reports, name), spread(reports, name, balanced=True)
        summary["validation"][name] = {
            "expected_accuracy": found.mean,
            "balanced_accuracy": balanced.mean,
            "half_range": found.half_range,
        }
        say(f"{name:<8} {found} % expected on validation ({balanced} balanced)")
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
    answer: Annotated[
        AnswerMode, typer.Option(help="who answers: the output node, or any with an exit")
    ] = "output",
    policy: Annotated[Policy, typer.Option(help="whose answer is taken of several")] = "maximal",
    early: Annotated[
        bool, typer.Option("--early", help="let nodes answer early, by a bundle's thresholds")
    ] = False,
    sampled: Annotated[
        int | None, typer.Option("--samples", help="failure configurations to draw, not all")
    ] = None,
    seed: Annotated[int, typer.Option(help="of the configurations drawn")] = 0,
    json: JsonOption = False,
) -> None:
    """Expected accuracy over all failure configurations."""
    check_sampling(sampled, seed)
    quiet_tensorflow()
    from ..reporting.report import Report

    if (model / BUNDLE_FILE).is_file():
        from edge_runtime.evaluation.bundle import Bundle, evaluate_bundle

        bundle = Bundle(model)
        samples = split_of(load_data(data, bundle.manifest.topology), split)
        report = Report.of(
            evaluate_bundle(
                bundle,
                samples,
                survival,
                fallback,
                rule=bundle.manifest.rule(AnswerRule(answer, policy), early=early),
                sampling=Sampling(configurations=sampled, seed=seed),
            )
        )
    else:
        from ..evaluation import expected_accuracy

        if early:
            raise InputError(
                f"--early: {model} has no thresholds, which a bundle has; export it, and choose "
                "them with `ddnn-edge exits`"
            )
        trained = load_model(model)
        source = load_data(data, trained.topology)
        samples = split_of(source, split)
        check_classes(samples, trained.class_names)
        wanted = survivabilities(survival, trained.topology)
        priority = None
        if answer == "any" and policy == "priority":  # chosen on what is not reported
            priority = expected_accuracy(trained, source.validation, wanted).priority()
        report = expected_accuracy(
            trained,
            samples,
            wanted,
            fallback=fallback,
            answer=AnswerRule(answer, policy, priority),
            samples=sampled,
            seed=seed,
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
    compress: CompressOption = None,
    budget: BudgetOption = None,
    packed: PackedOption = False,
    steps: StepsOption = 500,
    table: Annotated[bool, typer.Option(help="also say what it costs: measures it here")] = False,
    json: JsonOption = False,
) -> None:
    """Cut a trained model into one artifact per node, each checked against the model."""
    trained = load_model(model)
    from export import export_bundle

    compression, budgets = chosen(compress, budget, packed, steps)
    source = load_data(data, trained.topology)
    check_classes(source, trained.class_names)
    calibration = source.split(split) if split else source.train
    with _parity_proved(), progress_bar(console) as bar:
        task = bar.add_task("export", total=len(trained.topology.order))
        found = export_bundle(
            trained,
            out,
            calibration,
            source.split(validation) if validation else source.validation,
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

        held_out = source.split(validation) if validation else source.validation
        cost = costs(out, KerasRunner(trained, trained.topology), held_out, profile=True)
    if json:
        print_json(found.to_dict() | ({"costs": cost.to_dict()} if cost else {}))
    else:
        print(found)
        if cost:
            print(cost)


@data_app.command("export")
def data_export(
    data: DataOption,
    out: Annotated[Path, typer.Option(help="the .npz to write")],
    split: SplitOption = None,
    topology: Annotated[
        str | None, typer.Option(help="whose sensors it is for: some read the size of boxes, too")
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
    out: Annotated[Path, typer.Option(help="folder for the report and the bundle")] = Path("demo"),
    epochs: int = 40,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    sections: SectionName = "fc32",
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
