"""A training from files, in this process or in several that torchrun starts.

For N > 1 `train_files` does `torchrun --standalone --nproc-per-node N -m softjet.part.distributed TASK.json`.
"""

import logging
import os
import sys
import threading
import time
from pathlib import Path

import pandas as pd
import torch
from torch import distributed
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.run import main as torchrun

from softjet.config.part import ParTRun
from softjet.config.section import Section
from softjet.device import device_of
from softjet.errors import InputError
from softjet.jets.batches import JetLoader
from softjet.part.team import local_rank
from softjet.part.train import HISTORY, train_part
from softjet.provenance.files import whole_file

log = logging.getLogger("softjet")

FORMAT = "%(asctime)s %(levelname)s %(message)s"


class Task(Section):
    """A training and its files."""

    run: ParTRun
    """Shape and training."""
    training: tuple[str, ...]
    """Parquet files to learn from."""
    validation: tuple[str, ...]
    """Parquet files to measure loss and accuracy on."""
    folder: str
    """Gets the model and its history."""
    state: str
    """Folder of the saved state."""
    start: str | None = None
    """Folder of the model to start from."""
    threads: int = 1
    """Threads of all processes together."""
    logs: tuple[str, ...] = ()
    """Files that log lines are added to."""


class _Failure(Section):
    """An InputError on its way from a process to the one that started it."""

    where: str
    field: str
    problem: str


def train_files(task: Task) -> pd.DataFrame:
    """Train a Particle Transformer from files, in as many processes as the run asks for.

    Parameters
    ----------
    task : Task

    Returns
    -------
    DataFrame
        The history, see `train_part`.

    Raises
    ------
    InputError
        As `train_part`; or a process was killed, and the same call goes on from the last saved state.
    """
    if task.run.training.processes == 1:
        return carry_out(task)
    _launch(task)
    return pd.read_parquet(Path(task.folder) / HISTORY)


def carry_out(task: Task) -> pd.DataFrame:
    """Train in this process, or as one of the processes of torch's process group."""
    run = task.run
    torch.set_num_threads(max(1, task.threads // run.training.processes))
    training = JetLoader.for_model(task.training, run.model, run.training.batch_size, run.training.seed)
    validation = JetLoader.for_model(task.validation, run.model, run.training.batch_size)
    return train_part(run, training, validation, task.folder, task.state, task.start)


def _launch(task: Task) -> None:
    state, processes = Path(task.state), task.run.training.processes
    described, failure = state / "task.json", state / "failure.json"
    failure.unlink(missing_ok=True)
    with whole_file(described) as partial:
        partial.write_text(task.model_copy(update={"logs": _share_log_files()}).model_dump_json())
    os.environ["OMP_NUM_THREADS"] = str(max(1, task.threads // processes))
    # What torchrun says of failed processes follows as one line.
    logging.getLogger("torch.distributed").setLevel(logging.CRITICAL)
    try:
        torchrun(["--standalone", f"--nproc-per-node={processes}", "-m", __name__, str(described)])
    except ChildFailedError as error:
        raise _explained(error, failure) from error


def _explained(error: ChildFailedError, failure: Path) -> InputError:
    if failure.exists():
        said = _Failure.model_validate_json(failure.read_text())
        return InputError(said.where, said.field, said.problem)
    rank, first = error.get_first_failure()
    problem = f"ended with exit code {first.exitcode}; the next run goes on from the last saved state"
    return InputError("training", f"process {rank}", problem)


def _share_log_files() -> tuple[str, ...]:
    """Let other processes add to this one's log files, and name them."""
    paths = []
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.FileHandler):
            appending = Path(handler.baseFilename).open("a")  # noqa: SIM115 (the handler closes it)
            former = handler.setStream(appending)
            if former is not None:
                former.close()
            paths.append(handler.baseFilename)
    return tuple(paths)


def main() -> None:
    """Be one of the processes that torchrun starts; the argument is a task as JSON."""
    _end_with_parent()
    task = Task.model_validate_json(Path(sys.argv[1]).read_text())
    _log_to(task.logs if os.environ["RANK"] == "0" else ())
    try:
        _join(task.run.training.device)
        carry_out(task)
        distributed.destroy_process_group()
    except InputError as error:
        with whole_file(Path(task.state) / "failure.json") as partial:
            said = _Failure(where=error.where, field=error.field, problem=error.problem)
            partial.write_text(said.model_dump_json())
        sys.exit(1)


def _join(wanted: str) -> None:
    """Meet the other processes."""
    device = device_of(wanted, local_rank())
    if device.type == "cuda":
        torch.cuda.set_device(device)
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")


def _log_to(paths: tuple[str, ...]) -> None:
    handlers: list[logging.Handler] = [logging.StreamHandler(), *map(logging.FileHandler, paths)]
    level = logging.INFO if paths else logging.WARNING
    logging.basicConfig(format=FORMAT, level=level, handlers=handlers)


def _end_with_parent() -> None:
    """End when the starting process is gone, even killed: nobody else would end this one."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


if __name__ == "__main__":
    main()
