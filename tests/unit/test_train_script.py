"""train.py: what a solver becomes, what is refused, and hostile strings."""

import ast
import subprocess
from pathlib import Path

import pytest
from ruff.__main__ import find_ruff_bin

from caffe2k.codegen.data_layers import DataFunction
from caffe2k.codegen.data_script import DataScript
from caffe2k.codegen.formatting import format_python
from caffe2k.codegen.literals import literal
from caffe2k.codegen.logged_nets import LoggedNets, TestNet
from caffe2k.codegen.multipliers import compact_multipliers
from caffe2k.codegen.program import Call as CodeCall
from caffe2k.codegen.program import LossTerm, MetricTerm, Program, runtime
from caffe2k.codegen.solver_checks import check_solver
from caffe2k.codegen.train_script import train_script
from caffe2k.diagnostics import Diagnostics, SourceFile
from caffe2k.prototxt import read_solver, upgrade
from caffe2k.schema.message import Entry, Message

RUNTIME = Path(__file__).resolve().parents[2] / "caffe2k" / "runtime"
CORPUS = Path(__file__).resolve().parents[3] / "shared" / "corpus"
BOTH = ("train_data", "test_data")
LENET = """\
net: "train_val.prototxt"
# how often to test
test_iter: 3
test_interval: 100
# the update rule
type: "SGD"
base_lr: 0.02
momentum: 0.9
weight_decay: 0.0005
lr_policy: "inv"
gamma: 0.0005
power: 0.75  # as in the paper
display: 20
max_iter: 400
snapshot: 200
snapshot_prefix: "lenet"
solver_mode: CPU
random_seed: 1701
"""
MULTIPLIERS = {
    ("conv1", "kernel"): (1.0, 1.0),
    ("conv1", "bias"): (2.0, 0.0),
    ("ip1", "kernel"): (1.0, 1.0),
    ("ip1", "bias"): (2.0, 0.0),
    ("ip2_parity", "kernel"): (10.0, 1.0),
    ("ip2_parity", "bias"): (20.0, 0.0),
}


def solver_of(text):
    diagnostics = Diagnostics()
    solver = read_solver(SourceFile("solver.prototxt", text), diagnostics)
    upgrade(solver, diagnostics)
    diagnostics.raise_if_errors()
    return solver


def emit(
    text, multipliers=MULTIPLIERS, functions=BOTH, weight=1.0, name="solver.prototxt"
):
    """train.py as it is written, and the diagnostics of the translation."""
    solver = text if isinstance(text, Message) else solver_of(text)
    diagnostics = Diagnostics()
    loss = CodeCall(runtime("losses", "SoftmaxWithLoss"))
    accuracy = CodeCall(runtime("metrics", "Accuracy"))
    program = Program(
        "net",
        losses=[LossTerm("loss", "loss", "ip2", "label", loss, weight=weight)],
        metrics=[MetricTerm("accuracy", "accuracy", "ip2", "label", accuracy)],
    )
    data = DataScript(
        tuple(DataFunction(f, f[:-5].upper(), (), "data", "label") for f in functions)
    )
    check_solver(solver, diagnostics)
    script = train_script(solver, name, multipliers, program, data, diagnostics)
    return format_python(script), [d.render() for d in diagnostics]


def call(script, name):
    """The only call of `name` in a script, as text."""
    found = [
        ast.unparse(node)
        for node in ast.walk(ast.parse(script))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == name
    ]
    assert len(found) <= 1
    return found[0] if found else None


def constants(script):
    """The settings of a script, evaluated."""
    return {
        node.targets[0].id: ast.literal_eval(node.value)
        for node in ast.parse(script).body
        if isinstance(node, ast.Assign)
        and node.targets[0].id != "MULTIPLIERS"
        and not node.targets[0].id.endswith("_OUTPUTS")
    }


@pytest.fixture(scope="module")
def assert_clean(tmp_path_factory):
    """Runs ruff on a script in the company that it is emitted in."""
    folder = tmp_path_factory.mktemp("out")
    (folder / "caffe_runtime").mkdir()
    for path in RUNTIME.glob("*.py"):
        (folder / "caffe_runtime" / path.name).touch()
    for name in ("data", "model"):
        (folder / f"{name}.py").touch()

    def check(script):
        (folder / "train.py").write_text(script)
        for command in (["check"], ["format", "--check"]):
            ruff = [find_ruff_bin(), *command, "--isolated", "--no-cache", "train.py"]
            done = subprocess.run(ruff, cwd=folder, capture_output=True, check=False)
            assert done.returncode == 0, done.stdout.decode()

    return check


