"""The nets that a solver tests: which they are, and the scripts of those of their own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from caffe2k.codegen.data_layers import DataFunction, DataLayer
from caffe2k.codegen.data_wiring import data_functions
from caffe2k.codegen.log_outputs import log_outputs
from caffe2k.codegen.logged_nets import TestNet
from caffe2k.codegen.model_script import model_script
from caffe2k.diagnostics import Diagnostics
from caffe2k.ir.net import Net, Phase
from caffe2k.ops import find_op
from caffe2k.passes.unread import report_unread
from caffe2k.pipeline import Options, TranslatedNet, analyse, translate_net
from caffe2k.project import Project, read_test_net
from caffe2k.schema.message import Message

Readers = Callable[[Net], tuple[DataLayer, ...]]
"""What reads the data of a net."""


@dataclass(frozen=True, eq=False)
class Tested:
    """A net that is tested, upgraded, with the name of its file.

    `state` is what the solver adds to the net's own.
    """

    message: Message
    name: str
    state: Message | None

    @property
    def states(self) -> dict[Phase, Message]:
        return {} if self.state is None else {Phase.TEST: self.state}


@dataclass
class TestScripts:
    """What the tested nets add to the output: the others' models, and their data."""

    __test__ = False

    nets: list[TestNet] = field(default_factory=list)
    functions: list[DataFunction] = field(default_factory=list)
    scripts: dict[str, str] = field(default_factory=dict)
    programs: list[TranslatedNet] = field(default_factory=list)


def tested_nets(project: Project, diagnostics: Diagnostics) -> list[Tested]:
    """The solver's test nets in Caffe's order (solver.cpp, Solver::InitTestNets).

    Those of `test_net_param`, of the files of `test_net`, and for what is left of
    `test_iter` the net that is trained. A file that can't be read is a diagnostic.
    """
    solver = project.solver
    if solver is None:
        return []
    nets = [read_test_net(project, m, diagnostics) for m in solver.test_net_param]
    names = [project.solver_name] * len(nets)
    for index, name in enumerate(solver.test_net):
        nets.append(read_test_net(project, name, diagnostics, index))
        names.append(name.rpartition("/")[2])
    rest = len(solver.test_iter) - len(nets)
    nets += [project.net] * rest
    names += [project.net_name] * rest
    states = list(solver.test_state) or [None] * len(nets)
    return [
        Tested(net, name, state)
        for net, name, state in zip(nets, names, states, strict=False)
        if net is not None
    ]


def translate_tests(
    project: Project,
    net: TranslatedNet,
    tested: list[Tested],
    options: Options,
    readers: Readers,
    diagnostics: Diagnostics,
) -> TestScripts:
    """The TestNet of each net, and the scripts and data of all but those of `net`.

    A net with the layers of `net` in TEST, whatever its data, is tested by its model.
    Others have a model of their own, which gets the weights by layer name before each
    test (solver.cpp, Solver::Test).
    """
    found = TestScripts()
    alone = replace(options, phase=Phase.TEST)
    for number, test in enumerate(tested):
        prefix = f"test_{number}" if number else "test"
        function, module = f"{prefix}_data", ""
        whole, phase = net, net.phases.get(Phase.TEST)
        if number or phase is None:
            phase = _phase(test, project, alone)
            if phase is None or not _same_layers(phase, net.phases.get(Phase.TEST)):
                whole = translate_net(
                    test.message,
                    project.root,
                    alone,
                    diagnostics,
                    test.states,
                    prefix=f"{prefix}_",
                )
                phase, module = whole.phases[Phase.TEST], f"{prefix}_model"
                found.programs.append(whole)
                script = model_script(whole.whole.program, test.name)
                found.scripts[f"{module}.py"] = script
            program = whole.whole.program
            found.functions += [
                replace(f, name=function)
                for f in data_functions(program, {"TEST": readers(phase)})
            ]
            if module:
                # Once its data has been read too.
                layers = [layer.message for layer in whole.net.layers]
                report_unread(test.message, layers, diagnostics)
        program = whole.whole.program
        outputs = log_outputs(
            phase, program, channels_last=whole.whole.form.is_channels_last
        )
        own = program if module else None
        found.nets.append(TestNet(outputs, function, module, own))
    return found


def _phase(test: Tested, project: Project, alone: Options) -> Net | None:
    """A net in TEST, None where something is wrong with it."""
    problems = Diagnostics()
    nets = analyse(test.message, project.root, alone, problems, test.states)
    return None if problems.has_errors else nets[Phase.TEST]


def _same_layers(net: Net, other: Net | None) -> bool:
    return other is not None and _computed(net) == _computed(other)


def _computed(net: Net) -> list[int]:
    """The layers of a net that are no data layers, as objects of its file."""
    return [
        id(layer.message)
        for layer in net.layers
        if (op := find_op(layer.type)) is None or not op.is_source
    ]
