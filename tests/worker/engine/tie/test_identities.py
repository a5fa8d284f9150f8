"""What the article's method must be equal to, to the last digit that floating point leaves."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stillhouse.errors import InputRejected
from stillhouse.spec import (
    AnyInput,
    InputSpec,
    NetworkSpec,
    ParameterRatio,
    SequenceInput,
    TeacherInit,
    TextInput,
)
from worker.engine import networks, tie
from worker.engine import teacher as teachers
from worker.engine.batch import Batch, Shown
from worker.engine.data import feed
from worker.engine.teacher import Teacher

CPU = torch.device("cpu")
IMAGE = InputSpec(size=(8, 8), channels="gray")
SERIES = SequenceInput(modality="sequence", length=16)
TEXT = TextInput(modality="text", max_length=8)
BERT = {
    "vocab_size": 30, "num_hidden_layers": 2, "max_position_embeddings": 16,
    "hidden_size": 32, "num_attention_heads": 4, "intermediate_size": 64,
}  # fmt: skip
VIT = {"patch_size": 4}
SMALL_BERT = BERT | {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 32}


def _build(name: str, fed: AnyInput = IMAGE, *, seed: int = 0, **options: Any) -> nn.Module:
    family: Any = "transformers" if name == "bert" else "timm" if "vit" in name else "builtin"
    torch.manual_seed(seed)
    spec = NetworkSpec(family=family, name=name, options=options)
    network = networks.build(spec, classes=5, fed=fed)
    with torch.no_grad():  # statistics of normalisation that differ from their first values
        if not isinstance(fed, TextInput):
            network.train()(torch.randn(feed.example(fed, 16).shape))
    return network


def _teacher(name: str, fed: AnyInput = IMAGE, *, seed: int = 1, **options: Any) -> Teacher:
    network = _build(name, fed, seed=seed, **options)
    family: Any = "transformers" if name == "bert" else "timm" if "vit" in name else "builtin"
    # A tokenizer is of no matter here, and a text's feed has none.
    plain = feed.make(IMAGE, device=CPU)
    return teachers.of_network(
        network,
        spec=NetworkSpec(family=family, name=name, options=options),
        fed=fed,
        feed=plain,
        id="tch_1",
    )


def _init(**fields: Any) -> TeacherInit:
    return TeacherInit.model_validate({"kind": "from_teacher"} | fields)


def _batch(network: nn.Module, x: Tensor, labels: Tensor) -> Batch:
    shown = Shown(x, torch.arange(len(x)), labels)
    return Batch(shown, network(x), {}, network, None)


def _train(
    network: nn.Module, *, pull: nn.Module | None = None, decay: float = 0.0, weight: float = 0.1,
    center: dict[str, Tensor] | None = None, steps: int = 10,
) -> dict[str, Tensor]:  # fmt: skip
    """Labels with a pull, with weight decay, or with L2-SP written by hand."""
    torch.manual_seed(2)
    x, labels = torch.randn(16, 1, 8, 8), torch.randint(0, 5, (16,))
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9, weight_decay=decay)
    for _ in range(steps):
        batch = _batch(network, x, labels)
        loss = F.cross_entropy(batch.logits, labels)
        if pull is not None:
            loss = loss + weight * pull(batch)
        for name, value in (center or {}).items():
            loss = loss + weight / 2 * (network.get_parameter(name) - value).square().sum()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        optimizer.step()
    return {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}


def _pull(ratio: float, student: nn.Module, teacher: Teacher, **more: Any) -> tie.Pull:
    spec = ParameterRatio.model_validate({"kind": "parameter_ratio", "ratio": ratio} | more)
    return tie.term(spec, student, teacher, fed=IMAGE, field="objective.0")


def _equal(one: dict[str, Tensor], other: dict[str, Tensor], *, within: float) -> bool:
    return all(torch.allclose(one[name], other[name], atol=within, rtol=0) for name in one)


def test_at_ratio_one_it_is_l2_sp_step_for_step() -> None:
    teacher = _teacher("mlp", hidden=[16, 8])
    ours, theirs = _build("mlp", hidden=[16, 8]), _build("mlp", hidden=[16, 8])
    center = {name: p.detach().clone() for name, p in teacher.body.named_parameters()}
    pulled = _train(ours, pull=_pull(1.0, ours, teacher))
    assert _equal(pulled, _train(theirs, center=center), within=1e-6)
    assert not _equal(pulled, _train(_build("mlp", hidden=[16, 8])), within=1e-3)


def test_at_a_large_ratio_it_is_weight_decay_step_for_step() -> None:
    teacher = _teacher("mlp", hidden=[16, 8])
    ours, theirs = _build("mlp", hidden=[16, 8]), _build("mlp", hidden=[16, 8])
    pulled = _train(ours, pull=_pull(1e6, ours, teacher))
    assert _equal(pulled, _train(theirs, decay=0.1), within=1e-5)


def test_the_pull_is_a_sum_and_leaves_normalisation_free() -> None:
    teacher, student = _teacher("resnet8"), _build("resnet8")
    pull = _pull(2.0, student, teacher)
    assert not any(".bn" in name or "downsample.1" in name for name in pull.names)
    expected = sum(
        (student.get_parameter(name) - teacher.body.get_parameter(name) / 2).square().sum() / 2
        for name in pull.names
    )
    found = pull(_batch(student, torch.randn(2, 1, 8, 8), torch.zeros(2, dtype=torch.int64)))
    assert torch.allclose(found, torch.as_tensor(expected), rtol=1e-5)


def test_a_ratio_divides_the_logits_of_a_network_without_biases_by_its_power() -> None:
    def bare(seed: int) -> nn.Module:
        network = _build("mlp", seed=seed, hidden=[16, 8])
        with torch.no_grad():
            for name, parameter in network.named_parameters():
                if name.endswith("bias"):
                    parameter.zero_()
        return network

    teacher = _teacher("mlp", hidden=[16, 8])
    teacher.body.load_state_dict(bare(1).state_dict())
    student = bare(0)
    tie.initialise(student, teacher, _init(ratio=2.0), fed=IMAGE, field="students.0.init")
    x = torch.randn(4, 1, 8, 8)
    with torch.no_grad():
        scaled, whole = student.eval()(x), teacher.body(x)
    assert torch.allclose(scaled * 2**3, whole, rtol=1e-5)  # three layers


@pytest.mark.parametrize("ratio", [1.0, 2.0])
def test_the_same_architecture_with_batch_norm_keeps_its_function_at_any_ratio(
    ratio: float,
) -> None:
    """Normalisation hides the scale of what is before it; only the head's is left."""
    teacher, student = _teacher("resnet8"), _build("resnet8")
    init = _init(ratio=ratio, exclude=["fc.*"])
    tie.initialise(student, teacher, init, fed=IMAGE, field="students.0.init")
    x = torch.randn(4, 1, 8, 8)
    with torch.no_grad():
        student.eval()
        head = teacher.body.get_submodule("fc")
        student.get_submodule("fc").load_state_dict(head.state_dict())
        assert torch.allclose(student(x), teacher.body(x), atol=1e-3)


