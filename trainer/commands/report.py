"""The `report` subcommand: one self-contained HTML file, and plots for papers, of one or several run directories."""

from pathlib import Path
from typing import Any

from trainer.errors import UsageError
from trainer.reporting.page import Limits, page
from trainer.reporting.runs import Run, read_runs
from trainer.run.atomic import write_output_file
from trainer.settings.resolve import Resolved


def run(resolved: Resolved) -> int:
    """Write the report and say where it is.

    Raises:
        UsageError: a folder is no run directory, a file of a run is damaged, or the report can't be written.
    """
    settings: Any = resolved.settings
    runs = read_runs(list(settings.runs))
    target = Path(settings.output_file) if settings.output_file else runs[0].path / "report.html"
    write_output_file(target, page(runs, Limits(settings.max_samples, settings.max_changes)))
    print(f"report: {target} ({target.stat().st_size / 1e6:.1f} MB)")
    if settings.plots is not None:
        write_plots(runs, Path(settings.plots))
    return 0


def write_plots(runs: list[Run], folder: Path) -> None:
    """Write the plots and say which; matplotlib is only imported for them."""
    from trainer.reporting.plots import save_plots

    try:
        files = save_plots(runs, folder)
    except OSError as error:
        raise UsageError(f"can't write to {folder}: {error.strerror}. Pass --plots FOLDER, a writable one.") from error
    print(f"plots: {', '.join(str(file) for file in files)}")
