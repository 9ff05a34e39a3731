"""The commands of `ddnn` that search, plan and study."""

from __future__ import annotations

import json as json_format
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edge_runtime.errors import InputError
from edge_runtime.evaluation.bundle import check_task
from edge_runtime.failures.parsing import survivabilities
from edge_runtime.files import new_file
from edge_runtime.process.command import print_json
from edge_runtime.topology import Topology

from ..names import RatesPer, SectionName, StudyName
from ..training.progress import progress_bar, search_bar
from .loader import console, leaks_of, load_data, load_model, quiet_tensorflow, say, split_of
from .options import (
    BatchSizeOption,
    DataOption,
    EpochsOption,
    FallbackOption,
    ImportOption,
    JsonOption,
    LearningRateOption,
    OneSurvivalOption,
    OutOption,
    SectionsOption,
    SeedsOption,
    SplitOption,
    SurvivalOption,
    TopologyOption,
)

if TYPE_CHECKING:
    from ..datasets import Dataset
    from ..searches.experiments import Experiment, ExperimentStore


links_app = typer.Typer(help="Which links matter, of those a model has or could have.")
#: Commands that stand beside `links`.
search_app = typer.Typer()


@links_app.command()
def importance(
    model: Annotated[Path, typer.Argument(metavar="MODEL.keras", help="a trained model")],
    data: DataOption,
    split: SplitOption = None,
    survival: SurvivalOption = "all",
    fallback: FallbackOption = "prior",
    imports: ImportOption = None,
    json: JsonOption = False,
) -> None:
    """What each link of a trained model is worth, exactly, in expected accuracy."""
    trained = load_model(model, imports)
    from ..evaluation import expected_accuracy
    from ..searches.experiments import link_bytes

    source = load_data(data, trained.topology)
    samples = split_of(source, split)
    check_task(samples, trained.task)
    wanted = survivabilities(survival, trained.topology)
    report = expected_accuracy(trained, samples, survival=wanted, fallback=fallback)
    found = {name: report.importance(name) for name in wanted}
    sizes = link_bytes(trained)
    leaks = leaks_of(source, samples.name)
    if json:
        rows = [
            {
                "link": x.name,
                "kind": x.kind,
                "bytes": sizes[x.name],
                "importance": {name: found[name][x.name] for name in wanted},
            }
            for x in trained.topology.links
        ]
        print_json({"split": samples.name, "fallback": fallback, "links": rows} | leaks)
        return
    print(f"% of expected accuracy lost without it, {samples.name}, fallback {fallback}")
    print(f"{'link':<20} {'kind':<9} {'bytes':>6}" + "".join(f"  {n:>8}" for n in wanted))
    worst = {x.name: max(f[x.name] for f in found.values()) for x in trained.topology.links}
    for x in sorted(trained.topology.links, key=lambda x: -worst[x.name]):
        cells = "".join(f"  {100 * found[name][x.name]:8.2f}" for name in wanted)
        print(f"{x.name:<20} {x.kind:<9} {sizes[x.name]:>6}{cells}")


@links_app.command("search")
def search(
    data: DataOption,
    topology: TopologyOption = "poster-residual",
    out: OutOption = Path("build/links"),
    survival: SurvivalOption = "all",
    max_links: Annotated[
        int | None,
        typer.Option(
            min=0, metavar="COUNT", help="most links beside the primary ones", show_default="any"
        ),
    ] = None,
    max_bytes: Annotated[
        float | None,
        typer.Option(
            min=0,
            metavar="COUNT",
            help="most bytes of all links together an inference",
            show_default="any",
        ),
    ] = None,
    beam: Annotated[
        int,
        typer.Option(
            min=1, metavar="COUNT", help="how many sets of links of each size are followed up"
        ),
    ] = 4,
    retrain: Annotated[
        bool, typer.Option(help="train the recommended sets of links from the beginning")
    ] = True,
    sections: SectionsOption = "fc32",
    epochs: EpochsOption = 150,
    batch_size: BatchSizeOption = 32,
    learning_rate: LearningRateOption = 1e-3,
    seeds: SeedsOption = 3,
    json: JsonOption = False,
) -> None:
    """Search the links that could exist for the best accuracy at each number of bytes."""
    graph = Topology.load(topology)
    wanted = survivabilities(survival, graph)
    source = _data(data, graph)
    from ..searches.experiments import Final
    from ..searches.link_search import search_links

    leaks = leaks_of(source, source.validation.name, source.test.name)
    with _runs(out, source) as (runs, progress):
        found = search_links(
            runs,
            _template(source, graph, wanted, sections, epochs, batch_size, learning_rate),
            final=Final(_final(source), range(seeds)),
            budget=float("inf") if max_bytes is None else max_bytes,
            most=max_links,
            beam=beam,
            retrain=retrain,
            progress=progress,
        )
    for file in found.save_topologies(out / "topologies"):
        say(f"wrote {file}")
    if found.retrained:
        across = "bytes of all links an inference"
        beside = {"limits": found.limits(), "apart": found.apart()}
        _write_lines(out / "links.png", found.curve(), across, **beside)
    _tell(found, out / "links.json", json, leaks)


