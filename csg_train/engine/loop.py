"""The training loop: read `csg_train.methods.base` for its outline and for the points at which a method acts."""

import contextlib
import json
import platform
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import torch
from torch import Tensor, nn
from torchvision.ops import StochasticDepth

from csg_train.console import console
from csg_train.data.cache import picture_source
from csg_train.data.loaders.batch import Batch
from csg_train.data.loaders.unseen import Loaded
from csg_train.data.readers.images import ImageSet
from csg_train.data.readers.masks import MaskedSet
from csg_train.devices import usable_device
from csg_train.distributed import (
    agreed,
    average,
    highest,
    is_first,
    joined,
    process_count,
    require_alike,
    require_equal_parts,
)
from csg_train.engine.averages import averaged_state, build_average, hold
from csg_train.engine.batches import batches_of
from csg_train.engine.finite import kept, numbers_of, require_finite_row, require_finite_weights
from csg_train.engine.folder import locked, make_ready, remove_records, remove_run
from csg_train.engine.interrupts import Interrupts
from csg_train.engine.optimizer import build_optimizer
from csg_train.engine.precision import (
    InBfloat16,
    compile_backbone,
    compile_fault,
    require_arithmetic,
    training_arithmetic,
)
from csg_train.engine.profiling import recorded, require_steps
from csg_train.engine.resuming import require_same_run
from csg_train.engine.selection import chosen_file, is_due, measure_name, selection_images
from csg_train.engine.signs import SIGNS, share_signs, signs_of
from csg_train.engine.sizing import sized_batches
from csg_train.engine.step_clock import StepClock
from csg_train.engine.undisturbed import seed_torch, undisturbed
from csg_train.engine.waiting import Waits
from csg_train.errors import UserError, memory_fault
from csg_train.evaluate.either import held_out_loss, score
from csg_train.files import write_text
from csg_train.methods import lp_ft
from csg_train.methods.base import Method, Setup
from csg_train.methods.frozen import freeze
from csg_train.methods.pixels import task_loss
from csg_train.methods.swad import SWAD
from csg_train.methods.teacher import Taught
from csg_train.recipes.network import start_network
from csg_train.recipes.pictures import load_background, load_split, require_outside_data
from csg_train.recipes.reading import to_yaml
from csg_train.recipes.ready import load_splits, require_ready
from csg_train.recipes.sections import Recipe, Train
from csg_train.recipes.shown import Showing, shown_batches
from csg_train.runs.checkpoint import Checkpoint, load_checkpoint, load_optimizer, load_state, save_checkpoint
from csg_train.runs.deaths import Watch
from csg_train.runs.snapshots import snapshot_folder, snapshot_steps
from csg_train.runs.training_log import TrainingLog, last_row
from csg_train.runs.versions import installed
from csg_train.seeds import seed_for
from csg_train.splits import SPLITS, Rule

__all__ = ["learning_rate_factor", "train"]

_OVER_THE_BATCH = (nn.modules.batchnorm._BatchNorm, nn.modules.dropout._DropoutNd, StochasticDepth)
Report = Callable[[int, dict[str, float]], None]
_Given = TypeVar("_Given")
_BROKEN = 128  # in place of a signal's number, and above each


def learning_rate_factor(step: int, train: Train) -> float:
    """Factor on the base learning rate at a step counted from 0: quadratic warm-up times polynomial decay.

    ``min(0.01 + 0.99 (t / warmup)^2, 1) * (1 - min(t / steps, decay_until))^power``; with ``train.probe``, for each of
    the two stages by itself.
    """
    step, steps = lp_ft.stage(step, train.steps, train.probe)
    warm = min(0.01 + 0.99 * (step / train.warmup) ** 2, 1.0) if train.warmup else 1.0
    return float(warm * (1 - min(step / steps, train.decay_until)) ** train.power)


def _over_the_batch(module: nn.Module) -> bool:
    if not isinstance(module, _OVER_THE_BATCH) and type(module).__name__ != "DropPath":  # timm's, and of users' code
        return False
    return bool(getattr(module, "p", getattr(module, "drop_prob", 1)))  # a dropout of nothing drops nothing


