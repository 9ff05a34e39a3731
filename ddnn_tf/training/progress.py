"""Progress bars for work that takes a while."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)


def progress_bar(console: Console) -> Progress:
    """A bar with a description, a count and the time that remains; use it in a `with`.

    On a terminal only: elsewhere it would stand, half-way, between what commands say.
    """
    return Progress(
        TextColumn("{task.description:<24}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
    )


def epoch_bar(bar: Progress, description: str, epochs: int) -> Any:
    """A Keras callback that moves `bar` epoch by epoch, also where a training goes on."""
    import keras

    task = bar.add_task(description, total=epochs)
    return keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: bar.update(task, completed=epoch + 1)
    )


def search_bar(bar: Progress) -> Callable[[str, int, int], None]:
    """A function that shows how far each part of a search is: what, how much done, of how much."""
    tasks: dict[str, TaskID] = {}

    def show(what: str, done: int, total: int) -> None:
        if what not in tasks:
            tasks[what] = bar.add_task(what, total=total)
        bar.update(tasks[what], completed=done, total=total)

    return show
