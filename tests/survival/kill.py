"""Kill a training run again and again, resume it, and compare what is left with a run that nobody disturbed.

``python -m tests.survival.kill --kills 300 --seed 0`` prints a table and exits with 1 if anything was lost. One process
imports everything and forks a child for each attempt, since the import of torch takes longer than the run. After every
attempt each file of the run's folder must be whole; a finished folder must hold what the undisturbed one holds.
"""

import argparse
import contextlib
import itertools
import json
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import torch
from PIL import Image

from csg_train.cli import main as csg_train
from csg_train.console import print_table
from csg_train.errors import UserError
from csg_train.recipes.reading import load_recipe
from csg_train.runs.checkpoint import load_checkpoint
from csg_train.runs.records import read_record
from tests.nested import equal
from tests.survival import tiny

METHODS = {
    "baseline": (),
    "csg": ("method.queue_size=7", "method.dim=4"),
    "ewc": ("method.samples=4",),
    "si": (),
    "asg": (),
}
FAULTS_PER_RUN = 6
"""Then a run is left to finish."""


class Run:
    """One recipe's folder, and the attempts to fill it."""

    def __init__(self, recipe: Path, method: str, out: Path) -> None:
        sets = (f"method.name={method}", "train.snapshots=3", "train.workers=1", *METHODS[method])
        options = [part for value in sets for part in ("--set", value)]
        self.arguments = ["run", str(recipe), *options, "--out", str(out), "--resume", "--device", "cpu"]
        self.recipe, self.out, self.step = load_recipe(str(recipe), sets), out, 0
        self.output = -1

    def start(self, prepare: Callable[[], None] = lambda: None) -> int:
        """Fork a child that trains; ``prepare`` runs in it first. Returns its process id."""
        sys.stdout.flush()
        if self.output >= 0:
            os.close(self.output)
        self.output, writer = os.pipe()  # no file, which a disk without space would cut
        if child := os.fork():
            os.close(writer)
            return child
        code = 70
        try:
            os.dup2(writer, 1)
            os.dup2(writer, 2)
            prepare()
            sys.argv = ["csg-train", *self.arguments]
            csg_train()
        except SystemExit as error:
            code = error.code if isinstance(error.code, int) else int(error.code is not None)
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)

    def printed(self) -> str:
        """What the last attempt printed, once; a loader process of it may still hold the pipe open."""
        os.set_blocking(self.output, False)
        try:
            return os.read(self.output, 1 << 16).decode()
        except BlockingIOError:
            return ""

    def faults(self) -> list[str]:
        """What is wrong with the folder, whatever happened to the run."""
        found = []
        try:
            for path in self.out.rglob("*.pt"):
                load_checkpoint(path)
            for path in self.out.glob("*.json"):
                read_record(path)
            if (path := self.out / "recipe.yaml").exists() and load_recipe(str(path)) != self.recipe:
                found.append("recipe.yaml differs")
            if not (path := self.out / "ckpt.pt").exists():
                return found + (["the checkpoint is gone"] if self.step else [])
            saved = load_checkpoint(path)
        except UserError as error:
            return [*found, error.format_message()]
        log = (self.out / "log.jsonl").read_bytes()[: saved.log_bytes].decode()
        if logged_steps(log) != list(range(1, saved.step + 1)):
            found.append(f"the log does not count to step {saved.step}")
        if saved.step < self.step:
            found.append(f"back from step {self.step} to {saved.step}")
        self.step = saved.step
        return found

    def differences(self, whole: "Run") -> list[str]:
        """What a finished folder holds that the undisturbed one does not, or the reverse."""
        names, wanted = ({str(path.relative_to(run.out)) for path in run.out.rglob("*")} for run in (self, whole))
        found = [f"{name} is in one folder only" for name in sorted(names ^ wanted)]
        for name in ("ckpt.pt", "best.pt"):
            ours, theirs = (load_checkpoint(run.out / name) for run in (self, whole))
            for field in ("step", "model", "method", "optimizer", "rng", "log_bytes", "best_score"):
                if not equal(getattr(ours, field), getattr(theirs, field)):
                    found.append(f"{name}: {field} differs")
        for path in whole.out.glob("along/*/ckpt.pt"):
            if not equal(load_checkpoint(self.out / path.relative_to(whole.out)).model, load_checkpoint(path).model):
                found.append(f"the snapshot of step {int(path.parent.name)} differs")
        if (self.out / "log.jsonl").read_bytes() != (whole.out / "log.jsonl").read_bytes():
            found.append("log.jsonl differs")
        for path in whole.out.glob("accuracy-*.json"):
            if read_record(path).confusion != read_record(self.out / path.name).confusion:
                found.append(f"{path.name} differs")
        return found