def train(
    recipe: Recipe,
    out: Path | str,
    *,
    device: torch.device | str = "auto",
    resume: bool = False,
    overwrite: bool = False,
    splits: Sequence[str] = SPLITS,
    profile: int = 0,
    report: Report = lambda _step, _values: None,
) -> Path:
    """Train one recipe into one folder.

    Of the processes that torchrun started (`csg_train.distributed`), the first alone writes, and returns; the others
    end with the run.

    Args:
        recipe: The resolved recipe.
        out: The run's folder: ``recipe.yaml``, ``log.jsonl``, ``ckpt.pt``, ``best.pt`` where a rule selects,
            ``average.pt`` with ``average``, ``along/STEP/ckpt.pt`` with ``train.snapshots`` or ``train.probe``, and
            ``cost.json`` of more than a few steps.
        device: Where to compute; ``auto`` is the GPU where there is one.
        resume: Continue from ``ckpt.pt`` if it is there; the result equals an uninterrupted run bit for bit, on a GPU
            where ``train.deterministic`` is set.
        overwrite: Start again, whatever the folder holds.
        splits: Those that will be measured: the files of all are looked at before the first step.
        profile: Steps to record into ``profile.json``, after the first few (`csg_train.engine.profiling`).
        report: Called with the step and its logged values every ``train.log_every`` steps.

    Returns:
        Path of the checkpoint that the recipe chooses: the last step's, ``best.pt`` or ``average.pt``.

    Raises:
        UserError: Bad arguments, data or folder, another run in the folder or in this process, processes that differ in
            what they train, a loss that is not finite, or a lost process.
        SystemExit: A signal, and in every process but the first the end of the run.
    """
    if not isinstance(recipe, Recipe):
        raise UserError(f"train: a recipe in a {type(recipe).__name__}; give what load_recipe reads")
    if isinstance(splits, str) or not set(splits) <= set(SPLITS):
        raise UserError(f"train: splits={splits!r}; give a list of {', '.join(SPLITS)}")
    if resume and overwrite:
        raise UserError("--resume, --overwrite: the one continues the run that the other removes; give one")
    out = Path(out)
    with joined(usable_device(device)) as own, undisturbed(own), training_arithmetic(recipe.train, own):
        with agreed():  # first of all, so that a run that cannot start leaves no folder
            require_arithmetic(recipe.train, own)
            require_equal_parts(recipe.train.batch_size)
            require_outside_data(out, recipe.data)
            require_ready(recipe, load_splits(recipe, splits))
        with locked(out):
            with agreed():
                make_ready(out, resume=resume, overwrite=overwrite, weights=recipe.model.weights)
            with agreed():
                run = _Run(recipe, out, own)
                log_bytes = run.restore(out / "ckpt.pt") if resume and (out / "ckpt.pt").exists() else 0
                require_steps(profile, recipe.train.steps - run.step)
            with agreed():
                require_alike(run.facts())
            first, chosen = is_first(), run.train(log_bytes, report, profile, replace=overwrite)
    if not first:
        raise SystemExit(0)
    return chosen


