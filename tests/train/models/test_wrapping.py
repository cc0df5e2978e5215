"""Starting weights in the forms in which scripts save them: bitwise what was wrapped, or a choice to make."""

import pytest
import torch
from safetensors.torch import save_file
from torch.optim.swa_utils import AveragedModel
from torchvision.models import resnet18

from csg_train.errors import UserError
from csg_train.models.backbones import Backbone
from csg_train.models.weights import build_backbone, load_weights
from csg_train.models.wrapping import unprefixed
from csg_train.recipes.reading import load_recipe
from csg_train.runs.importing import import_file
from tests.commands import assert_user_error, command
from tests.narrow import Narrow
from tests.survival import tiny


@pytest.fixture
def net() -> torch.nn.Module:
    torch.manual_seed(5)
    return tiny.build()


def prefixed(prefix: str, net: torch.nn.Module) -> dict:
    return {prefix + name: value for name, value in net.state_dict().items()}


FORMS = {
    "plain": lambda net: net.state_dict(),
    "DataParallel": lambda net: torch.nn.DataParallel(net).state_dict(),
    "compile": lambda net: torch.compile(net).state_dict(),
    "both": lambda net: torch.nn.DataParallel(torch.compile(net)).state_dict(),
    "Lightning": lambda net: {"state_dict": prefixed("model.", net), "epoch": 3, "hyper_parameters": {"lr": 0.1}},
    "Lightning, another name": lambda net: {"state_dict": prefixed("net.backbone.", net)},
    "state_dict": lambda net: {"state_dict": net.state_dict(), "epoch": 3},
    "model": lambda net: {"model": prefixed("module.", net), "args": {"a": 1}},
    "model_state_dict": lambda net: {"model_state_dict": net.state_dict(), "loss": 0.5},
    "nested": lambda net: {"model": {"state_dict": net.state_dict(), "step": 7}},
    "AveragedModel": lambda net: AveragedModel(net).state_dict(),
    "model_ema": lambda net: {"model_ema": AveragedModel(torch.nn.DataParallel(net)).state_dict()},
    "state_dict_ema": lambda net: {"state_dict_ema": net.state_dict(), "metric": 3.0},
    "ema": lambda net: {"ema": prefixed("module.", net)},
}


@pytest.mark.parametrize("form", FORMS)
def test_starting_weights_are_those_that_were_wrapped(form, net, tmp_path):
    path, backbone = tmp_path / "w.pt", Backbone(tiny.SPEC)
    torch.save(FORMS[form](net), path)
    load_weights(backbone, "tiny", path)
    assert all(torch.equal(value, net.state_dict()[name]) for name, value in backbone.net.state_dict().items())


@pytest.mark.parametrize("prefix", ["", "module."])
def test_safetensors_are_read_whatever_the_file_is_called(prefix, net, tmp_path):
    for name in ("w.safetensors", "w.pt"):
        backbone = Backbone(tiny.SPEC)
        save_file(prefixed(prefix, net), tmp_path / name, metadata={"format": "pt"})
        load_weights(backbone, "tiny", tmp_path / name)
        assert all(torch.equal(value, net.state_dict()[key]) for key, value in backbone.net.state_dict().items())


def test_an_export_of_the_whole_network_is_called_by_its_name(tmp_path):
    """The advice was to save its tensors under other names, though the file is measured as it is."""
    head = {"head.0.weight": torch.zeros(1)}
    save_file(prefixed("backbone.net.", Narrow()) | head, tmp_path / "model.safetensors")
    with pytest.raises(UserError, match="a checkpoint of csg-train, not weights of a backbone; measure it without"):
        build_backbone("resnet18", tmp_path / "model.safetensors")


def test_names_of_the_network_itself_are_no_prefix(net):
    own = prefixed("model.", net)
    assert unprefixed(own, own) is own
    assert [*unprefixed({f"module.{name}": 0 for name in own}, own)] == [*own]


def test_of_two_state_dicts_the_user_chooses_one(recipe_file, tmp_path):
    last, mean = Narrow(), Narrow()
    path, out = tmp_path / "both.pt", tmp_path / "mean.pt"
    torch.save({"model": last.state_dict(), "model_ema": AveragedModel(mean).state_dict()}, path)
    result = command("csg-train", "run", recipe_file, "--weights", path, "--out", "o", cwd=tmp_path)
    assert_user_error(result, "(model, model_ema)", "csg-train import", "--field NAME", "--weights NEW.pt")
    assert not (tmp_path / "o" / "log.jsonl").exists()
    options = ("--kind", "torchvision", "--set", "model.backbone=resnet18", "--out", out)
    result = command("csg-train", "import", path, *options, cwd=tmp_path)
    assert_user_error(result, "(model, model_ema)", "--field NAME")
    result = command("csg-train", "import", path, *options, "--field", "ema", cwd=tmp_path)
    assert_user_error(result, "'ema'", "there is model, model_ema")
    assert not out.exists()


def test_the_chosen_field_is_imported_and_the_other_named(tmp_path):
    path, out = tmp_path / "both.pt", tmp_path / "mean.pt"
    mean = resnet18()
    torch.save({"model": resnet18().state_dict(), "model_ema": AveragedModel(mean).state_dict()}, path)
    recipe = load_recipe("visda17-resnet101", ("model.backbone=resnet18",))
    lines = import_file(path, "torchvision", recipe, out, field="model_ema")
    assert "left out: model, n_averaged (fields beside the state dict)" in lines
    made = torch.load(out, weights_only=True)
    assert all(torch.equal(made[name], value) for name, value in mean.state_dict().items())


def itself(state):
    state["model"] = state
    return state


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        (
            lambda state: {
                f"encoder_q.{name}": value for name, value in {**state, "fc_new.0.weight": state["fc.weight"]}.items()
            },
            "csg-train import .* --kind csg",
        ),
        (
            lambda state: {f"module.encoder_{side}.{name}": value for side in "qk" for name, value in state.items()},
            r"begin with 'encoder_q\.', and \d+ others \(encoder_k\..*\); save it alone",  # MoCo's
        ),
        (
            lambda state: {name: value for name, value in state.items() if "num_batches" not in name},
            "without layer1.1.num_batches_tracked; fill it in: csg-train import .* --kind torchvision",
        ),
        (
            lambda state: {f"model.{name}": value for name, value in state.items()} | {"loss.weight": torch.ones(3)},
            r"begin with 'model\.', and 1 others \(loss\.weight\); save it alone, each name without 'model\.'",
        ),
        (lambda state: dict(enumerate(state.values())), "not a state dict of tensors"),
        (itself, "its state dict lies deeper than 8 fields, or in itself"),
    ],
)
def test_what_cannot_be_taken_says_what_to_do(change, parts, net, tmp_path):
    torch.save(change(net.state_dict()), tmp_path / "w.pt")
    with pytest.raises(UserError, match=parts):
        load_weights(Backbone(tiny.SPEC), "tiny", tmp_path / "w.pt")
