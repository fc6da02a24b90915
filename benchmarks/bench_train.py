"""Measure fine-tuning: ``python benchmarks/bench_train.py``, small on a CPU, the paper's setting on a GPU.

images/s of the training step on images that lie on the device (the ceiling), of the whole loop with augmentation, the
data set on the device or streamed to it, and of a plain loop as one would write it: a DataLoader whose workers decode
and augment JPEG files, float16 autocast and a GradScaler. All in one call, on one card. With the share of the card's
own bfloat16 matrix rate that the model reaches (model FLOP utilisation), and the hours of params/paper.yaml.

``--markdown`` prints the table as benchmarks/RESULTS.md has it, ``--profile FILE`` writes where the time goes.
"""

import argparse
import copy
import os
import platform
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset
from torch.utils.flop_counter import FlopCounterMode
from torchvision.transforms import v2

from galc.data.dataset import Dataset
from galc.data.images import decode
from galc.losses.asl import AsymmetricLoss
from galc.methods import base
from galc.study import params
from galc.training import loader, models
from galc.training import loop as trainer
from galc.training.augment import Augment, to_unit
from galc.training.batch import TrainingSet
from galc.training.checkpoint import Preemption
from galc.training.models import predict

CUDA = torch.cuda.is_available()
DEVICE = torch.device("cuda" if CUDA else "cpu")
CLASSES = 80
# images of COCO 2014 (paper, Sec. 4.1): silver, gold, single-label; all for training, and those a test is made on
SILVER, GOLD, SINGLE, TRAIN, TEST = 58_742, 6_526, 16_813, 82_081, 31_739


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backbone", default="tresnet_m" if CUDA else "test_resnet")
    parser.add_argument("--size", type=int, default=224 if CUDA else 64, help="pixels")
    parser.add_argument("--batch", type=int, default=128 if CUDA else 16, help="images a step")
    parser.add_argument("--images", type=int, default=8192 if CUDA else 128, help="of the data set that is made")
    parser.add_argument("--workers", type=int, default=16 if CUDA else 2, help="of the plain loop's DataLoader")
    parser.add_argument("--seconds", type=float, default=20.0 if CUDA else 2.0, help="of each measurement, at least")
    parser.add_argument("--matrix", type=int, default=8192 if CUDA else 512, help="side, for the matrix rate")
    parser.add_argument("--no-compile", action="store_true")
    parser.add_argument("--no-bf16", action="store_true")
    parser.add_argument("--markdown", action="store_true")
    parser.add_argument("--profile", metavar="FILE")
    return parser.parse_args()


def wait() -> None:
    if CUDA:
        torch.cuda.synchronize()


def rate(work: Callable[[], int], seconds: float) -> float:
    """What ``work`` counts, a second; its first call, which compiles and allocates, is not measured."""
    work()
    wait()
    started, done = time.perf_counter(), 0
    while time.perf_counter() - started < seconds:
        done += work()
        wait()
    return done / (time.perf_counter() - started)


def matrix_rate(side: int, seconds: float) -> float:
    """FLOP/s of a bfloat16 matrix product."""
    a, b = (torch.randn(side, side, device=DEVICE).bfloat16() for _ in range(2))

    def work() -> int:
        for _ in range(10):
            a @ b
        return 10 * 2 * side**3

    return rate(work, min(seconds, 5.0))


def flops(model: nn.Module, size: int) -> float:
    """FLOPs of one image, forward and backward."""
    model = copy.deepcopy(model).to(DEVICE).train()
    with FlopCounterMode(display=False) as counter:
        model(torch.rand(2, 3, size, size, device=DEVICE)).sum().backward()
    return counter.get_total_flops() / 2


# --- the data --------------------------------------------------------------------------------------------------------


def write_images(folder: Path, count: int) -> list[Path]:
    """JPEG files of 640 x 480 pixels, as large as those of COCO: smooth colours under noise."""
    rng, files = np.random.default_rng(0), []
    for n in range(count):
        coarse = Image.fromarray(rng.integers(0, 256, (12, 16, 3), np.uint8)).resize((640, 480))
        noisy = np.asarray(coarse).astype(np.int16) + rng.integers(-12, 13, (480, 640, 1), np.int16)
        files.append(folder / f"{n}.jpg")
        Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(files[-1], quality=90)
    return files


