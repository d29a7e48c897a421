"""The commands train, plan and find-lr: the library's training, run from here and by no flow."""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from adapters.workspace import find_workspace, template
from cli.run import say
from darkroom.events import Event, followed
from darkroom.params import Params
from darkroom.sections import SettingsError, read_yaml, validated
from darkroom.stage import stop_asked, teller

Answer = TypeVar("Answer")
INTERRUPTED = 130
GIBI = 1024**3


def train(given: argparse.Namespace) -> int:
    """Train on a folder of images."""
    from darkroom.training.course import Conduct
    from darkroom.training.from_folder import Request, train_folder
    from darkroom.training.parallel import joined, launched, leads

    if given.minutes is not None and given.minutes <= 0:
        raise SettingsError(f"--minutes {given.minutes:g}: the budget must be more than nothing")
    if given.sharded and given.processes < 2:
        raise SettingsError("--sharded: one process keeps all weights; add --processes 2 or more")
    settings = _settings(given)
    if given.processes > 1 and not launched():
        return _together(given.processes)
    request = Request(given.data, settings.curate, settings.augment, settings.train_base, given.minutes)
    with joined(), stop_asked() as stopping:
        ref = shown(train_folder(request, given.out, Conduct(stopping, sharded=given.sharded)))
        if leads():
            say(f"model       {ref.path}\nsamples     {given.out / 'samples.png'}\nfilm strip  {given.out / 'film_strip.png'}")
    return 0