CASES = [
    ("resnet20", {"width": 0.5}, "resnet8", {"width": 0.25}, IMAGE),
    ("resnet8x4", {"width": 0.25}, "resnet8", {"width": 0.5}, IMAGE),
    ("wrn_16_2", {"width": 0.25}, "wrn_16_1", {"width": 0.25}, IMAGE),
    ("vgg13", {"width": 0.1}, "vgg8", {"width": 0.05}, IMAGE),
    ("mlp", {"hidden": [32, 16]}, "mlp", {"hidden": [16, 8]}, IMAGE),
    ("conv1d", {"width": 16}, "conv1d", {"width": 8, "blocks": 1}, SERIES),
    ("bert", BERT, "bert", SMALL_BERT | {"num_hidden_layers": 1}, TEXT),
    (
        "vit_tiny_patch16_224", VIT | {"depth": 2, "embed_dim": 48, "num_heads": 4},
        "vit_tiny_patch16_224", VIT | {"depth": 1, "embed_dim": 24, "num_heads": 2}, IMAGE,
    ),
]  # fmt: skip


@pytest.mark.parametrize("layers", ["first", "even"])
@pytest.mark.parametrize("case", CASES)
def test_every_tensor_of_a_smaller_student_comes_from_the_teacher(
    case: tuple[str, dict[str, Any], str, dict[str, Any], AnyInput], layers: str
) -> None:
    large, wide, small, narrow, fed = case
    teacher, student = _teacher(large, fed, **wide), _build(small, fed, **narrow)
    before = {name: tensor.clone() for name, tensor in student.state_dict().items()}
    tie.initialise(student, teacher, _init(layers=layers), fed=fed, field="students.0.init")
    values = torch.cat([t.flatten().float() for t in teacher.body.state_dict().values()])
    for name, tensor in student.state_dict().items():
        if not tensor.is_floating_point():
            continue
        assert torch.isin(tensor.flatten(), values).all(), name
        constant = bool((before[name] == before[name].flatten()[0]).all())
        assert constant or not torch.equal(tensor, before[name]), name


def test_a_teacher_of_doubled_channels_gives_the_small_network_back() -> None:
    """Index floor(i n / m) takes every second channel, so a network doubled that way returns."""
    small = _build("mlp", hidden=[6, 4], seed=3)
    teacher = _teacher("mlp", hidden=[12, 8])
    doubled = {name: _double(tensor, name) for name, tensor in small.state_dict().items()}
    teacher.body.load_state_dict(doubled)
    student = _build("mlp", hidden=[6, 4])
    tie.initialise(student, teacher, _init(), fed=IMAGE, field="students.0.init")
    for name, tensor in student.state_dict().items():
        assert torch.equal(tensor, small.state_dict()[name]), name