def data_set(files: list[Path]) -> Dataset:
    labels = torch.rand(len(files), CLASSES, generator=torch.Generator().manual_seed(0)) < 2.5 / CLASSES
    labels[torch.arange(len(files)), torch.arange(len(files)) % CLASSES] = True
    names = tuple(f"class {k}" for k in range(CLASSES))
    return Dataset("made", names, tuple(files), labels)


class Files(TorchDataset):
    """The plain loop's data: JPEG files, decoded and augmented one by one by Pillow and torchvision."""

    def __init__(self, data: Dataset, size: int):
        self.data = data
        to_tensor = (v2.PILToTensor(), v2.ToDtype(torch.float32, scale=True))
        self.transform = v2.Compose([v2.Resize((size, size)), v2.Lambda(cut_out), v2.RandAugment(), *to_tensor])

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, n: int) -> tuple[Tensor, Tensor]:
        return self.transform(Image.open(self.data.files[n]).convert("RGB")), self.data.labels[n].float()


def cut_out(image: Image.Image) -> Image.Image:
    """A rectangle of half the sides in one colour, somewhere in a Pillow image."""
    image, (width, height) = image.copy(), image.size
    x, y = np.random.randint(width), np.random.randint(height)
    box = (max(x - width // 4, 0), max(y - height // 4, 0), min(x + width // 4, width), min(y + height // 4, height))
    image.paste(tuple(int(c) for c in np.random.randint(0, 256, 3)), box)
    return image


# --- the loops -------------------------------------------------------------------------------------------------------


def run_of(args: argparse.Namespace, model: nn.Module, data: TrainingSet, transform) -> trainer._Run:
    recipe = trainer.Recipe(
        epochs=10**6 // len(data.index),
        batch_size=args.batch,
        learning_rate=1e-4,
        bf16=not args.no_bf16,
        compile=not args.no_compile,
    )
    return trainer._Run(copy.deepcopy(model), data, base.plain(base.ASL), recipe, 0, transform)


def ceiling(args: argparse.Namespace, model: nn.Module, data: TrainingSet) -> float:
    """images/s of the step alone, on one batch that lies on the device as the model takes it."""
    run = run_of(args, model, data, None)
    run.model.train()
    images = to_unit(data.inputs[: args.batch].to(DEVICE))

    def work() -> int:
        for _ in range(10 if CUDA else 1):
            run.train_step(torch.arange(args.batch), images, (), args.batch)
        return args.batch * (10 if CUDA else 1)

    return rate(work, args.seconds)


def full(args: argparse.Namespace, model: nn.Module, data: TrainingSet, resident: bool) -> float:
    """images/s of whole epochs of the loop, augmentation included; ``resident``: the data set lies on the device."""
    loader.SHARE, before = loader.SHARE if resident else 0.0, loader.SHARE
    own = data if resident else TrainingSet(data.inputs.clone(), data.index, data.targets, data.trusted)
    run, stop = run_of(args, model, own, Augment()), Preemption()

    def work() -> int:
        run.train_epoch(stop)
        return len(own.index)

    try:
        return rate(work, args.seconds)
    finally:
        loader.SHARE = before


def plain(args: argparse.Namespace, model: nn.Module, data: Dataset) -> float:
    """images/s of whole epochs of a loop as one would write it."""
    model = copy.deepcopy(model).to(DEVICE).train()
    average = copy.deepcopy(model)
    batches = DataLoader(Files(data, args.size), args.batch, shuffle=True, num_workers=args.workers, pin_memory=CUDA)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4, weight_decay=1e-4)
    steps = len(batches) * (10**6 // len(data))
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-4, total_steps=steps, pct_start=0.2)
    scaler, loss = torch.amp.GradScaler(DEVICE.type, enabled=CUDA), AsymmetricLoss(reduction="sum")

    def work() -> int:
        for images, labels in batches:
            images, labels = images.to(DEVICE), labels.to(DEVICE)
            with torch.autocast(DEVICE.type, torch.float16, enabled=CUDA):
                logits = model(images).float()
            value = loss(logits, labels)
            model.zero_grad()
            scaler.scale(value).backward()
            scaler.step(optimizer)
            scaler.update()
            scheduler.step()
            with torch.no_grad():
                for mean, now in zip(average.state_dict().values(), model.state_dict().values(), strict=True):
                    mean.copy_(0.9997 * mean + (1 - 0.9997) * now)
        return len(data)

    return rate(work, args.seconds)


def prediction(args: argparse.Namespace, model: nn.Module, data: TrainingSet) -> float:
    model = models.to_device_layout(copy.deepcopy(model), DEVICE)

    def work() -> int:
        predict(model, data.inputs, transform=to_unit, bf16=not args.no_bf16)
        return len(data.inputs)

    return rate(work, args.seconds)


# --- what it means ---------------------------------------------------------------------------------------------------


def table_hours(training: float, predicting: float) -> float:
    """Hours of params/paper.yaml on one card, by images/s of training and of prediction; a test after each epoch."""
    study = params.load_study("params/paper.yaml")
    p, levels = params.checked(study["base"]), len(study["grid"]["noise"])
    alone = SILVER + GOLD  # what ASL, and the last step of GALC-SLR, train on; its first step trains on silver images
    trained = levels * p.epochs * (2 * alone + SILVER)
    predicted = levels * (3 * p.epochs * TEST + TRAIN)
    # h, once for all levels: each fold trains on the others' share of the clean images, and predicts all
    trained += (p.folds - 1) * p.fold_epochs * (GOLD + SINGLE)
    predicted += p.folds * TRAIN
    return (trained / training + predicted / predicting) / 3600


def machine() -> str:
    card = torch.cuda.get_device_name() if CUDA else "no GPU"
    return f"{card}, {platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}"


def profile(args: argparse.Namespace, model: nn.Module, data: TrainingSet) -> None:
    run, stop = run_of(args, model, data, Augment()), Preemption()
    run.train_epoch(stop)
    kinds = [torch.profiler.ProfilerActivity.CPU] + [torch.profiler.ProfilerActivity.CUDA] * CUDA
    with torch.profiler.profile(activities=kinds) as seen:
        run.train_epoch(stop)
        wait()
    order = "self_device_time_total" if CUDA else "self_cpu_time_total"
    Path(args.profile).write_text(seen.key_averages().table(sort_by=order, row_limit=25), encoding="utf-8")


def main() -> None:
    args = options()
    model = models.finetune(args.backbone, CLASSES, "none")
    bf16 = "float32" if args.no_bf16 else "bfloat16"
    what = f"{args.backbone}, {args.size} pixels, batches of {args.batch}, {bf16}, {args.images} images made"
    print(f"{machine()}\n{what}\n", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["GALC_OUTPUTS"] = str(Path(folder) / "outputs")
        made = data_set(write_images(Path(folder), args.images))
        started = time.perf_counter()
        pixels = torch.from_numpy(decode(made, args.size))
        decoding = args.images / (time.perf_counter() - started)
        every = torch.arange(args.images)
        data = TrainingSet(pixels, every, made.labels.float(), torch.zeros(args.images, dtype=torch.bool))
        rows = {"decoding once, images/s": decoding}
        rows["bfloat16 matrix product, TFLOP/s"] = matrix_rate(args.matrix, args.seconds) / 1e12
        rows["the step alone (ceiling), images/s"] = top = ceiling(args, model, data)
        rows["whole loop, data on the device, images/s"] = loop = full(args, model, data, resident=True)
        if CUDA:
            rows["whole loop, data streamed, images/s"] = streamed = full(args, model, data, resident=False)
        rows["plain loop, images/s"] = reference = plain(args, model, made)
        rows["prediction, images/s"] = predicting = prediction(args, model, data)
        if args.profile:
            profile(args, model, data)
    rows["whole loop / ceiling, percent"] = 100 * loop / top
    rows["whole loop / plain loop"] = loop / reference
    used = loop * flops(model, args.size) / 1e12
    rows["model FLOP utilisation, percent"] = 100 * used / rows["bfloat16 matrix product, TFLOP/s"]
    if CUDA:
        rows["streamed / ceiling, percent"] = 100 * streamed / top
        rows["hours of params/paper.yaml, one card"] = table_hours(loop, predicting)
    form = "| {} | {} |" if args.markdown else "{:44}{:>12}"
    if args.markdown:
        print("| | |\n|---|---:|")
    for name, value in rows.items():
        print(form.format(name, f"{value:,.1f}" if value >= 10 else f"{value:.2g}"))


if __name__ == "__main__":
    main()
