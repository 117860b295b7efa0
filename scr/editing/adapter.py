"""Where a decoder-only transformers model keeps what editors change, found by structure.

Nothing here looks at a model's name or path: the decoder layers are the list of modules as long as
the configuration says, a layer's MLP is its child that maps hidden states alone, and its value
matrix the last projection to the hidden width; a run over two tokens checks all of it.
"""

import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from scr.errors import ModelNotEditable

if TYPE_CHECKING:
    from torch import Tensor, nn


class Shape(NamedTuple):
    """What defaults are chosen by."""

    family: str
    """`model_type` of the configuration."""

    depth: int
    """Number of decoder layers."""

    width: int
    """Width `d` of the residual stream."""


class ModelAdapter:
    """One loaded model as editors see it.

    Args:
        model: a causal language model of the transformers library.

    Raises:
        ModelNotEditable: if it is quantized, lies on several devices, or is not built of decoder
            layers with an MLP that ends in one projection.
    """

    def __init__(self, model: Any) -> None:
        self.model = model
        _check_storage(model)
        config = model.config.get_text_config()
        self.shape = Shape(config.model_type, config.num_hidden_layers, config.hidden_size)
        self.layers: Sequence[nn.Module] = _decoder_layers(model, self.shape)
        self.mlps = [_mlp(layer, self.shape.width) for layer in self.layers]
        self.projections = [_last_projection(mlp, self.shape.width) for mlp in self.mlps]
        self._names = {id(module): name for name, module in model.named_modules()}
        self.returns_tuples = False
        """Whether decoder layers return tuples, as GPT-J's do."""
        self._probe()

    @property
    def depth(self) -> int:
        """Number of decoder layers."""
        return len(self.layers)

    @property
    def device(self) -> Any:
        """Where the model lies."""
        return self.model.device

    @property
    def max_length(self) -> int:
        """Most tokens the model reads at once."""
        config = self.model.config.get_text_config()
        return int(getattr(config, "max_position_embeddings", None) or 2**31)

    @property
    def head(self) -> "nn.Module":
        """The module that turns hidden states into logits."""
        module: nn.Module = self.model.get_output_embeddings()
        return module

    def weight_name(self, module: "nn.Module") -> str:
        """Return the name of a module's weight among the model's parameters."""
        return f"{self._names[id(module)]}.weight"

    def check_layers(self, layers: Sequence[int]) -> None:
        """Check that layers exist, in increasing order.

        Raises:
            ModelNotEditable: if not.
        """
        if not layers or list(layers) != sorted(set(layers)):
            raise ModelNotEditable(f"layers {list(layers)} must be different and in rising order")
        if layers[0] < 0 or layers[-1] >= self.depth:
            raise ModelNotEditable(
                f"layers {list(layers)}: this model has layers 0 to {self.depth - 1}; "
                "give others with `layers`"
            )

    def mlp_matrices(self, layers: Sequence[int]) -> "list[nn.Module]":
        """Return all projections in the MLPs of some layers, from below.

        Raises:
            ModelNotEditable: if the model has no such layers.
        """
        self.check_layers(layers)
        return [m for layer in layers for m in self.mlps[layer].modules() if is_projection(m)]

    def linears(self, layer: int) -> dict[str, "nn.Module"]:
        """Return the projections of one decoder layer, by their names inside it."""
        return {
            name: module
            for name, module in self.layers[layer].named_modules()
            if is_projection(module)
        }

    def _probe(self) -> None:
        """Run two tokens: is the last projection the MLP's output, and is that added as it is?"""
        import torch

        layer = self.depth // 2
        seen: dict[str, Tensor] = {}

        def keep(name: str) -> Any:
            def hook(module: Any, args: Any, output: Any) -> None:
                seen[name] = tensor_of(output).detach()
                if name == "layer":
                    self.returns_tuples = isinstance(output, tuple)

            return hook

        shift = None

        def add(module: Any, args: Any, output: Any) -> Any:
            return output if shift is None else output + shift

        ids = torch.zeros((1, 2), dtype=torch.long, device=self.device)
        with evaluating(self.model), torch.no_grad():
            handles = [
                self.projections[layer].register_forward_hook(keep("projection")),
                self.mlps[layer].register_forward_hook(keep("mlp")),
                self.mlps[layer].register_forward_hook(add),
                self.layers[layer].register_forward_hook(keep("layer")),
            ]
            try:
                self.model(input_ids=ids, use_cache=False)
                if "projection" not in seen or not torch.equal(seen["projection"], seen["mlp"]):
                    raise ModelNotEditable(
                        f"the MLP of {type(self.layers[layer]).__name__} does not end in one "
                        "projection, so there is no matrix that maps keys to values"
                    )
                before = seen["layer"].double()
                ramp = torch.linspace(-3, 5, self.shape.width, device=self.device)  # no norm's unit
                shift = (ramp * (1 + seen["mlp"].abs().max())).expand_as(seen["mlp"])
                shift = shift.to(seen["mlp"].dtype)
                self.model(input_ids=ids, use_cache=False)
            finally:
                for handle in handles:
                    handle.remove()
        gain = seen["layer"].double() - before
        wanted = shift.double()
        self.additive = bool((gain - wanted).norm() < 0.05 * wanted.norm())
        """Whether a change of the MLP's output is added unchanged to the residual stream; false
        where a norm comes after the MLP, as in Gemma 2 and 3."""