def _double(tensor: Tensor, name: str) -> Tensor:
    """Each hidden unit twice; pixels and classes stay."""
    if not name.startswith("head"):
        tensor = tensor.repeat_interleave(2, dim=0)
    if tensor.ndim == 2 and not name.startswith("body.1"):
        tensor = tensor.repeat_interleave(2, dim=1)
    return tensor


@pytest.mark.parametrize("kind", ["sgd", "adamw"])
def test_held_tensors_are_equal_to_the_last_bit_after_training(kind: str) -> None:
    network = _build("resnet8")
    held = tie.hold(_init(hold=["layer1.*", "bn1.running_mean"]), network, field="init")
    first = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    parameters = list(network.parameters())
    optimizer: torch.optim.Optimizer = (
        torch.optim.SGD(parameters, lr=0.1, momentum=0.9, weight_decay=0.1)
        if kind == "sgd"
        else torch.optim.AdamW(parameters, lr=0.01, weight_decay=0.1)
    )
    x, labels = torch.randn(8, 1, 8, 8), torch.arange(8) % 5
    for _ in range(20):
        optimizer.zero_grad()
        F.cross_entropy(network.train()(x), labels).backward()  # type: ignore[no-untyped-call]  # as above
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        held.restore(network)
    after = network.state_dict()
    assert {name.split(".")[0] for name in held.values} == {"layer1", "bn1"}
    assert all(torch.equal(after[name], first[name]) for name in held.values)
    assert not torch.equal(after["layer2.0.conv1.weight"], first["layer2.0.conv1.weight"])


def test_a_small_teacher_grows_into_its_place_in_a_large_student() -> None:
    teacher, student = _teacher("mlp", hidden=[6, 4]), _build("mlp", hidden=[12, 8])
    before = student.get_parameter("head.weight").detach().clone()
    tie.initialise(
        student, teacher, _init(direction="grow", ratio=3.0), fed=IMAGE, field="students.0.init"
    )
    after, theirs = student.get_parameter("head.weight"), teacher.body.get_parameter("head.weight")
    assert torch.allclose(after[:, ::2], theirs * 3)
    assert torch.equal(after[:, 1::2], before[:, 1::2])


def test_the_ratio_and_the_cosine_of_two_networks_are_measured() -> None:
    teacher, student = _teacher("mlp", hidden=[16, 8]), _build("mlp", hidden=[8, 4])
    tie.initialise(student, teacher, _init(ratio=1.7), fed=IMAGE, field="students.0.init")
    found = tie.measure(student, teacher, fed=IMAGE)
    assert found is not None
    assert found["lambda"] == pytest.approx(1.7)
    assert found["cosine"] == pytest.approx(1.0)
    apart = tie.measure(_build("mlp", hidden=[8, 4]), teacher, fed=IMAGE)
    assert apart is not None
    assert apart["cosine"] == pytest.approx(0.0, abs=0.2)


@pytest.mark.parametrize(
    ("large", "small", "options"),
    [
        ("resnet8", "resnet8x4", {}),  # a wider student
        ("resnet8", "resnet20", {}),  # a deeper one
        ("mlp", "resnet8", {}),  # another family
    ],
)
def test_a_student_without_counterparts_is_refused_with_their_names(
    large: str, small: str, options: dict[str, Any]
) -> None:
    teacher, student = _teacher(large), _build(small)
    with pytest.raises(InputRejected) as refused:
        tie.initialise(student, teacher, _init(**options), fed=IMAGE, field="students.0.init")
    assert refused.value.field is not None
    assert refused.value.field.startswith("students.0.init")
    assert refused.value.rejected_code in ("tensor_without_counterpart", "student_wider")


def test_an_excluded_tensor_stays_as_it_was_drawn() -> None:
    teacher, student = _teacher("mlp", hidden=[16, 8]), _build("mlp", hidden=[8, 4])
    before = student.get_parameter("head.weight").detach().clone()
    tie.initialise(student, teacher, _init(exclude=["head.*"]), fed=IMAGE, field="students.0.init")
    assert torch.equal(student.get_parameter("head.weight"), before)


def test_a_pattern_that_holds_nothing_is_refused() -> None:
    with pytest.raises(InputRejected) as refused:
        tie.hold(_init(hold=["layer9.*"]), _build("resnet8"), field="students.0.init")
    assert refused.value.field == "students.0.init.hold.0"


def test_statistics_are_estimated_anew_on_request() -> None:
    teacher, student = _teacher("resnet8"), _build("resnet8")
    batches = [torch.randn(32, 1, 8, 8) for _ in range(3)]
    init = _init(ratio=4.0, statistics="estimate")
    tie.initialise(student, teacher, init, fed=IMAGE, batches=batches, field="students.0.init")
    conv = student.get_submodule("conv1")
    with torch.no_grad():
        means = torch.stack([conv(x).mean(dim=(0, 2, 3)) for x in batches]).mean(0)
    assert torch.allclose(student.get_buffer("bn1.running_mean"), means, atol=1e-5)