def logged_steps(log: str) -> list[int]:
    """The step of every line."""
    return [json.loads(line)["step"] for line in log.splitlines()]


def wait(child: int) -> int:
    """Exit code of a child, or minus the signal that ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def die_at_call(name: str, number: int, *, before: bool) -> None:
    """SIGKILL this process at the n-th call of ``os.NAME``, before or after it has acted."""
    original, calls = getattr(os, name), itertools.count(1)

    def counted(*arguments: object, **options: object) -> object:
        last = next(calls) == number
        if last and before:
            os.kill(os.getpid(), signal.SIGKILL)
        result = original(*arguments, **options)
        if last:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(os, name, counted)


def kill_at_any_moment(run: Run, rng: random.Random, seconds: float) -> int:
    child = run.start()
    time.sleep(rng.uniform(0, seconds * (1 - run.step / run.recipe.train.steps)))
    os.kill(child, signal.SIGKILL)  # a child that has ended is still there to be waited for
    return wait(child)


def kill_in_a_write(run: Run, rng: random.Random, _seconds: float) -> int:
    """As soon as there is a new temporary file, and up to 3 ms later, after some whole writes."""
    known, left = set(run.out.glob(".*.tmp")), rng.randrange(5)
    child = run.start()
    while os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        if new := set(run.out.glob(".*.tmp")) - known:
            known |= new
            if left == 0:
                time.sleep(rng.uniform(0, 0.003))
                os.kill(child, signal.SIGKILL)
                return wait(child)
            left -= 1
        time.sleep(0.0003)
    return wait(child)


def at_call(name: str, *, before: bool, calls: int) -> Callable[[Run, random.Random, float], int]:
    def kill(run: Run, rng: random.Random, _seconds: float) -> int:
        number = rng.randint(1, calls)
        return wait(run.start(lambda: die_at_call(name, number, before=before)))

    return kill


def fill_the_disk(run: Run, rng: random.Random, _seconds: float) -> int:
    """No file may grow beyond a size that a checkpoint of this run exceeds: a write stops in its middle."""
    size = rng.randrange(40_000)
    return wait(run.start(lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))))


def hang_up(run: Run, rng: random.Random, seconds: float) -> int:
    child = run.start()
    time.sleep(rng.uniform(0, seconds * (1 - run.step / run.recipe.train.steps)))
    os.kill(child, signal.SIGHUP)
    return wait(child)


def close_the_pipe(run: Run, _rng: random.Random, _seconds: float) -> int:
    """Nobody reads standard output any more, from the first line on: the run goes on."""

    def close() -> None:
        reader, writer = os.pipe()
        os.dup2(writer, 1)
        os.close(reader)

    return wait(run.start(close))


def kill_a_loader(run: Run, rng: random.Random, _seconds: float) -> int:
    child = run.start()
    while os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        if loaders := Path(f"/proc/{child}/task/{child}/children").read_text().split():
            time.sleep(rng.uniform(0, 0.05))
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(loaders[0]), signal.SIGKILL)
            break
        time.sleep(0.0003)
    return wait(child)


FAULTS: dict[str, Callable[[Run, random.Random, float], int]] = {
    "SIGKILL at any moment": kill_at_any_moment,
    "SIGKILL while a file is written": kill_in_a_write,
    "SIGKILL before a fsync": at_call("fsync", before=True, calls=16),
    "SIGKILL before a rename": at_call("replace", before=True, calls=7),
    "SIGKILL after a rename": at_call("replace", before=False, calls=7),
    "no space in a write": fill_the_disk,
    "SIGHUP at any moment": hang_up,
    "a loader killed": kill_a_loader,
    "a closed pipe": close_the_pipe,
}


def outcome(code: int, run: Run) -> str:
    """What became of an attempt, in words; anything but these is a fault."""
    if code in (-signal.SIGKILL, -signal.SIGHUP):
        return "killed"
    lines = run.printed().splitlines()
    errors = [line for line in lines if line.startswith("Error: ")]
    if code == 128 + signal.SIGHUP and not errors and "Traceback" not in "".join(lines):
        saved = any(line.startswith("interrupted and saved at step") for line in lines[-1:])
        return f"{'saved' if saved else 'ended outside the training loop'}, exit 129"
    if code == 0 and not lines:
        return "went on to its end, exit 0"
    named = any(name in line for line in errors for name in (str(run.out), "train.workers"))
    if code == 2 and len(errors) == 1 and named and "Traceback" not in "".join(lines):
        return "one-line error, exit 2"
    return f"exit {code}: {' '.join(lines[-1:])}"


def survive(folder: Path, *, kills: int, seed: int) -> tuple[dict[str, Counter[str]], list[str]]:
    """Disturb runs until ``kills`` faults were injected, each at least once; what ends before its fault counts not.

    Returns:
        Outcomes by fault, and what was lost.
    """
    recipe, rng = tiny.write_recipe(folder, steps=10), random.Random(seed)
    outcomes: dict[str, Counter[str]] = {name: Counter() for name in FAULTS}
    lost: list[str] = []
    faults, injected = itertools.cycle(FAULTS), 0
    for number, method in enumerate(itertools.cycle(METHODS)):
        whole = Run(recipe, method, folder / f"whole-{method}")
        if not whole.out.exists():
            begun = time.monotonic()
            assert wait(whole.start()) == 0, whole.printed()
            seconds = time.monotonic() - begun
        run = Run(recipe, method, folder / f"run-{number}")
        where = f"{run.out.name} ({method})"
        for fault in itertools.islice(faults, FAULTS_PER_RUN):
            code = FAULTS[fault](run, rng, seconds)
            if code == 0 and FAULTS[fault] is not close_the_pipe:
                break
            injected += 1
            ended = outcome(code, run)
            outcomes[fault][ended] += 1
            found = run.faults() + ([ended] if ended.startswith("exit") else [])
            lost += [f"{where}, {fault}: {line}" for line in found]
            if code == 0:
                break
        if (code := wait(run.start())) != 0:
            lost.append(f"{where} does not finish: {outcome(code, run)}")
        lost += [f"{where}: {line}" for line in run.faults() + ([] if code else run.differences(whole))]
        shutil.rmtree(run.out)
        if injected >= kills and all(outcomes.values()):
            return outcomes, lost
    raise AssertionError


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # nohup ignores it, and the children would
    tiny.register()
    Image.init()  # else every child loads the decoders again
    with tempfile.TemporaryDirectory() as folder:
        outcomes, lost = survive(Path(folder), kills=arguments.kills, seed=arguments.seed)
    rows = [
        [fault, str(counts.total()), ", ".join(f"{count} {name}" for name, count in sorted(counts.items()))]
        for fault, counts in outcomes.items()
    ]
    injected = sum(counts.total() for counts in outcomes.values())
    print_table(f"{injected} faults, seed {arguments.seed}", ["fault", "times", "outcomes"], rows)
    print(f"lost: {len(lost)}")
    print("\n".join(lost))
    raise SystemExit(bool(lost))


if __name__ == "__main__":
    main()