def test_lenet(assert_clean):
    script, problems = emit(LENET)
    assert problems == []
    assert_clean(script)
    assert len(script.splitlines()) < 205
    head, _, rest = script.partition("\n# solver_mode")
    assert "from caffe_runtime.schedules import InverseDecay\n" in head
    settings, _, code = rest.partition("\n\n\ndef build_optimizer(model):\n")
    assert settings == (
        ": CPU (solver.prototxt:17): Keras takes a GPU if there is one, unless --cpu\n"
        "\n"
        "# how often to test\n"
        "TEST_ITER = 3  # solver.prototxt:3\n"
        "TEST_INTERVAL = 100  # solver.prototxt:4\n"
        "BASE_LR = 0.02  # solver.prototxt:7\n"
        "MOMENTUM = 0.9  # solver.prototxt:8\n"
        "WEIGHT_DECAY = 0.0005  # solver.prototxt:9\n"
        "GAMMA = 0.0005  # solver.prototxt:11\n"
        "POWER = 0.75  # solver.prototxt:12: as in the paper\n"
        "DISPLAY = 20  # solver.prototxt:13\n"
        "MAX_ITER = 400  # solver.prototxt:14\n"
        "SNAPSHOT = 200  # solver.prototxt:15\n"
        'SNAPSHOT_PREFIX = "lenet"  # solver.prototxt:16\n'
        "RANDOM_SEED = 1701  # solver.prototxt:18\n"
        "\n"
        "# lr_mult and decay_mult: of a weight in every layer, then of layers that differ\n"
        "MULTIPLIERS = {\n"
        '    "bias": Multiplier(lr=2, decay=0),\n'
        '    "ip2_parity": {"kernel": Multiplier(lr=10), "bias": Multiplier(lr=20, decay=0)},\n'
        "}\n"
        "\n"
        "# what the log prints: Caffe's blob, Keras's name for it, its weight in the loss\n"
        "TRAIN_OUTPUTS = []\n"
        "TEST_OUTPUTS = []"
    )
    assert code.startswith(
        '    """Returns the solver\'s update rule with its learning rate policy."""\n'
        "    # the update rule\n"
        '    # type: "SGD" (solver.prototxt:6)\n'
        '    # lr_policy: "inv" (solver.prototxt:10)\n'
        "    return CaffeSGD(\n"
        "        InverseDecay(BASE_LR, gamma=GAMMA, power=POWER),\n"
        "        momentum=MOMENTUM,\n"
        "        weight_decay=WEIGHT_DECAY,\n"
        "        multipliers=resolve_multipliers(model, MULTIPLIERS),\n"
        "    )\n"
    )


BASE = 'base_lr: 1 max_iter: 7 lr_policy: "fixed" '


@pytest.mark.parametrize(
    ("fields", "optimizer"),
    [
        ("", "CaffeSGD(Fixed(BASE_LR))"),
        ("momentum: 1", "CaffeSGD(Fixed(BASE_LR), momentum=MOMENTUM)"),
        (
            'type: "Nesterov" momentum: 0.9 delta: 1 rms_decay: 0.5',
            "CaffeNesterov(Fixed(BASE_LR), momentum=MOMENTUM)",
        ),
        ('type: "AdaGrad" delta: 1e-6', "CaffeAdaGrad(Fixed(BASE_LR), delta=DELTA)"),
        (
            'type: "RMSProp" rms_decay: 0.98 weight_decay: 0.1',
            "CaffeRMSProp(Fixed(BASE_LR), rms_decay=RMS_DECAY, weight_decay=WEIGHT_DECAY)",
        ),
        (
            'type: "AdaDelta" momentum: 0.95 delta: 1e-6',
            "CaffeAdaDelta(Fixed(BASE_LR), momentum=MOMENTUM, delta=DELTA)",
        ),
        (
            "solver_type: ADAM momentum: 0.9 momentum2: 0.99",
            "CaffeAdam(Fixed(BASE_LR), momentum=MOMENTUM, momentum2=MOMENTUM2)",
        ),
        (
            'weight_decay: 1 regularization_type: "L1" clip_gradients: 0 iter_size: 2',
            (
                "CaffeSGD(Fixed(BASE_LR), weight_decay=WEIGHT_DECAY, "
                "regularization_type=REGULARIZATION_TYPE, "
                "clip_gradients=CLIP_GRADIENTS, iter_size=ITER_SIZE)"
            ),
        ),
        ("clip_gradients: -1", "CaffeSGD(Fixed(BASE_LR))"),
    ],
)
def test_update_rules(assert_clean, fields, optimizer):
    script, problems = emit(BASE + fields, multipliers={})
    assert problems == []
    assert_clean(script)
    assert call(script, optimizer.partition("(")[0]) == optimizer
    used = {name for name in constants(script) if name in optimizer}
    assert used | {"MAX_ITER", "SNAPSHOT_PREFIX"} == set(constants(script))
    assert constants(script)["BASE_LR"] == 1.0
    assert "BASE_LR = 1.0  #" in script


