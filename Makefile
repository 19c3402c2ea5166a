# `make demo` and `make test` need Python 3.10 or newer and nothing else.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
JOBS ?= 2

.PHONY: demo test check fuzz fuzz-nets golden docs samples proto bench setup clean

demo: $(READY)  ## translate two sample projects, test the one and fine-tune the other
	$(BIN)/python samples/demo.py

test: $(READY)  ## everything, within 20 minutes on two cores
	$(BIN)/python -m caffe2k.schema.generate --check
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/pytest -n $(JOBS) --dist loadfile

check: $(READY)  ## seconds: style, types, and the tests that need no framework
	$(BIN)/python -m caffe2k.schema.generate --check
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/pytest -q -n $(JOBS) -m "not slow" tests/unit tests/errors tests/golden

fuzz: $(READY)  ## minutes: what the tests do with damaged weights, for longer
	$(BIN)/python -m tests.fuzz.weights --count 200000 --seed 1
	$(BIN)/python -m tests.fuzz.weights --count 50000 --seed 1 --kind hdf5
	$(BIN)/python -m tests.fuzz.weights --count 50000 --seed 1 --kind keras

fuzz-nets: $(READY)  ## minutes: random nets, blob by blob beside OpenCV
	$(BIN)/python -m tests.fuzz.nets docs/random-nets.md

golden: $(READY)  ## write the golden trees anew
	$(BIN)/python -m tests.golden.regenerate

docs: $(READY)  ## write the generated pages of docs/ anew
	$(BIN)/python -m tests.conformance.layers_page docs/layers.md

samples: $(READY)  ## a quarter of an hour: train all samples beside Caffe's logs
	$(BIN)/python -m tests.e2e.samples docs/samples.md

proto: $(READY)  ## write caffe_pb2 anew from grammars/caffe.proto
	$(BIN)/python -m caffe2k.schema.generate

bench: $(READY)  ## time the command line, the readers of data, weights and training steps
	$(BIN)/python -m pip install --quiet --editable ".[bench]"
	$(BIN)/python benchmarks/translate.py
	$(BIN)/python benchmarks/data.py --write
	$(BIN)/python benchmarks/weights.py --write
	$(BIN)/python benchmarks/train_step.py docs/benchmarks/train_step.md

setup: $(READY)

$(READY): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable ".[dev]"
	touch $(READY)

clean:
	rm -rf $(VENV) demo
