# `make` sets up, generates the full-size u280 chip and verifies u280-tiny on real tensors.
PYTHON ?= python3
BIN    := .venv/bin
READY  := .venv/.ready

.PHONY: demo test check bench mutate prove fit clean

demo: $(READY)
	@$(BIN)/qkloom generate u280 -o build/u280
	@$(BIN)/qkloom simulate u280-tiny --head all --tokens all

test: $(READY)
	@$(BIN)/python -m pytest -q -n 2 --dist loadfile

check: $(READY)
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

bench: $(READY)
	@$(BIN)/python -m tests.bench

mutate: $(READY)
	@$(BIN)/python -m tests.mutate

prove: $(READY)
	@$(BIN)/python -m tests.prove

fit: $(READY)
	@$(BIN)/python -m tests.fit

$(READY): pyproject.toml constraints.txt gen/_links.py
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

clean: ; rm -rf .venv build