@pytest.mark.parametrize(
    ("fields", "schedule", "values"),
    [
        (
            'lr_policy: "step" gamma: 0.1 stepsize: 5',
            "Step(BASE_LR, gamma=GAMMA, stepsize=STEPSIZE)",
            {"GAMMA": 0.1, "STEPSIZE": 5},
        ),
        ('lr_policy: "exp"', "Exponential(BASE_LR, gamma=GAMMA)", {"GAMMA": 0.0}),
        (
            'lr_policy: "inv" gamma: 2',
            "InverseDecay(BASE_LR, gamma=GAMMA, power=POWER)",
            {"GAMMA": 2.0, "POWER": 0.0},
        ),
        (
            'lr_policy: "multistep" gamma: 0.1 stepvalue: 3 stepvalue: 3',
            "MultiStep(BASE_LR, gamma=GAMMA, stepvalue=STEPVALUE)",
            {"GAMMA": 0.1, "STEPVALUE": [3, 3]},
        ),
        (
            'lr_policy: "poly" power: 1',
            "Polynomial(BASE_LR, power=POWER, max_iter=MAX_ITER)",
            {"POWER": 1.0, "MAX_ITER": 7},
        ),
        (
            'lr_policy: "sigmoid" gamma: 0.1 stepsize: 5',
            "Sigmoid(BASE_LR, gamma=GAMMA, stepsize=STEPSIZE)",
            {"GAMMA": 0.1, "STEPSIZE": 5},
        ),
        (
            'lr_policy: "multifixed" stagelr: 1 stageiter: 5 warmup_iter: 2',
            (
                "WarmUp(MultiFixed(BASE_LR, stagelr=STAGELR, stageiter=STAGEITER), "
                "warmup_iter=WARMUP_ITER)"
            ),
            {"STAGELR": [1.0], "STAGEITER": [5], "WARMUP_ITER": 2},
        ),
        (
            'lr_policy: "poly" power: 1 min_lr: 0.5 rampup_interval: 3 rampup_lr: 0.25',
            (
                "AtLeast(RampUp(Polynomial(BASE_LR, power=POWER, max_iter=MAX_ITER, "
                "min_lr=MIN_LR), rampup_interval=RAMPUP_INTERVAL, "
                "rampup_lr=RAMPUP_LR), min_lr=MIN_LR)"
            ),
            {"MIN_LR": 0.5, "RAMPUP_LR": 0.25},
        ),
        (
            'lr_policy: "plateau" gamma: 0.5 plateau_winsize: 3 average_loss: 2',
            "Plateau(BASE_LR, GAMMA, PLATEAU_WINSIZE, data, average_loss=AVERAGE_LOSS)",
            {"PLATEAU_WINSIZE": [3]},
        ),
    ],
)
def test_policies(assert_clean, fields, schedule, values):
    script, problems = emit("base_lr: 0.1 max_iter: 7 " + fields)
    assert problems == []
    assert_clean(script)
    assert call(script, schedule.partition("(")[0]) == schedule
    assert constants(script).items() >= values.items()


def test_what_is_not_asked_for_is_not_there(assert_clean):
    script, problems = emit(
        BASE + "snapshot_after_train: false", functions=["train_data"]
    )
    assert problems == []
    assert_clean(script)
    assert constants(script) == {"BASE_LR": 1.0, "MAX_ITER": 7}
    assert "from caffe_runtime.callbacks import Solve\n" in script
    assert "from data import train_data\n" in script
    assert call(script, "add_run_flags") == "add_run_flags(parser, 'MAX_ITER')"
    assert "epochs=math.ceil(max_iter / MAX_ITER)" in script
    assert "steps_per_epoch=MAX_ITER," in script