def _together(processes: int) -> int:
    """The same command in several processes, by torch's launcher. One that fails or is stopped ends them all."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    words = [*launcher, "-m", "cli", *sys.argv[1:]]
    with subprocess.Popen(words, process_group=0) as running, stop_asked() as stopping:  # Ctrl-C comes here, and once only
        while running.poll() is None:
            if stopping():
                running.terminate()  # the launcher tells every process, which saves first
                return running.wait() and INTERRUPTED
            time.sleep(0.2)
        return running.returncode


def plan(given: argparse.Namespace) -> int:
    """Say what a training would take."""
    from darkroom.networks.sizes import cost_of
    from darkroom.training.planning import plan as planned
    from darkroom.training.rehearsal import rehearsed

    settings = _settings(given)
    if given.sizes:
        return _list_sizes(settings.curate.image_size)
    base = settings.train_base
    if not (images := base.start.images(base.images)):
        say("time          none: train_base.start takes weights as they are")
        return 0
    base = base.model_copy(update={"images": images})
    model, materials = rehearsed(base, settings.augment, settings.curate.image_size)
    found = planned(model, base, materials, given.seconds)
    batch = base.batch_size
    flops = cost_of(base.network, settings.curate.image_size).flops
    say(f"network       {found.parameters / 1e6:.1f} million parameters, {flops / 1e9:.2f} GFLOP an image, batches of {batch}")
    device = next(model.parameters()).device
    say(f"speed         {found.images_per_second:.0f} images/s on {device}, in {given.seconds:g} s of trial")
    say(f"time          {found.hours:.2f} hours for {found.images:,} images seen; held-out images and sample sheets add to it")
    if given.data is not None:
        from darkroom.curation.reading import list_images

        files = len(list_images(given.data).candidates)
        say(f"passes        each of {files:,} images {found.images / max(files, 1):.1f} times, before curation removes any")
    say(f"memory        {found.memory / GIBI:.2f} GiB of tensors; at least {found.least_memory / GIBI:.2f}, more slowly")
    say(f"disk          {found.checkpoint / GIBI:.3f} GiB a checkpoint (3 at most), the model {found.model / GIBI:.3f}")
    if given.price is not None:
        say(f"cost          {found.hours * given.price:.2f} at {given.price:g} an hour")
    return 0


def _list_sizes(image_size: int) -> int:
    from darkroom.networks.sizes import MADE_FOR, SIZES, cost_of
    from darkroom.resizing import resized

    say(f"to denoise one image of {image_size} pixels; to train on it, three times the operations")
    for kind, sizes in SIZES.items():
        for name, size in sizes.items():
            try:
                cost = cost_of(resized(size, MADE_FOR, image_size), image_size)
            except ValueError as error:
                say(f"{kind}-{name:<4} {error}")
            else:
                say(
                    f"{kind}-{name:<4} {cost.parameters / 1e6:6.1f} M parameters {cost.flops / 1e9:7.2f} GFLOP "
                    f"{cost.training_bytes(16) / GIBI:6.2f} GiB for batches of 16"
                )
    return 0


def average(given: argparse.Namespace) -> int:
    """Write a model averaged over another length."""
    from darkroom.networks.profiles import write_average

    if given.out.exists() and not (given.out / "model.json").exists():
        raise FileExistsError(f"{given.out} exists and holds no model; choose another folder")
    write_average(given.model, given.width, given.out)
    say(f"model       {given.out}")
    return 0


def find_rate(given: argparse.Namespace) -> int:
    """Test learning rates, plot, suggest."""
    from darkroom.augmentation import augment
    from darkroom.curation.curate import curate
    from darkroom.networks.saved import device_named
    from darkroom.training.rate_finding import plot, range_test
    from darkroom.training.rehearsal import materials_of
    from darkroom.training.session import Places
    from darkroom.training.start import WEIGHTS_FOLDER
    from darkroom.training.train_base import fresh, splits_of

    settings, around = _settings(given), _around(given)
    if around is None and given.data is None:
        raise FileNotFoundError("find-lr trains on images: name a folder with --data, or run it in a workspace")
    section = settings.train_base
    with tempfile.TemporaryDirectory() as scratch:
        at = Path(scratch)
        places = Places(at / "data", at / "augmented", at / "model", at / "report", at / "checkpoints")
        if around is None or given.data is not None:
            shown(curate(settings.curate, given.data, places.data, at / "curation"))
        else:
            places = replace(places, data=_curated_in(around, settings.curate.image_size))
        shown(augment(settings.augment, places.data, places.augmented, at / "augmentation"))
        splits = splits_of(places.data)
        model, card = fresh(section, splits, places)
        if around is not None:  # weights that a start names lie in its workspace
            section.start.begin(around / ".darkroom" / WEIGHTS_FOLDER, model, card)
        model = model.to(device_named(section.device))
        materials = materials_of(splits, settings.augment, places.checkpoints)
        found = shown(range_test(model, section, materials, given.batches))
    plot(found, given.out)
    say(f"suggested     learning_rate: {found.suggested:.1e} (the settings have {section.learning_rate:.1e})")
    say(f"plot          {given.out}")
    return 0


def _around(given: argparse.Namespace) -> Path | None:
    """The workspace that a command is about, where it may be about one: the one named, or around the current folder."""
    if not hasattr(given, "workspace"):
        return None
    found = find_workspace(given.workspace or Path.cwd())
    if given.workspace is not None and found is None:
        raise FileNotFoundError(f"{given.workspace} is not in a workspace; `darkroom init DIR` makes one")
    return found


def _curated_in(workspace: Path, size: int) -> Path:
    """The curated images of a workspace. Raises FileNotFoundError, SettingsError where they have another size."""
    from darkroom.images import read_split

    data = workspace / "data/curated"
    if not data.is_dir():
        raise FileNotFoundError(
            f"{data}: no images are curated yet; `darkroom run` does it, or name a folder of images with --data"
        )
    if (there := read_split(data, "train").size) != size:
        raise SettingsError(f"{data}: its images have {there} pixels, and {size} are asked for; `darkroom run` curates them anew")
    return data


def _settings(given: argparse.Namespace) -> Params:
    """The settings of a file, of the workspace around, or the shipped ones, with what was said on the command line."""
    if given.params is not None:
        settings, file = read_yaml(given.params), given.params
    elif around := _around(given):
        settings, file = read_yaml(around / "params.yaml"), around / "params.yaml"
        say(f"settings      {file}")
    else:
        with tempfile.NamedTemporaryFile("w", suffix=".yaml") as shipped:
            shipped.write(template("params.yaml"))
            shipped.flush()
            settings, file = read_yaml(Path(shipped.name)), Path("params.yaml")
    for part in ("curate", "train_base"):  # the others are asked for below
        if not isinstance(settings.get(part), dict):
            raise SettingsError(f"{file}: the section `{part}` is missing; the shipped params.yaml has all of them")
    for section, name, value in (
        ("curate", "source", str(given.data) if given.data is not None else None),
        ("train_base", "seed", given.seed),
        ("train_base", "network", _network(given.network, settings["curate"].get("image_size"))),
    ):
        if value is not None:
            settings[section] = {**settings[section], name: value}
    if given.captions is not None:
        settings["train_base"] = {
            **settings["train_base"],
            "network": _reading(settings["train_base"]["network"], given.captions),
        }
    checked = _of_size(validated(Params, settings, file), given.size, given.aspect_buckets, file)
    if getattr(given, "images", None) is None:
        return checked
    if given.images < checked.train_base.batch_size:
        raise SettingsError(f"--images {given.images}: the budget must be at least one batch ({checked.train_base.batch_size})")
    return checked.model_copy(update={"train_base": checked.train_base.stretched(given.images)})


def _of_size(settings: Params, size: int | None, aspect: float | None, file: Path) -> Params:
    """The settings for images of another size, saying what changes with it, and of shapes up to some aspect."""
    if size is None and aspect is None:
        return settings
    from darkroom.resizing import changes_for, merged, told

    changes = changes_for(settings, size or settings.curate.image_size)
    if changes:
        say(f"for {size} pixels: {', '.join(told(changes))}")
    whole = merged(settings.model_dump(mode="json", by_alias=True), changes)
    if aspect is not None:
        whole = merged(whole, {"curate": {"aspect_buckets": {"most": aspect}}})
    return validated(Params, whole, file)


def _network(named: str | None, image_size: Any) -> dict[str, Any] | None:
    """The network of a size in the list, for the settings' images. Raises SettingsError."""
    if named is None:
        return None
    from darkroom.networks.sizes import MADE_FOR, SIZES
    from darkroom.resizing import resized

    sizes = {f"{kind}-{name}": size for kind, members in SIZES.items() for name, size in members.items()}
    if named not in sizes:
        raise SettingsError(f"--network {named}: no such size; there are {', '.join(sizes)}")
    fits = isinstance(image_size, int) and image_size > 0  # else the settings are refused in a moment
    return resized(sizes[named], MADE_FOR, image_size if fits else MADE_FOR).model_dump()


def _reading(network: dict[str, Any], encoder: str) -> dict[str, Any]:
    """The network, reading captions; one that does so already keeps the size of what reads."""
    from darkroom.networks.sizes import READER

    whole = network if "image" in network else {**READER, "image": network}
    if encoder:
        here = str(Path(encoder).absolute()) if Path(encoder).is_dir() else encoder
        return {**whole, "kind": "captioned_pretrained", "encoder": here}
    return {key: value for key, value in whole.items() if key != "encoder"} | {"kind": "captioned"}


def shown(steps: Generator[Event, None, Answer]) -> Answer:
    """Run a step to its end, saying what it tells. Returns what it returns."""
    from darkroom.training.parallel import leads

    return followed(steps, *([teller(say)] if leads() else []))
