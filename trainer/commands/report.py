"""The `report` subcommand: one self-contained HTML file, and plots for papers, of one or several run directories."""

from pathlib import Path

from ..errors import UsageError
from ..reporting.page import Limits, page
from ..reporting.runs import Run, as_written, read_runs
from ..run.atomic import write_output_file
from ..settings.options import Report
from ..settings.resolve import Resolved, made_by_program


def run(resolved: Resolved) -> int:
    """Entry of `report`."""
    report(resolved.settings)
    return 0


def report(settings: Report) -> Path:
    """Do what the command `report` does: write the page, and say where it is.

    Raises:
        UsageError: a folder is no run directory, a file of a run is damaged, or the report can't be written.
    """
    settings = made_by_program(Report, settings).settings
    runs = read_runs(list(settings.runs))
    target = Path(settings.output_file) if settings.output_file else runs[0].path / "report.html"
    with as_written([run.path for run in runs]):
        text = page(runs, Limits(settings.max_samples, settings.max_changes))
    write_output_file(target, text)
    print(f"report: {target} ({target.stat().st_size / 1e6:.1f} MB)")
    if settings.plots is not None:
        write_plots(runs, Path(settings.plots))
    return target


def write_plots(runs: list[Run], folder: Path) -> None:
    """Write the plots and say which; matplotlib is only imported for them."""
    from ..reporting.plots import save_plots

    try:
        files = save_plots(runs, folder)
    except OSError as error:
        raise UsageError(f"can't write to {folder}: {error.strerror}. Pass --plots FOLDER, a writable one.") from error
    print(f"plots: {', '.join(str(file) for file in files)}")