def test_every_setting(assert_clean):
    script, problems = emit(
        BASE + "test_iter: 2 test_interval: 5 test_initialization: false display: 1 "
        "average_loss: 4 snapshot: 3 snapshot_after_train: false iter_size: 2 "
        'snapshot_prefix: "s/" random_seed: 4294967297 device_id: 1 debug_info: true '
        "test_compute_loss: true snapshot_format: HDF5",
        weight=0.5,
    )
    assert problems == []
    assert_clean(script)
    assert call(script, "Evaluation") == (
        "Evaluation(tests, every=TEST_INTERVAL, at_start=TEST_INITIALIZATION, log=log)"
    )
    assert call(script, "TestNet").endswith("), TEST_ITER, TEST_OUTPUTS)")
    assert call(script, "Display") == (
        "Display(DISPLAY, TRAIN_OUTPUTS, average_loss=AVERAGE_LOSS, log=log)"
    )
    assert call(script, "DebugInfo") == "DebugInfo(DISPLAY, data, log=log)"
    assert call(script, "Snapshot") == (
        "Snapshot(SNAPSHOT_PREFIX, streams, seed, every=SNAPSHOT, "
        "after_train=SNAPSHOT_AFTER_TRAIN, log=log)"
    )
    assert "loss_weights=LOSS_WEIGHTS" in call(script, "model.compile")
    assert "steps_per_epoch=TEST_INTERVAL * ITER_SIZE" in call(script, "model.fit")
    assert "CUDA_VISIBLE_DEVICES=1 python train.py" in script
    assert constants(script)["SNAPSHOT_PREFIX"] == "s/solver"
    assert constants(script)["RANDOM_SEED"] == 1
    assert "seed=RANDOM_SEED" in call(script, "add_run_flags")


@pytest.mark.parametrize(
    ("fields", "prefix"),
    [("", "my_solver"), ('snapshot_prefix: "a/b"', "a/b")],
)
def test_snapshot_prefix(fields, prefix):
    script, _ = emit(BASE + fields, name="my_solver.prototxt")
    assert constants(script)["SNAPSHOT_PREFIX"] == prefix


def test_data_that_is_still_to_be_written():
    script, problems = emit(LENET, functions=())
    assert problems == []
    assert "write train_data() and test_data() in\n# data.py" in script
    assert "from data import test_data, train_data\n" in script


@pytest.mark.parametrize(
    ("multipliers", "text"),
    [
        (MULTIPLIERS, None),
        ({("a", "kernel"): (1, 1), ("a", "bias"): (1, 1)}, "{}"),
        (
            {("a", "bias"): (2, 0), ("b", "bias"): (1, 1)},
            '{"a": {"bias": Multiplier(lr=2, decay=0)}}',
        ),
        (
            {("a", "k"): (0, 0), ("b", "k"): (0, 0), ("c", "k"): (1, 1)},
            '{"k": Multiplier(lr=0, decay=0), "c": {"k": Multiplier()}}',
        ),
        ({("a", "k"): (0.5, 1)}, '{"k": Multiplier(lr=0.5)}'),
        # A layer with the name of a weight.
        (
            {("bias", "bias"): (2, 1), ("b", "bias"): (2, 1)},
            '{"bias": {"bias": Multiplier(lr=2)}, "b": {"bias": Multiplier(lr=2)}}',
        ),
    ],
)
def test_multipliers_are_short(multipliers, text):
    compact = compact_multipliers(multipliers)
    if text is not None:
        assert literal(compact) == text.replace('"', "'")
    assert resolved(compact, multipliers) == multipliers


def resolved(compact, keys):
    """As runtime/multipliers.py reads them."""
    usual = {k: v for k, v in compact.items() if not isinstance(v, dict)}
    found = {}
    for layer, weight in keys:
        exceptions = compact.get(layer)
        rules = {**usual, **(exceptions if isinstance(exceptions, dict) else {})}
        pair = dict(rules[weight].kwargs) if weight in rules else {}
        found[layer, weight] = (pair.get("lr", 1), pair.get("decay", 1))
    return found


