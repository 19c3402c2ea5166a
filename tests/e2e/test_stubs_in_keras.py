"""Stubs in Keras: the model around them builds, and works once they are filled in."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest

from caffe2k.pipeline import Options
from caffe2k.translation import translate
from tests.conformance.emitted import imported

pytestmark = pytest.mark.filterwarnings(
    # Keras 3.15 converts variables for saving in a way that NumPy 2 will give up.
    "ignore:__array__ implementation doesn't accept a copy:DeprecationWarning"
)

NET = """
name: "Stubs"
layer { name: "data" type: "Python" top: "data" top: "label"
  python_param { module: "my" layer: "Batches" param_str: "4" } }
layer { name: "fc" type: "InnerProduct" bottom: "data" top: "fc"
  inner_product_param { num_output: 3 weight_filler { type: "xavier" } } }
layer { name: "halves" type: "Python" bottom: "fc" top: "low" top: "high"
  python_param { module: "my" layer: "Halves" param_str: "0.5" } }
layer { name: "sum" type: "Eltwise" bottom: "low" bottom: "high" top: "sum" }
layer { name: "loss" type: "Python" bottom: "sum" bottom: "label" top: "loss"
  loss_weight: 2 python_param { module: "my" layer: "SquaredError" } }
"""

SOLVER = 'net: "net.prototxt" base_lr: 0.1 lr_policy: "fixed" max_iter: 2'

FILLED_IN = {
    "class Halves(": "return [inputs * float(self.param_str), inputs]",
    "class SquaredError(": (
        "sums, label = inputs\n"
        "        difference = sums - keras.ops.expand_dims(label, -1)\n"
        "        return keras.ops.reshape(keras.ops.sum(difference**2), (1,))"
    ),
    "class Batches:": (
        "import numpy as np\n"
        "        rng = np.random.default_rng(0)\n"
        "        while True:\n"
        "            shapes = dict(zip(self.tops, self.shapes))\n"
        "            yield {t: rng.normal(size=s) for t, s in shapes.items()}"
    ),
}


def fill_in(path: Path) -> None:
    """Writes what is missing in the classes of a file, as their user would."""
    head, *classes = path.read_text(encoding="utf-8").split("\nclass ")
    for i, text in enumerate(classes):
        (body,) = [b for c, b in FILLED_IN.items() if f"class {text}".startswith(c)]
        before, _, rest = text.partition("raise NotImplementedError(")
        _, _, after = rest.partition(")\n\n" if ")\n\n" in rest else "\n        )\n")
        classes[i] = f"{before}{body}\n\n{after}"
    path.write_text("\nclass ".join([head, *classes]), encoding="utf-8")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "net.prototxt").write_text(NET, encoding="utf-8")
    (tmp_path / "solver.prototxt").write_text(SOLVER, encoding="utf-8")
    shapes = {"data": (4, 6), "low": (4, 3), "high": (4, 3)}
    output = tmp_path / "keras"
    translation = translate(
        tmp_path / "solver.prototxt",
        options=Options(input_shapes=shapes),
        output=output,
    )
    translation.write(output)
    return output


def test_the_model_builds_and_says_what_to_write(project: Path) -> None:
    with imported(project, "model") as module:
        model = module.build_model()
        assert model.get_layer("halves").param_str == "0.5"
        x = [np.zeros((4, 6), "float32"), np.zeros(4, "float32")]
        with pytest.raises(NotImplementedError, match=r"write Halves\.call"):
            model(x)
    unwritten = pytest.raises(NotImplementedError, match=r"write Batches\.__iter__")
    with imported(project, "data") as data, unwritten:
        next(data.train_data())


def test_filled_in_it_trains_and_is_saved(project: Path, tmp_path: Path) -> None:
    fill_in(project / "custom_layers.py")
    fill_in(project / "custom_data.py")
    with imported(project, "data") as data:
        (x,) = next(data.train_data())
    with imported(project, "model") as module:
        model = module.build_model()
        low, high = model.get_layer("halves")(model.get_layer("fc")(x["data"]))
        expected = float(np.sum((np.asarray(low + high) - x["label"][:, None]) ** 2))
        model.compile(optimizer=keras.optimizers.SGD(0.0))
        history = model.fit(x, epochs=1, batch_size=4, verbose=0).history
        assert history["loss"][0] == pytest.approx(2 * expected, rel=1e-5)
        again = [
            type(model).from_config(model.get_config()),
            keras.models.model_from_json(model.to_json()),
        ]
        model.save(tmp_path / "model.keras")
        again.append(keras.models.load_model(tmp_path / "model.keras"))
        for copy in again:
            copy.set_weights(model.get_weights())
            np.testing.assert_allclose(copy(x), [expected], rtol=1e-5)