class _Run:
    """One run's objects, from construction to the last checkpoint."""

    def __init__(self, recipe: Recipe, out: Path, device: torch.device) -> None:
        self.recipe, self.out, self.device = recipe, out, device
        self.images = load_split(recipe.data, "source")
        self.method: Method = recipe.build_method()
        self.styles = self.method.styles()
        self.network, self.weights = start_network(recipe, self.method, classes=len(self.images.classes))
        self.selected_on = selection_images(recipe, self.images.classes)
        self.data: dict[str, Any] = {
            "name": self.images.name,
            "identity": self.images.identity,  # asked for now: a file may be gone when the run is saved
            "count": len(self.images),
        }
        if self.selected_on is not None:
            self.data["selection_identity"] = self.selected_on.identity
        if self.styles is not None:
            self.data["styles_identity"] = self.styles.identity
        if isinstance(background := load_background(recipe.data), ImageSet):
            self.data["background_identity"] = background.identity
        self.best_score: float | None = None
        self.snapshots = snapshot_steps(recipe.train.steps, recipe.train.snapshots)
        if recipe.train.probe:
            self.snapshots.add(recipe.train.probe)
        self.network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.frozen = freeze(self.network.backbone, recipe.train.frozen)
        setup = Setup(seed=recipe.seed, source=self._source_pass, steps=recipe.train.steps, weights=self.weights)
        self.method.prepare(self.network, setup)
        self.method.to(device)
        self.optimizer = build_optimizer(self.network, self.method, recipe.train)
        self.trained = [weight for weight in self.network.parameters() if weight.requires_grad]
        self.average = build_average(recipe, self.trained)
        backbones = [self.network.backbone, *([self.method.teacher] if isinstance(self.method, Taught) else [])]
        if recipe.train.compile:
            for backbone in backbones:
                compile_backbone(backbone, graphs=recipe.train.cuda_graphs)
        gradients = recipe.train.precision == "bfloat16"
        lowered = gradients or recipe.train.no_grad_precision == "bfloat16"
        self.arithmetic: contextlib.AbstractContextManager[None] = (
            InBfloat16([*backbones, self.network.head], device, gradients=gradients)
            if lowered
            else contextlib.nullcontext()
        )
        if process_count() > 1:
            self._require_shareable()
        self.step = 0
        self._into_average()
        self.saved: int | None = None
        self.watch = Watch(steps=recipe.train.steps, warmup=recipe.train.warmup, classes=self.images.classes)
        self.unlogged: list[dict[str, Tensor | float]] = []
        seed_torch(seed_for(recipe.seed, "torch"), device)

    def facts(self) -> dict[str, str]:
        """What all processes must have alike."""
        data = "\n".join(f"{name}: {value}" for name, value in sorted(self.data.items()))
        return {
            "recipes": json.dumps(self.recipe.as_run(), sort_keys=True),
            "pictures": data,
            "starting weights": self.weights,
            "checkpoints to go on from": str(self.step),
        }

    def train(self, log_bytes: int, report: Report, profile: int, *, replace: bool) -> Path:
        """Train to the last step; ``log_bytes`` of the log are kept, ``profile`` steps recorded.

        With ``replace`` an old run in the folder is taken away.
        """
        steps = self.recipe.train.steps
        chosen = chosen_file(self.recipe, self.out)
        owed = bool(highest(self._owes_a_measure(log_bytes)))
        if self.step == steps and not owed:
            if self.average is not None and is_first() and not chosen.exists():
                self._save_average(chosen)
            return chosen
        console.print(picture_source(self.images))
        recording = recorded(self.out, profile if is_first() else 0)
        with Interrupts() as interrupts, contextlib.ExitStack() as opened:
            batches, clock = Waits(self._batches(), self.device), StepClock(self.recipe, self.device)
            coming = iter(batches)
            with agreed():
                batch = None if owed else _first(coming, interrupts)
            # not before: what cannot start costs no old run
            log = opened.enter_context(self._log(log_bytes, replace=replace))
            end_step = opened.enter_context(recording)
            if log is not None and self.step == 0:
                self._save_snapshot()
            while owed or batch is not None:
                if batch is not None:
                    self._step_in_memory(batch)
                    clock.mark(self.step)
                elif log is not None:
                    self.unlogged.append({**log.take_back()})
                owed = False
                best, broken = _attempt(self._is_best)
                if broken is None:  # asked for now, since what fails here shall cost no finished step
                    batch, broken = _attempt(lambda: next(coming, None))
                ended = interrupts.received if self.step < steps else 0  # loader processes too: their loss is no fault
                # all processes stop after the same step
                stop = highest(ended or (_BROKEN if broken else interrupts.received))
                self._end_step(log, chosen if best else None, stop, report)
                end_step()
                if stop == _BROKEN or (stop and self.step < steps):
                    self._leave(stop, broken)
        clock.write(self.out)
        if batches.steps:
            console.print(batches)
        self._heed(interrupts)
        return chosen

    def _end_step(self, log: TrainingLog | None, chosen: Path | None, stop: int, report: Report) -> None:
        """Log and save where it is time; ``chosen`` is the file of the best step where this one is it."""
        train = self.recipe.train
        saving = self.step == train.steps or self.step % train.save_every == 0 or chosen is not None or stop > 0
        saving = saving or self.step in self.snapshots
        logging = saving or self.step % train.log_every == 0
        if logging:
            share_signs(self.unlogged)
        if log is None:
            if logging:
                self.unlogged.clear()
            self.saved = self.step if saving else self.saved
            return
        if self.step == train.steps:
            remove_records(self.out)  # of before the end, and before the row by which it is reached
        if logging:
            report(self.step, self._flush(log))
        if saving:
            self._save(log, chosen)
        if self.average is not None and self.step == train.steps and stop != _BROKEN:
            self._save_average(chosen_file(self.recipe, self.out))

    def _save(self, log: TrainingLog, chosen: Path | None) -> None:
        """Write the checkpoint, and the log that it counts on."""
        log.sync()
        require_finite_weights(self.network, self.step, self.out, self.saved)
        # before ckpt.pt, which must not promise a file that is not there: a resume starts behind its step
        if chosen is not None:
            save_checkpoint(chosen, self._checkpoint(log.bytes, self.recipe.evaluate.select))
        self._save_snapshot()
        save_checkpoint(self.out / "ckpt.pt", self._checkpoint(log.bytes, "last"))
        self.saved = self.step

    def _leave(self, stop: int, broken: Exception | None) -> NoReturn:
        """Leave after a step that was saved: a signal came, or a picture is broken, of this process or another's."""
        interrupted = "" if stop == _BROKEN else "interrupted and "
        console.print(f"{interrupted}saved at step {self.step}; continue with --resume (a sweep: start it again)")
        with agreed():
            if broken is not None and stop == _BROKEN:
                raise broken
        raise SystemExit(128 + stop)

    def _heed(self, interrupts: Interrupts) -> None:
        """Leave a finished run where a signal came in its last step: whoever goes on measures it."""
        if stop := highest(interrupts.received):
            self._leave(stop, None)

    def _owes_a_measure(self, log_bytes: int) -> bool:
        """Whether the saved step is one that the rule measures, and its pictures were broken then."""
        if not (is_first() and self.step and self.selected_on is not None and is_due(self.step, self.recipe)):
            return False
        return measure_name(self.recipe) not in last_row(self.out / "log.jsonl", log_bytes)

    def _require_shareable(self) -> None:
        """Refuse what several processes would compute differently from one."""
        hold(self.network, self.recipe, self.frozen)
        if any(module.training and _over_the_batch(module) for module in self.network.modules()):
            field = "segmentation.head: deeplab-v3" if self.recipe.segmentation else "model.batch_norm: train"
            raise UserError(
                f"{field}: normalises or drops over the batch of one process, so {process_count()} would train another "
                "network than one; use one process, or deeplab-v2 and batch_norm: frozen"
            )

    def _log(self, keep: int, *, replace: bool) -> contextlib.AbstractContextManager[TrainingLog | None]:
        with agreed():
            if replace:
                remove_run(self.out)
            elif self.step:
                remove_records(self.out)
        if not is_first():
            return contextlib.nullcontext()
        write_text(self.out / "recipe.yaml", to_yaml(self.recipe))
        return TrainingLog(self.out / "log.jsonl", keep)

    def _step_in_memory(self, batch: Loaded) -> None:
        try:
            self._train_step(batch.to(self.device))
        except (RuntimeError, MemoryError) as error:
            fault = memory_fault(error, f"{self.out}: step {self.step + 1}: ") or compile_fault(error)
            if fault is None:
                raise
            raise UserError(f"{fault.message}{kept(self.saved)}") from error

    def _train_step(self, batch: Batch) -> None:
        factor = learning_rate_factor(self.step, self.recipe.train)
        for group in self.optimizer.param_groups:
            group["lr"] = group["base_lr"] * factor
        hold(self.network, self.recipe, self.frozen)
        probing, backbone = self.step < self.recipe.train.probe, self.network.backbone
        if probing:
            backbone.eval()
        elif self.step == self.recipe.train.probe:
            self.optimizer.state.clear()  # LP-FT's second stage: a new optimiser
        if self.recipe.train.cuda_graphs:
            # what the last step's graphs gave may be written over
            torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]
        with self.arithmetic, lp_ft.without_gradient(backbone) if probing else contextlib.nullcontext():
            output = self.network(batch.views[0])
            terms = {"ce": task_loss(output.logits, batch.labels)}
            terms |= self.method.loss(self.network, batch, output)
        loss = torch.stack(list(terms.values())).sum()
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        values = {name: value.detach() for name, value in ({"loss": loss} | terms | self.method.figures).items()}
        weights = [weight for group in self.optimizer.param_groups for weight in group["params"]]
        average([*(weight.grad for weight in weights if weight.grad is not None), *values.values()])
        self.method.before_step(self.network, self.optimizer)
        if probing:
            backbone.zero_grad()  # an optimiser moves nothing without gradient, decay included
        self.optimizer.step()
        self.method.after_step(self.network)
        self.step += 1
        self._into_average()
        self.unlogged.append({"lr_factor": factor, **values, **signs_of(output)})

    def _into_average(self) -> None:
        """Take the weights into the average, which begins behind LP-FT's probe."""
        if self.average is None or self.step < self.recipe.train.probe:
            return
        take = self.average.restart if self.step == self.recipe.train.probe else self.average.after_step
        take(self.trained, self.step)

    def _is_best(self) -> bool:
        """Measure where it is due; whether a selection rule chooses this step: no step before was as accurate."""
        if self.selected_on is None or not is_due(self.step, self.recipe):
            return False
        measure = score if self.average is None else held_out_loss
        with self._uncompiled():  # as measured later
            value = measure(self.network.eval(), self.selected_on, self.recipe)
        if self.unlogged:
            self.unlogged[-1][measure_name(self.recipe)] = value
        if isinstance(self.average, SWAD):
            self.average.after_loss(self.trained, self.step, value)
            return False
        best = self.best_score is None or value > self.best_score
        self.best_score = value if best else self.best_score
        return best

    def _uncompiled(self) -> contextlib.AbstractContextManager[Any]:
        return torch.compiler.set_stance("force_eager") if self.recipe.train.compile else contextlib.nullcontext()

    def _flush(self, log: TrainingLog) -> dict[str, float]:
        """Write the steps since the last call to the log; one device synchronisation for all of them."""
        values: dict[str, float] = {}
        first = self.step - len(self.unlogged) + 1
        measured = None if self.selected_on is None else measure_name(self.recipe)
        for step, values in enumerate(numbers_of(self.unlogged), start=first):
            signs = {name: values.pop(name) for name in SIGNS if name in values}
            require_finite_row(values, step, self.out, self.saved, measured=measured)
            log.write({"step": step} | values)
            if signs and (line := self.watch.see(step, loss=values["ce"], **signs)):
                console.print(line)
        self.unlogged.clear()
        log.flush()
        return values

    def _batches(self) -> Iterator[Loaded]:
        train = self.recipe.train

        def make(start: int, stop: int, workers: int) -> Iterator[Loaded]:
            pictures = self.recipe, self.images, self.method, self.styles
            return batches_of(*pictures, start=start, stop=stop, workers=workers)

        return sized_batches(make, start=self.step, stop=train.steps, workers=train.workers, device=self.device)

    def _source_pass(self, count: int | None = None) -> Iterator[Batch]:
        shown, some, every = Showing.of(self.recipe), self.images, len(self.images)
        if count is not None and count < every:
            some = some.part([every * index // count for index in range(count)])
        if isinstance(self.images, MaskedSet):  # no larger than a crop, whatever the evaluation shows
            shown = replace(shown, size=self.recipe.data.size)
        for batch in shown_batches(some, shown, self.device):
            yield batch.to(self.device)

    def _checkpoint(self, log_bytes: int, selection: Rule) -> Checkpoint:
        cuda = [torch.cuda.get_rng_state(self.device)] if self.device.type == "cuda" else []
        return Checkpoint(
            recipe=self.recipe.as_dict(),
            step=self.step,
            classes=list(self.images.classes),
            data=self.data,
            weights=self.weights,
            model=self.network.state_dict(),
            method=self.method.state_dict(),
            optimizer=self.optimizer.state_dict(),
            rng=[torch.get_rng_state(), *cuda],
            log_bytes=log_bytes,
            versions={"python": platform.python_version()} | installed(),
            selection=selection,
            best_score=self.best_score,
            average={} if self.average is None else self.average.state_dict(),
        )

    def _network_alone(self) -> Checkpoint:
        """What is measured, and nothing to continue from."""
        own = self._checkpoint(0, "last")
        return replace(own, method={}, optimizer={}, rng=[], best_score=None, average={})

    def _save_average(self, path: Path) -> None:
        """Write the checkpoint of the averaged weights; the run's own stay as they are."""
        assert self.average is not None
        with self._uncompiled():  # each BatchNorm breaks the graph of a block while its statistics are counted
            state, averaged = averaged_state(
                self.network, self.average, self.recipe, self.frozen, self.images, self.method
            )
        save_checkpoint(path, replace(self._network_alone(), model=state, averaged=averaged))

    def _save_snapshot(self) -> None:
        """Keep the network where this step is one of ``train.snapshots``, or the last of LP-FT's probe."""
        if self.step in self.snapshots:
            save_checkpoint(snapshot_folder(self.out, self.step) / "ckpt.pt", self._network_alone())

    def restore(self, path: Path) -> int:
        """Continue from a checkpoint and give its log's length; anything that does not fit is an error."""
        saved = load_checkpoint(path)
        require_same_run(saved, self.recipe, classes=self.images.classes, weights=self.weights, data=self.data)
        best = chosen_file(self.recipe, self.out)
        if saved.best_score is not None and not best.exists():
            raise UserError(f"{best}: missing, and {path.name} counts on it; restore it, or use --overwrite")
        self._load(saved)
        self.step, self.best_score, self.saved = saved.step, saved.best_score, saved.step
        if best.name == "best.pt" and best.exists() and (ahead := load_checkpoint(best)).step > saved.step:
            self.best_score = ahead.best_score  # a run that goes on with other roundings may not reach it again
        # a finished run needs none, whatever version wrote it
        if saved.step < self.recipe.train.steps or self._owes_a_measure(saved.log_bytes):
            load_optimizer(self.optimizer, saved.optimizer, path)
        if saved.step < self.recipe.train.steps:
            line = f"continues at step {saved.step}; the pictures are the same by names, labels and file sizes"
            console.print(line)
        torch.set_rng_state(saved.rng[0])
        if self.device.type == "cuda" and len(saved.rng) > 1:
            torch.cuda.set_rng_state(saved.rng[1], self.device)
        return saved.log_bytes

    def _load(self, saved: Checkpoint) -> None:
        load_state(self.network, saved.model, saved.path)
        load_state(self.method, saved.method, saved.path)
        if self.average is not None:
            load_state(self.average, saved.average, saved.path)


def _first(coming: Iterator[Loaded], interrupts: Interrupts) -> Loaded | None:
    """The first batch, before which there is nothing to save."""
    batch, broken = _attempt(lambda: next(coming, None))
    if broken is not None:
        raise SystemExit(128 + interrupts.received) if interrupts.received else broken
    return batch


def _attempt(act: Callable[[], _Given]) -> tuple[_Given | None, Exception | None]:
    try:
        return act(), None
    except Exception as error:  # whatever it is: the steps so far are saved before it is raised
        return None, error
