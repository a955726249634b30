# Thin: each target is one line over the command line tool. The first call of any of them makes .venv (see .ci/setup).
# BENCH  one of the benches alone, e.g. make bench BENCH=pretraining ARGS='--nanogpt CLONE'
# WORKERS  test files at a time: most of a test's time is a tool's start, on one core; 0 runs them one after the other and shows what they print
#          (OMP_WAIT_POLICY: threads that wait sleep, and leave the core to the other file)
# SCALE  tiny (default), smoke, 1_8b, 7b, 20b        TORCH  auto (the build on PyPI, with CUDA) or cpu (a third of the disk, no GPU)
SCALE ?= tiny
TORCH ?=
ARGS ?=
BENCH ?= foundation data pretraining
WORKERS ?= 2
COURSE := .venv/bin/internlm-course
OFFLINE := HF_HUB_OFFLINE=1 TRANSFORMERS_OFFLINE=1 HF_DATASETS_OFFLINE=1

.PHONY: run test lab labs bench staff doctor lint lock clean ready

run: ready ## the whole chain, then the report card
	$(COURSE) run --scale $(SCALE) $(ARGS)

test: ready ## every test, offline
	$(OFFLINE) OMP_WAIT_POLICY=passive .venv/bin/python -m pytest tests -n $(WORKERS) --dist loadfile --no-loadscope-reorder --durations=15 $(ARGS)

lab: ready ## JupyterLab, on this computer only
	$(COURSE) lab $(ARGS)

labs: ready ## the notebooks again from labs/src, the references executed
	$(OFFLINE) $(COURSE) labs $(ARGS)

bench: ready ## what each link costs, beside peers, as JSON under tests/bench/results
	set -e; for bench in $(BENCH); do .venv/bin/python tests/bench/$$bench.py $(ARGS); done

staff: ready ## make the checkpoints that ship: a full run, then its models copied into the package
	$(COURSE) run --scale tiny --root runs
	.venv/bin/python internlm_course/staff/make.py runs

doctor: ready ## what is wrong with this machine, and the remedy
	$(COURSE) doctor $(ARGS)

lint: ready ## style
	.venv/bin/python -m ruff check internlm_course images tests

lock: ready ## resolve again, keeping every locked version that still fits pyproject.toml
	sh .ci/setup lock

ready:
	@TORCH=$(TORCH) sh .ci/setup venv

clean: ## forget builds and caches; keep .venv and runs
	rm -rf build dist *.egg-info .pytest_cache .ruff_cache && find internlm_course tests -name __pycache__ -type d -prune -exec rm -rf {} +
