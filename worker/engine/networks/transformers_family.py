"""Networks of transformers, by the model types of its configurations: encoders that classify.

transformers takes a second to load, and few trainers need it, so it is imported where it is used.
"""

from __future__ import annotations

import difflib
from functools import cache
from typing import Any

from torch import Tensor, nn

from stillhouse.errors import InputRejected
from stillhouse.spec import AnyInput, NetworkSpec, TextInput
from worker.engine.networks import options

_NAMES = (
    "albert", "bert", "camembert", "convbert", "deberta-v2", "distilbert", "electra", "mobilebert",
    "modernbert", "mpnet", "roberta", "xlm-roberta",
)  # fmt: skip
_REFUSED = frozenset({
    "_name_or_path", "architectures", "attn_implementation", "auto_map", "code_revision",
    "experts_implementation", "id2label", "label2id", "name_or_path", "num_labels",
    "output_attentions", "output_hidden_states", "problem_type", "pruned_heads",
    "quantization_config", "return_dict", "torchscript", "trust_remote_code", "use_return_dict",
})  # fmt: skip


def names() -> list[str]:
    """The model types that can be built: encoders with a head for classification."""
    return list(_NAMES)


def construct(spec: NetworkSpec, *, classes: int, fed: AnyInput, field: str) -> nn.Module:
    """Have transformers make the network, without looking for any weights.

    The network takes ids (batch, length) int64, -1 beyond each text's end, and gives logits; the
    names of its parameters are transformers' own.

    Args:
        spec: The network; its options are fields of the configuration.
        classes: Outputs.
        fed: Texts; no longer than the network has positions for.
        field: Where the specification stands in what the user sent.

    Returns:
        The network.

    Raises:
        InputRejected: `unknown_network`, `modality_differs`, `network_option_refused` or
            `text_too_long`.
    """
    if spec.name not in _NAMES:
        raise InputRejected(
            "unknown_network",
            f"There is no transformers network '{spec.name}'; there are {', '.join(_NAMES)}.",
            field=f"{field}.name",
            allowed=difflib.get_close_matches(spec.name, _NAMES, n=5) or list(_NAMES),
        )
    if not isinstance(fed, TextInput):
        options.refuse_modality(spec, fed, takes="text", field=field)
    given = {k: v for k, v in options.rest(spec).items() if k != "model_type"}
    refused = sorted(_REFUSED & given.keys())
    if refused:
        raise InputRejected(
            "network_option_refused",
            f"The option '{refused[0]}' is not taken from a specification; leave it out.",
            field=f"{field}.options.{refused[0]}",
        )
    config = configuration(spec.name, given, classes=classes)
    _check_positions(config, fed, field=field)
    from transformers import AutoModelForSequenceClassification  # noqa: PLC0415 - see above

    make: Any = AutoModelForSequenceClassification.from_config
    return taking_tokens(make(config))


def taking_tokens(network: nn.Module) -> nn.Module:
    """The same network, fed with ids that are -1 beyond each text's end, giving logits alone."""
    # Its class is changed rather than wrapped: a wrapper would stand in every parameter's name.
    network.__class__ = _taking_tokens(type(network))  # type: ignore[arg-type]  # it can be hashed
    return network


def configuration(name: str, given: dict[str, Any], *, classes: int) -> Any:
    """A transformers configuration of a model type."""
    from transformers import AutoConfig  # noqa: PLC0415 - see above

    return AutoConfig.for_model(name, num_labels=classes, **given)


def vocabulary(network: nn.Module) -> int:
    """How many tokens a network of this family knows."""
    config: Any = network.config
    return int(config.vocab_size)


def _check_positions(config: Any, fed: TextInput, *, field: str) -> None:
    positions = getattr(config, "max_position_embeddings", None)
    # RoBERTa's positions begin behind its padding token.
    spare = (config.pad_token_id or 0) + 1 if "roberta" in config.model_type else 0
    if config.model_type == "camembert":
        spare = (config.pad_token_id or 0) + 1
    if isinstance(positions, int) and 0 < positions < fed.max_length + spare:
        raise InputRejected(
            "text_too_long",
            f"The network has {positions} positions, and texts have up to {fed.max_length} tokens; "
            f"set input.max_length to {positions - spare} or less.",
            field=f"{field}.options.max_position_embeddings",
        )


class _Tokens:
    """Before a transformers network: the attention mask is read from the ids."""

    config: Any

    def forward(self, ids: Tensor) -> Tensor:
        """Logits (batch, classes) from ids (batch, length) int64, -1 beyond each text's end."""
        read = ids >= 0
        padded = ids.masked_fill(~read, self.config.pad_token_id or 0)
        forward: Any = super().forward  # type: ignore[misc]  # the other parent has it
        logits: Tensor = forward(input_ids=padded, attention_mask=read.long()).logits
        return logits


@cache
def _taking_tokens(kind: type[nn.Module]) -> type[nn.Module]:
    # Under its own name, which goes into config.json as the architecture.
    return type(kind.__name__, (_Tokens, kind), {"__module__": kind.__module__})
