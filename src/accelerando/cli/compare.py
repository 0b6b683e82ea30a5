"""``accelerando compare``: strategies × rates × seeds on a task, to a table and a report."""

import json
import signal
import sys
import threading
from pathlib import Path
from typing import Any

import click

from accelerando.errors import AccelerandoError

FAILED, INTERRUPTED = 1, 130


@click.command()
@click.argument("task", required=False)
@click.option(
    "-s", "--strategy", "strategies", multiple=True, help="adam+cosine, or 'timm.optim:Lamb(eps=1e-6)'."
)
@click.option(
    "--lrs", "rates", metavar="GRID", help="1e-4,1e-3 or 1e-5..1e-1 (decades) or 1e-4..1e-1/7 (points)."
)
@click.option("--seeds", "fresh_seeds", type=int, help="Fresh seeds, which are reported.  [default: 10]")
@click.option("--tune-seeds", type=int, help="Seeds that choose the rate.  [default: 3]")
@click.option("--steps", type=int, help="Budget of a trial in updates.  [default: the task's]")
@click.option("--evals", type=int, help="Evaluations over the budget.  [default: 20]")
@click.option("--device", help="auto, cpu, cuda or mps.  [default: auto]")
@click.option("--baseline", metavar="STRATEGY", help="Whom the others are compared with.  [default: adam]")
@click.option(
    "--out", metavar="DIR", help="Folder of the records and the report.  [default: ./accelerando-TASK]"
)
@click.option(
    "--executor", type=click.Choice(["local", "ray"]), help="What runs the trials.  [default: local]"
)
@click.option("--workers", type=int, help="Trials at a time.  [default: one a core, or two an accelerator]")
@click.option(
    "--config", type=click.Path(dir_okay=False, path_type=Path), help="A TOML file; options win over it."
)
@click.option("--retry-errors", is_flag=True, help="Run the trials again that ended in an error.")
@click.option("--json", "as_json", is_flag=True, help="Print the results as JSON instead of the table.")
@click.option(
    "--lang", type=click.Choice(["en", "zh"]), default="en", show_default=True, help="Of the report."
)
@click.option("--list", "listing", is_flag=True, help="List the bundled tasks and leave.")
def command(
    config: Path | None, retry_errors: bool, as_json: bool, lang: Any, listing: bool, **settings: Any
) -> None:
    """Compare optimizers and schedules over learning rates and seeds on TASK.

    TASK is a bundled one (--list) or your own, FILE.py:FUNCTION; without one it is digits. The same command
    again continues where it was stopped and repeats nothing.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        if listing:
            _list()
            return
        _compare(
            config, {k: v for k, v in settings.items() if v not in (None, ())}, retry_errors, as_json, lang
        )
    except AccelerandoError as error:
        raise click.ClickException(str(error)) from error


def _compare(config: Path | None, settings: dict[str, Any], retry: bool, as_json: bool, lang: Any) -> None:
    from accelerando.compare import executors
    from accelerando.compare import spec as specs

    if "rates" in settings:
        settings["rates"] = specs.grid(settings["rates"])
    spec = specs.made({**(specs.from_toml(config) if config else {}), **settings})
    workers = executors.early(spec)
    try:
        experiment, reference = executors.planned(spec, workers)
        for strategy in experiment.strategies:
            if strategy["not_run"]:
                click.echo(f"{strategy['name']}: not run: {strategy['not_run']}", err=True)
        _drive(spec, experiment, reference, workers, retry, as_json, lang)
    finally:
        if workers is not None:
            workers.close()


def _drive(
    spec: Any, experiment: Any, reference: str, workers: Any, retry: bool, as_json: bool, lang: Any
) -> None:
    from accelerando.cli.progress import Live
    from accelerando.compare import report
    from accelerando.compare.run import Driver
    from accelerando.compare.store import Store

    folder = spec.folder
    with Store(folder) as store:
        _notify(store, experiment.task)
        with Live() as live:
            driver = Driver(experiment, reference, store, live)
            if retry:
                store.forget(o.trial for o in driver.recorded()[1] if o.status == "error")
                driver = Driver(experiment, reference, store, live)
            store.write_experiment(driver.recorded()[0])
            threading.Thread(target=report.warm, daemon=True).start()
            interrupted = _run(driver, spec, workers)
        experiment, outcomes = driver.recorded()
        store.write_experiment(experiment)
        progress = driver.progress
        if interrupted:
            click.echo(
                f"\nStopped: {progress.done} of {progress.total} trials are recorded in {folder}; the same "
                f"command continues, and accelerando report {folder} shows what there is.",
                err=True,
            )
            sys.exit(INTERRUPTED)
        driver.check()
        show(experiment, outcomes, folder, as_json, lang)
        click.echo(
            f"{progress.done} trials ({progress.resumed} of them from before) in {progress.seconds:.0f} s",
            err=True,
        )


def _notify(store: Any, task: Any) -> None:
    for notice in store.notices:
        click.echo(notice, err=True)
    stale = store.stale(task["name"], task["hash"])
    if stale:
        click.echo(f"{task['name']} has changed: {stale} trials of before are kept and not used", err=True)


def _run(driver: Any, spec: Any, workers: Any) -> bool:
    """Run what is missing; returns whether it was interrupted."""
    from accelerando.compare.executors import make

    if not driver.missing():
        return False
    executor = make(spec, driver.experiment.device, spec.folder, workers)
    try:
        driver.run(executor)
    except KeyboardInterrupt:
        return True
    finally:
        executor.close()
    return False


def show(experiment: Any, outcomes: Any, folder: Path, as_json: bool, lang: Any) -> None:
    """Write the report and print the table, or the results as JSON."""
    from rich.console import Console

    from accelerando.compare import report

    report.write(experiment, outcomes, folder, lang)
    if lang == "zh" and not report.titled(lang):
        click.echo("no font with Chinese characters was found: the PNG figures have English titles", err=True)
    if as_json:
        click.echo(json.dumps(summary(experiment, outcomes), ensure_ascii=False, indent=1))
    else:
        Console().print(report.terminal(experiment, outcomes, lang, folder))


def summary(experiment: Any, outcomes: Any) -> dict[str, Any]:
    """What ``--json`` prints: the experiment, and every outcome without its series."""
    from accelerando.compare.records import plain

    kept = ("status", "final", "rise", "seconds", "message", "place")
    results = [
        {"id": o.trial.id, "strategy": o.trial.strategy, "rate": o.trial.rate, "seed": o.trial.seed}
        | {"phase": o.trial.phase}
        | {name: getattr(o, name) for name in kept}
        for o in outcomes
    ]
    words: dict[str, Any] = plain(
        {"format": "accelerando.compare/1", "experiment": experiment.to_json(), "outcomes": results}
    )
    return words


def _list() -> None:
    from accelerando.compare.tasks import load, names

    for name in names():
        task = load(name)
        click.echo(f"{name:20} {task.steps:6} updates  {task.description}")