def is_projection(module: Any) -> bool:
    """Return whether a module is a plain matrix, `Linear` or GPT-2's `Conv1D`."""
    from torch import nn
    from transformers.pytorch_utils import Conv1D

    return type(module) in (nn.Linear, Conv1D)


def is_transposed(module: Any) -> bool:
    """Return whether a module stores its matrix as `(in, out)`: by type, never by shape."""
    from transformers.pytorch_utils import Conv1D

    return isinstance(module, Conv1D)


def read_matrix(module: Any) -> "Tensor":
    """Return the `(out, in)` matrix of a projection, a view of its weight."""
    weight: Tensor = module.weight.detach()
    return weight.T if is_transposed(module) else weight


def stored(module: Any, matrix: "Tensor") -> "Tensor":
    """Return an `(out, in)` matrix in the orientation of a projection's weight."""
    return matrix.T if is_transposed(module) else matrix


def tensor_of(output: Any) -> "Tensor":
    """Return the hidden states of a layer's output: GPT-J's layers return tuples."""
    first: Tensor = output[0] if isinstance(output, tuple) else output
    return first


def in_place_of(output: Any, states: "Tensor") -> Any:
    """Return a layer's output with other hidden states, in the same container."""
    return (states, *output[1:]) if isinstance(output, tuple) else states


@contextmanager
def evaluating(model: Any) -> Iterator[None]:
    """Switch dropout off and gradients of all parameters off; put both back."""
    modes = {module: module.training for module in model.modules()}
    flags = {parameter: parameter.requires_grad for parameter in model.parameters()}
    model.eval()
    model.requires_grad_(False)
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode
        for parameter, flag in flags.items():
            parameter.requires_grad_(flag)


def _check_storage(model: Any) -> None:
    if getattr(model, "quantization_method", None) or getattr(
        model.config, "quantization_config", None
    ):
        raise ModelNotEditable(
            "the model is quantized, and its weights cannot take small changes: load it in "
            "bfloat16 or float32"
        )
    devices = {str(parameter.device) for parameter in model.parameters()}
    if len(devices) > 1 or "meta" in devices:
        raise ModelNotEditable(
            f"the model lies on {', '.join(sorted(devices))}: load it whole on one device"
        )
    for name, parameter in model.named_parameters():
        if type(parameter).__name__ == "DTensor" or hasattr(parameter, "placements"):
            raise ModelNotEditable(f"{name} is sharded over processes: load the model unsharded")
        if not parameter.dtype.is_floating_point or parameter.dtype.itemsize < 2:
            raise ModelNotEditable(
                f"{name} is stored as {parameter.dtype}: load the model in bfloat16 or float32"
            )


def _decoder_layers(model: Any, shape: Shape) -> Sequence["nn.Module"]:
    from torch import nn

    found = [
        module
        for module in model.modules()
        if isinstance(module, nn.ModuleList)
        and len(module) == shape.depth
        # a mixture's experts are a list too; a decoder layer has more than one branch
        and any(_maps_states(child) for child in module[0].children())
    ]
    if not found:
        raise ModelNotEditable(
            f"{type(model).__name__} has no list of {shape.depth} decoder layers with an MLP"
        )
    return list(found[0])


def _maps_states(module: Any) -> bool:
    """Return whether a module holds matrices and takes nothing but hidden states."""
    if is_projection(module) or not any(is_projection(m) for m in module.modules()):
        return False
    return len(inspect.signature(module.forward).parameters) == 1


def _mlp(layer: Any, width: int) -> "nn.Module":
    found = [child for child in layer.children() if _maps_states(child)]
    if len(found) != 1:
        raise ModelNotEditable(
            f"{type(layer).__name__} has {len(found)} MLPs where editors need one "
            "(mixtures of experts and encoder-decoder layers cannot be edited)"
        )
    module: nn.Module = found[0]
    return module


def _last_projection(mlp: Any, width: int) -> "nn.Module":
    found = [
        module
        for module in mlp.modules()
        if is_projection(module) and read_matrix(module).shape[0] == width
    ]
    if not found:
        raise ModelNotEditable(
            f"{type(mlp).__name__} has no plain projection to the width of the model "
            "(adapters and quantized layers cannot be edited: merge or unload them first)"
        )
    module: nn.Module = found[-1]
    return module