def test_all_mistakes_at_once():
    _, problems = emit(
        'type: "Adamm"\n'
        "base_lr: 0.1\n"
        'lr_policy: "stepp"\n'
        "weight_decay: 0.1\n"
        'regularization_type: "L3"\n'
        "average_loss: 0\n"
        "iter_size: 0\n"
        "test_iter: 1\n"
        "larc: true\n"
        "max_iter: -5\n"
    )
    text = "\n".join(problems)
    assert [line for line in text.splitlines() if line.startswith("error")] == [
        "error[unknown-solver-type]: unknown solver type `Adamm`",
        "error[unknown-lr-policy]: unknown lr_policy `stepp`",
        "error[unknown-regularization-type]: unknown regularization_type `L3`",
        "error[invalid-setting]: `average_loss` must be at least 1, but is 0",
        "error[invalid-setting]: `iter_size` must be at least 1, but is 0",
        "error[invalid-setting]: `test_interval` must be greater than 0, but is 0 (not set)",
        "error[unsupported-option]: `larc` of the solver is not supported",
        "error[invalid-setting]: `max_iter` must be greater than 0, but is -5",
    ]
    assert problems[0] == (
        "error[unknown-solver-type]: unknown solver type `Adamm`\n"
        " --> solver.prototxt:1:1\n"
        "  |\n"
        '1 | type: "Adamm"\n'
        "  | ^^^^\n"
        "  = help: did you mean `Adam`?"
    )


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ('lr_policy: "step"', "`stepsize` must be greater than 0, but is 0 (not set)"),
        (
            'lr_policy: "sigmoid"',
            "`stepsize` must be greater than 0, but is 0 (not set)",
        ),
        ('lr_policy: "exp" gamma: -0.5', "`gamma` must be at least 0, but is -0.5"),
        ('lr_policy: "fixed" gamma: -0.5', None),
        (
            'lr_policy: "fixed" type: "AdaGrad" momentum: 0.9',
            "`momentum` must be 0 with AdaGrad, but is 0.9",
        ),
        (
            'lr_policy: "fixed" type: "RMSProp" rms_decay: 1',
            "`rms_decay` must be at least 0 and less than 1, but is 1",
        ),
        ('lr_policy: "fixed" regularization_type: "L3"', None),
        ("", "the solver has no lr_policy"),
    ],
)
def test_what_caffe_refuses(fields, message):
    _, problems = emit(f"base_lr: 0.1 max_iter: 9 {fields}")
    assert [p.splitlines()[0].partition(": ")[2] for p in problems] == (
        [message] if message else []
    )


@pytest.mark.parametrize(
    ("fields", "refused"),
    [
        ("", "0 (not set)"),
        ("max_iter: 0", "0"),
        ("test_iter: 1 test_interval: 1", "0 (not set)"),
        # This is how one lets Caffe test and nothing else.
        ("max_iter: 0 test_iter: 1 test_interval: 1", None),
    ],
)
def test_max_iter(fields, refused):
    _, problems = emit(f'base_lr: 0.1 lr_policy: "fixed" {fields}')
    assert [p.splitlines()[0] for p in problems] == (
        [f"error[invalid-setting]: `max_iter` must be greater than 0, but is {refused}"]
        if refused
        else []
    )


@pytest.mark.parametrize(
    ("fields", "first_line", "help_line"),
    [
        (
            "snapshot_diff: true",
            "warning[snapshot-diff]: snapshots do not hold gradients",
            None,
        ),
    ],
)
def test_differences_are_warnings(fields, first_line, help_line):
    _, problems = emit(BASE + fields)
    if first_line is None:
        assert problems == []
        return
    lines = problems[0].splitlines()
    assert len(problems) == 1
    assert lines[0] == first_line
    if help_line:
        assert lines[-1] == f"  = help: {help_line}"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            'net: "a" train_net: "b"',
            "the solver names its train net twice: `net` and `train_net`",
        ),
        (
            'net: "a" test_net: "b" test_net: "c" test_iter: 1',
            "the solver has 2 test nets, but 1 `test_iter`",
        ),
        (
            'train_net: "a" test_net: "b" test_iter: 1 test_iter: 2',
            "the solver has 1 test nets, but 2 `test_iter`",
        ),
        ('net: "a" test_net: "b" test_iter: 1 test_iter: 2', None),
        (
            'net: "a" test_iter: 1 test_iter: 2 test_state { stage: "x" }',
            "the solver has 2 test nets, but 1 `test_state`",
        ),
        ('train_net: "a" test_net_param {} test_iter: 1 test_state {}', None),
        (
            'net: "a" lr_policy: "multifixed" stagelr: 0.1',
            "there are 1 `stagelr` and 0 `stageiter`",
        ),
        (
            'net: "a" lr_policy: "plateau" plateau_winsize: 5 min_lr: 0.1',
            "`min_lr` is not supported with lr_policy plateau",
        ),
    ],
)
def test_what_does_not_go_together(fields, message):
    policy = "" if "lr_policy" in fields else 'lr_policy: "fixed" '
    _, problems = emit(f"base_lr: 1 max_iter: 9 test_interval: 5 {policy}{fields}")
    assert [p.splitlines()[0].partition(": ")[2] for p in problems] == (
        [message] if message else []
    )


