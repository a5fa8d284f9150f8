from __future__ import annotations

import copy
from pathlib import Path

import pytest
import safetensors.torch
import torch

from stillhouse.errors import InputRejected
from tests.worker.conftest import CLASSES, CPU, RESNET, Lab
from worker.engine import features, teacher

INPUTS = torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))


def test_a_teacher_is_asked_in_eval_mode_and_without_gradients(lab: Lab) -> None:
    loaded = teacher.load(lab.teacher(RESNET), classes=10, device=CPU)
    assert not loaded.network.training
    assert not any(parameter.requires_grad for parameter in loaded.network.parameters())


def test_outputs_stand_in_the_class_order_of_the_dataset(lab: Lab) -> None:
    plain = teacher.load(lab.teacher(), classes=10, device=CPU)
    order = [3, 1, 2, 0, 9, 8, 7, 6, 5, 4]
    turned = teacher.load(lab.teacher(class_order=order), classes=10, device=CPU)
    assert torch.equal(turned.network(INPUTS), plain.network(INPUTS)[:, order])


def test_a_teacher_of_more_classes_gives_those_of_the_dataset(lab: Lab) -> None:
    some = teacher.load(lab.teacher(class_order=[4, 2, 7]), classes=3, device=CPU)
    assert some.network(INPUTS).shape == (4, 3)


def test_another_number_of_classes_without_names_is_refused(lab: Lab) -> None:
    with pytest.raises(InputRejected) as refused:
        teacher.load(lab.teacher(), classes=9, device=CPU)
    assert refused.value.rejected_code == "class_count_differs"


def test_an_unnamed_teacher_has_the_classes_that_its_options_say(lab: Lab) -> None:
    network = RESNET | {"options": {"num_classes": 10}}
    files = lab.teacher(network, classes=None)
    assert teacher.load(files, classes=10, device=CPU).network(INPUTS).shape == (4, 10)
    with pytest.raises(InputRejected, match="10 outputs"):
        teacher.load(files, classes=9, device=CPU)


def test_weights_of_another_network_name_the_tensors_that_differ(lab: Lab) -> None:
    files = lab.teacher(RESNET)
    other = {"family": "builtin", "name": "resnet8x4", "options": {}}
    with pytest.raises(InputRejected) as refused:
        teacher.load({**files, "network": other}, classes=10, device=CPU)
    assert refused.value.rejected_code == "teacher_mismatch"
    tensors = refused.value.extra["tensors"]
    named = tensors["missing"] + tensors["extra"] + tensors["shape"]
    assert "layer1.0.downsample.0.weight" in tensors["missing"]
    assert "conv1.weight" in named
    assert len(named) == 20
    assert tensors["total"] > 20


def test_counters_that_old_checkpoints_lack_are_not_missed(lab: Lab) -> None:
    files = lab.teacher(RESNET)
    weights = safetensors.torch.load_file(str(files["weights"]))
    whole = teacher.load(files, classes=10, device=CPU).network(INPUTS)
    kept = {k: v for k, v in weights.items() if not k.endswith("num_batches_tracked")}
    assert len(kept) < len(weights)
    safetensors.torch.save_file(kept, Path(str(files["weights"])))
    again = teacher.load(files, classes=10, device=CPU).network(INPUTS)
    assert torch.equal(again, whole)
    assert len(CLASSES) == again.shape[1]


def test_layers_keep_their_names_where_classes_are_put_in_order(lab: Lab) -> None:
    order = [3, 1, 2, 0, 9, 8, 7, 6, 5, 4]
    turned = teacher.load(lab.teacher(class_order=order), classes=10, device=CPU)
    with features.capture(turned.body, ("head",)) as seen:
        outputs = turned.network(INPUTS)
    assert torch.equal(outputs, seen["head"][:, order])


def test_a_network_in_memory_becomes_a_teacher_that_learns_no_more(lab: Lab) -> None:
    loaded = teacher.load(lab.teacher(RESNET), classes=10, device=CPU)
    network = copy.deepcopy(loaded.network).requires_grad_(requires_grad=True).train()
    made = teacher.of_network(
        network, spec=loaded.spec, fed=loaded.input, feed=loaded.feed, id="stage"
    )
    assert torch.equal(made.network(INPUTS), loaded.network(INPUTS))
    assert not any(parameter.requires_grad for parameter in made.network.parameters())