@search_app.command()
def rates(
    data: DataOption,
    topology: TopologyOption = "poster-residual",
    out: OutOption = Path("build/rates"),
    survival: OneSurvivalOption = "low",
    per: Annotated[RatesPer, typer.Option(help="what gets a rate of its own")] = "tier",
    trials: Annotated[
        int,
        typer.Option(
            min=1, metavar="COUNT", help="how many rates are tried, by all workers together"
        ),
    ] = 30,
    storage: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|URL",
            help="where workers share the search: a file, or a URL such as postgresql://…",
            show_default="rates.journal in --out",
        ),
    ] = None,
    trial_seeds: Annotated[
        int, typer.Option(min=1, metavar="COUNT", help="how many trainings each trial is of")
    ] = 1,
    sections: SectionsOption = "fc32",
    epochs: EpochsOption = 150,
    batch_size: BatchSizeOption = 32,
    learning_rate: LearningRateOption = 1e-3,
    seed: Annotated[int, typer.Option(min=0, metavar="SEED", help="random seed of the search")] = 0,
    seeds: Annotated[
        int,
        typer.Option(
            min=0,
            metavar="COUNT",
            help="how many trainings each reported result is of; 0 for a worker that only searches",
        ),
    ] = 3,
    json: JsonOption = False,
) -> None:
    """Search how often nodes should fail in training, for the best accuracy at the true rates.

    Started again with the same --storage it goes on; started twice, both work on one search.
    """
    graph = Topology.load(topology)
    wanted = survivabilities(survival, graph)
    source = _data(data, graph)
    from ..searches.experiments import Final
    from ..searches.rates import search_rates

    leaks = leaks_of(source, source.validation.name, source.test.name)
    with _runs(out, source) as (runs, progress):
        found = search_rates(
            runs,
            _template(source, graph, wanted, sections, epochs, batch_size, learning_rate, seed),
            per=per,
            trials=trials,
            storage=storage or out / "rates.journal",
            seeds=range(trial_seeds),
            final=Final(_final(source), range(seeds)),
            progress=progress,
        )
    _tell(found, out / "rates.json", json, leaks)


@search_app.command()
def plan(
    goal: Annotated[
        float,
        typer.Option(metavar="SHARE", help="expected accuracy to reach, such as 0.95"),
    ],
    survival: OneSurvivalOption,
    data: DataOption = "street",
    topology: TopologyOption = "poster-residual",
    model: Annotated[
        Path | None,
        typer.Option(
            metavar="MODEL.keras",
            help="a trained model: the plan allows for how far it stays below its upper bound",
            show_default="none: plan as if a model reached the upper bound",
        ),
    ] = None,
    split: SplitOption = None,
    sections: SectionsOption = "fc32",
    imports: ImportOption = None,
    json: JsonOption = False,
) -> None:
    """What it takes to reach an accuracy: links to add, machines to harden or to double."""
    trained = load_model(model, imports) if model else None
    graph = trained.topology if trained else Topology.load(topology)
    wanted = survivabilities(survival, graph)
    if len(wanted) != 1:
        raise InputError(f"expected one --survival to plan for, got {', '.join(wanted)}")
    [(name, value)] = wanted.items()
    source = _data(data, graph)
    from ..evaluation import expected_accuracy
    from ..model import build
    from ..searches.experiments import message_bytes
    from ..searches.plan import Sightings, make_plan

    samples = split_of(source, split)
    measured = None
    leaks = {}
    if trained:
        leaks = leaks_of(source, samples.name)
        check_task(samples, trained.task)
        measured = expected_accuracy(trained, samples, survival=wanted).expected_accuracy(name)
    sizes = message_bytes(trained or build(graph, sections, classes=source.class_names))
    columns = [source.sensors.index(s.name) for s in graph.sensors]
    found = make_plan(
        graph,
        Sightings(samples.visible[:, columns], samples.labels, samples.name),
        value,
        goal,
        sizes=sizes,
        name=name,
        measured=measured,
    )
    if json:
        print_json(found.to_dict() | leaks)
    else:
        print(found)