def test_several_nets_are_tested():
    program = Program("net", metrics=[])
    tests = (TestNet(()), TestNet((), "test_1_data", "test_1_model", program))
    solver = solver_of(LENET + "test_iter: 5")
    script = train_script(
        solver,
        "solver.prototxt",
        MULTIPLIERS,
        program,
        DataScript(()),
        Diagnostics(),
        LoggedNets((), tests),
    )
    assert "TEST_ITER = [3, 5]" in script
    assert "test_1 = test_1_model.build_model()" in script
    assert "\nimport test_1_model\n" in script


def test_no_data_to_test_with():
    script, problems = emit(LENET, functions=["train_data"])
    assert problems[0].splitlines()[0] == (
        "warning[no-test-data]: `test_iter` is set, but the net has no data in its "
        "TEST phase"
    )
    assert "Evaluation" not in script


HOSTILE = [
    '"); import os #',
    "'); import os #",
    "a\nimport os\n",
    "\\",
    '"""',
    "{{ 7 * 7 }}",
    "{% raw %}",
    "%(prog)s %d",
    "\u202e\u2028\x0c\x00\ud800",
    "x" * 10_000,
]


def outline(script):
    """The syntax tree of a script without the text of its strings."""
    tree = ast.parse(script)
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            node.value = ""
        if isinstance(node, ast.Dict):
            node.keys = []
    return ast.dump(tree)


@pytest.mark.parametrize("hostile", HOSTILE)
def test_strings_never_become_code(hostile):
    def script(text):
        solver = solver_of(LENET)
        for field in ("snapshot_prefix", "net"):
            entry = solver.entries_of(field)[0]
            solver.set(field, Entry(text, entry.span, (text,), trailing=text))
        for field in ("type", "lr_policy", "max_iter"):
            entry = solver.entries_of(field)[0]
            hostile = Entry(entry.value, entry.span, (text,), trailing=text)
            solver.set(field, hostile)
        multipliers = {(text, "kernel"): (2.0, 1.0), ("ip", "kernel"): (1.0, 1.0)}
        return emit(solver, multipliers=multipliers, name=text)[0]

    emitted = script(hostile)
    assert outline(emitted) == outline(script("plain"))
    assert constants(emitted)["SNAPSHOT_PREFIX"] == hostile
    assert hostile in ast.literal_eval(
        next(
            ast.unparse(node.value).replace("Multiplier(lr=2)", "2")
            for node in ast.parse(emitted).body
            if isinstance(node, ast.Assign) and node.targets[0].id == "MULTIPLIERS"
        )
    )


def test_hostile_choices_are_diagnosed_not_emitted():
    for field in ("type", "lr_policy"):
        solver = solver_of(LENET)
        solver.set(field, Entry('SGD"\nimport os #'))
        script, problems = emit(solver)
        assert len(problems) == 1
        assert outline(script).count("Import(") == outline(emit(LENET)[0]).count(
            "Import("
        )


@pytest.mark.slow
@pytest.mark.skipif(not CORPUS.is_dir(), reason="the corpus is not here")
def test_solvers_of_the_corpus():
    """Only those are refused that have options of a fork, or no end."""
    refused = {}
    paths = sorted(CORPUS.glob("files/*/*solver*.prototxt"))
    assert len(paths) > 60
    for path in paths:
        diagnostics = Diagnostics()
        solver = read_solver(path, diagnostics)
        upgrade(solver, diagnostics)
        if diagnostics.has_errors:
            continue
        script, problems = emit(solver, name=path.name)
        ast.parse(script)
        assert len(script.splitlines()) < 205
        errors = [p.splitlines()[0] for p in problems if p.startswith("error")]
        if errors:
            refused[f"{path.parent.name}/{path.name}"] = errors
    assert len(refused) < 10
    for errors in refused.values():
        assert all("[unsupported-option]" in e or "`max_iter`" in e for e in errors)
