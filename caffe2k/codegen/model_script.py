"""model.py: the program as the text of build_model, losses and metrics."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from caffe2k.codegen.literals import call_text, comment, literal, prose
from caffe2k.codegen.names import Names, keras_name, python_name
from caffe2k.codegen.program import (
    Call,
    KerasLayer,
    ModelInput,
    Program,
    Step,
    Target,
    Tensor,
    Term,
)
from caffe2k.codegen.stubs import LAYERS
from caffe2k.codegen.templates import render

_LONG = 50
_RESERVED = {
    "x",
    "keras",
    "layers",
    "initializers",
    "model",
    "losses",
    "metrics",
    LAYERS,
}


@dataclass(frozen=True)
class ModelScript:
    """The whole context of templates/model.py.j2."""

    title: str
    source: str
    keras_modules: list[str]
    has_stubs: bool
    runtime_imports: list[tuple[str, list[str]]]
    initializers: list[tuple[str, str]]
    """Name and expression of each long initializer that is used again and again."""
    body: list[str]
    losses: str | None
    loss_comments: list[str]
    loss_weights: str | None
    metrics: str | None
    metric_comments: list[str]


def model_script(program: Program, source: str) -> str:
    """The text of model.py; `source` names the prototxt that it comes from."""
    modules, runtime_imports, has_stubs = _imports(program)
    repeated = _repeated_initializers(program)
    names = {call: f"{name}()" for name, call in repeated.items()}
    if program.is_chain:
        body = _sequential(program, names)
    else:
        body = _Functional(program, names, set(repeated)).body()
    script = ModelScript(
        title=prose(program.name) or "the net",
        source=prose(source),
        keras_modules=modules,
        has_stubs=has_stubs,
        runtime_imports=runtime_imports,
        initializers=[(name, call_text(call)) for name, call in repeated.items()],
        body=list(body),
        losses=_losses(program),
        loss_comments=_comments(program.losses),
        loss_weights=_loss_weights(program),
        metrics=_metrics(program),
        metric_comments=_comments(program.metrics),
    )
    return render("model.py.j2", script)


def _imports(program: Program) -> tuple[list[str], list[tuple[str, list[str]]], bool]:
    """The modules of Keras, the runtime's classes, and whether there are stubs."""
    targets: set[Target] = set()
    for call in program.calls():
        targets.update(call.targets())
    stubs = {target for target in targets if target.module == LAYERS}
    others = (t for t in targets - stubs if not t.is_runtime)
    modules = {target.module.rpartition(".")[2] for target in others}
    runtime: dict[str, set[str]] = {}
    for target in targets:
        if target.is_runtime:
            runtime.setdefault(target.module, set()).add(target.name)
    classes = [(module, sorted(runtime[module])) for module in sorted(runtime)]
    return sorted(modules), classes, bool(stubs)


def _repeated_initializers(program: Program) -> dict[str, Call]:
    """Long initializers that several layers have, by the name of a function for each.

    A function, because one initializer object draws the same values for every layer.
    """
    uses = Counter(
        value
        for layer in program.layers()
        for key, value in layer.call.kwargs
        if key.endswith("initializer") and isinstance(value, Call)
    )
    names = Names()
    return {
        names.claim("msra" if call.target.name == "VarianceScaling" else "filler"): call
        for call, number in uses.items()
        if number > 1 and len(call_text(call)) > _LONG
    }


def _input_text(model_input: ModelInput) -> str:
    shape = literal(tuple(model_input.shape[1:]))
    return f"keras.Input({shape}, name={literal(model_input.name)})"


def _sequential(program: Program, names: dict[Call, str]) -> Iterator[str]:
    (model_input,) = program.inputs
    yield f"model = keras.Sequential(name={literal(keras_name(program.name))})"
    yield from map(comment, model_input.comments)
    yield f"model.add({_input_text(model_input)})"
    for step in program.steps:
        yield from map(comment, step.comments)
        yield f"model.add({call_text(step.layer.call, step.layer.name, names)})"
    yield "return model"