@search_app.command()
def study(
    name: Annotated[StudyName, typer.Argument(help="the question")],
    data: DataOption,
    topology: TopologyOption = "poster-residual",
    out: OutOption = Path("build/studies"),
    sections: SectionsOption = "fc32",
    epochs: EpochsOption = 150,
    batch_size: BatchSizeOption = 32,
    learning_rate: LearningRateOption = 1e-3,
    seeds: SeedsOption = 3,
    json: JsonOption = False,
) -> None:
    """A table that answers one question; interrupted and started again, it goes on."""
    graph = Topology.load(topology)
    wanted = survivabilities("all", graph)
    source = _data(data, graph)
    from ..searches.study import run_study

    leaks = leaks_of(source, source.validation.name, source.test.name)
    with _runs(out, source) as (runs, progress):
        found = run_study(
            name,
            runs,
            _template(source, graph, wanted, sections, epochs, batch_size, learning_rate),
            seeds=range(seeds),
            final=_final(source),
            progress=progress,
        )
    ticks, limits = (None, None) if found.numbered else (found.ticks(), found.limits())
    across = "times the true failure rates" if found.numbered else ""
    _write_lines(out / f"{name}.png", found.curve(), across, ticks=ticks, limits=limits)
    _tell(found, out / f"{name}.json", json, leaks)
    file = out / f"{name}.md"
    with new_file(file) as temporary:
        temporary.write_text(f"{found}\n", encoding="utf-8")
    say(f"wrote {file}")


# -- what these commands share ---------------------------------------------------------------------


def _data(data: str, graph: Topology) -> Dataset:
    quiet_tensorflow()
    source = load_data(data, graph)
    _ = source.class_names  # refuses labels of another kind, which bounds do not know
    return source


def _template(
    source: Dataset,
    graph: Topology,
    wanted: dict[str, Any],
    sections: SectionName,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    seed: int = 0,
) -> Experiment:
    """Train on the training part, choose on the validation part, report on the test part."""
    from ..searches.experiments import Experiment
    from ..training.recipe import Recipe

    return Experiment(
        topology=graph,
        train=source.train.name,
        report=(source.validation.name, source.test.name),
        survival=wanted,
        sections=sections,
        recipe=Recipe(epochs=epochs, batch_size=batch_size, learning_rate=learning_rate),
        seed=seed,
    )


def _final(source: Dataset) -> str:
    """What the last models train on: where a folder is split in two to choose, all of it."""
    return source.family if source.family.endswith("_dir") else source.train.name


@contextmanager
def _runs(
    out: Path, source: Dataset
) -> Iterator[tuple[ExperimentStore, Callable[[str, int, int], None]]]:
    """A folder of runs, and a bar that shows how far the search and each training are."""
    from ..searches.experiments import ExperimentStore

    with progress_bar(console) as bar:
        show = search_bar(bar)

        def watch(run: Experiment) -> Sequence[Any]:
            import keras

            epochs = run.recipe.epochs
            return [
                keras.callbacks.LambdaCallback(
                    on_epoch_end=lambda epoch, logs: show("epochs", epoch + 1, epochs)
                )
            ]

        yield ExperimentStore(out, source, callbacks=watch), show


def _tell(found: Any, file: Path, json: bool, leaks: dict[str, list[str]]) -> None:
    """Keep what was found, and say it."""
    record = found.to_dict() | leaks
    with new_file(file) as temporary:
        temporary.write_text(json_format.dumps(record, indent=1) + "\n", encoding="utf-8")
    if json:
        print_json(record)
    else:
        print(found)
    say(f"wrote {file}")


def _write_lines(path: Path, series: Any, across: str, **options: Any) -> None:
    from ..reporting import figures

    with new_file(path) as temporary:
        temporary.write_bytes(figures.render(figures.lines(series, across=across, **options)))
    say(f"wrote {path}")