class _Functional:
    """Statements of a functional model: `x` along a chain, a name at a branch."""

    def __init__(
        self, program: Program, calls: dict[Call, str], functions: set[str]
    ) -> None:
        self.program = program
        self.calls = calls
        imported = {t.name for call in program.calls() for t in call.targets()}
        self.names = Names(_RESERVED | imported | functions)
        self.variables: dict[Tensor, str] = {}
        self.layers: dict[KerasLayer, str] = {}
        self.readers = _readers(program)
        self.uses = Counter(step.layer for step in program.steps)

    def body(self) -> Iterator[str]:
        program = self.program
        for model_input in program.inputs:
            variable = self._name(model_input.tensor)
            yield from map(comment, model_input.comments)
            yield f"{variable} = {_input_text(model_input)}"
        for index, step in enumerate(program.steps):
            yield from map(comment, step.comments)
            yield from self._step(index, step)
        inputs = [self.variables[i.tensor] for i in program.inputs]
        given = inputs[0] if len(inputs) == 1 else f"[{', '.join(inputs)}]"
        name = literal(keras_name(program.name))
        yield f"return keras.Model({given}, {self._outputs()}, name={name})"

    def _step(self, index: int, step: Step) -> Iterator[str]:
        inputs = [self.variables[t] for t in step.inputs]
        given = inputs[0] if len(inputs) == 1 else f"[{', '.join(inputs)}]"
        layer = call_text(step.layer.call, step.layer.name, self.calls)
        if self.uses[step.layer] > 1:
            if step.layer not in self.layers:
                name = self.names.claim(python_name(step.layer.name or "layer"))
                self.layers[step.layer] = name
                yield f"{name} = {layer}"
            layer = self.layers[step.layer]
        given += "".join(f", {key}={literal(v)}" for key, v in step.arguments)
        outputs = [self._target(index, t) for t in step.outputs]
        yield f"{', '.join(outputs)} = {layer}({given})"

    def _target(self, index: int, tensor: Tensor) -> str:
        """`x` if the very next statement is the only one that reads the tensor."""
        readers = self.readers.get(tensor, [])
        if readers == [index + 1] and len(self.program.steps[index].outputs) == 1:
            self.variables[tensor] = "x"
            return "x"
        if not readers:
            return "_"
        return self._name(tensor)

    def _name(self, tensor: Tensor) -> str:
        self.variables[tensor] = self.names.claim(python_name(tensor.hint))
        return self.variables[tensor]

    def _outputs(self) -> str:
        outputs = self.program.outputs
        if len(outputs) == 1:
            return self.variables[outputs[0].tensor]
        pairs = (f"{literal(o.key)}: {self.variables[o.tensor]}" for o in outputs)
        return f"{{{', '.join(pairs)}}}"


def _readers(program: Program) -> dict[Tensor, list[int]]:
    """The statements that read each tensor; the one after the last step returns outputs."""
    readers: dict[Tensor, list[int]] = {}
    for index, step in enumerate(program.steps):
        for tensor in step.inputs:
            readers.setdefault(tensor, []).append(index)
    for output in program.outputs:
        readers.setdefault(output.tensor, []).append(len(program.steps))
    return readers


def _losses(program: Program) -> str | None:
    """An instance for a model with one output, else a dict by output."""
    if not program.losses:
        return None
    if len(program.outputs) == 1:
        return call_text(program.losses[0].call)
    pairs = (f"{literal(t.output)}: {call_text(t.call)}" for t in program.losses)
    return f"{{{', '.join(pairs)}}}"


def _loss_weights(program: Program) -> str | None:
    if all(term.weight == 1 for term in program.losses):
        return None
    if len(program.outputs) == 1:
        return literal([program.losses[0].weight])
    return literal({term.output: term.weight for term in program.losses})


def _metrics(program: Program) -> str | None:
    """A list for a model with one output, else a dict of lists by output."""
    if not program.metrics:
        return None
    by_output: dict[str, list[str]] = {}
    for term in program.metrics:
        by_output.setdefault(term.output, []).append(call_text(term.call))
    lists = {key: f"[{', '.join(calls)}]" for key, calls in by_output.items()}
    if len(program.outputs) == 1:
        return next(iter(lists.values()))
    return f"{{{', '.join(f'{literal(k)}: {v}' for k, v in lists.items())}}}"


def _comments(terms: Sequence[Term]) -> list[str]:
    return [comment(line) for term in terms for line in term.comments]
