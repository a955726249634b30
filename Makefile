# Thin: each target is one line over the command line tool. The first call of any but help, doctor and clean makes .venv (see .ci/setup).
# BENCH  one of the benches alone, e.g. make bench BENCH=pretraining ARGS='--nanogpt CLONE'
# WORKERS  test files at a time: most of a test's time is a tool's start, on one core; 0 runs them one after the other and shows what they print
#          (OMP_WAIT_POLICY: threads that wait sleep, and leave the core to the other file)
# SCALE  tiny (default), smoke, 1_8b, 7b, 20b        TORCH  auto (the build on PyPI, with CUDA) or cpu (a third of the disk, no GPU)
SCALE ?= tiny
TORCH ?=
ARGS ?=
SUBMISSIONS ?= submissions
OUT ?= grades
BENCH ?= foundation data pretraining
WORKERS ?= 2
COURSE := .venv/bin/internlm-course
DOCTOR := $(if $(wildcard .venv/.ready),$(COURSE) doctor,python3 -m internlm_course.doctor)
OFFLINE := HF_HUB_OFFLINE=1 TRANSFORMERS_OFFLINE=1 HF_DATASETS_OFFLINE=1

.PHONY: help lab run rlhf serve chat grade doctor test lint notebooks labs bench staff lock clean ready
.DEFAULT_GOAL := help

help: ## this list · 本列表
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' Makefile | expand -t 18

lab: ready ## JupyterLab with your copies of the labs, on this computer only · 打开 JupyterLab，实验都在里面
	$(COURSE) lab $(ARGS)

run: ready ## the whole chain, then the report card · 走完全链路，写出成绩单
	$(COURSE) run --scale $(SCALE) $(ARGS)

rlhf: ready ## COOL RLHF beside the chain: reward model and PPO, some minutes · 链外的 COOL RLHF：奖励模型与 PPO，几分钟
	$(COURSE) rlhf --scale $(SCALE) $(ARGS)

serve: ready ## one model behind an OpenAI-compatible address, e.g. ARGS='--model int4' · 启动一个模型的服务
	$(COURSE) serve --scale $(SCALE) $(ARGS)

chat: ready ## talk to one model in the terminal · 在终端里与模型对话
	$(COURSE) chat --scale $(SCALE) $(ARGS)

grade: ready ## marks for a class: SUBMISSIONS=folder or zip OUT=folder · 给一个班评分
	$(COURSE) grade "$(SUBMISSIONS)" --out "$(OUT)" $(ARGS)

doctor: ## what is wrong with this machine, and the remedy · 这台机器缺什么、怎么办
	$(DOCTOR) $(ARGS)

test: ready ## every test, offline · 全部测试，离线
	$(OFFLINE) OMP_WAIT_POLICY=passive .venv/bin/python -m pytest tests -n $(WORKERS) --dist loadfile --no-loadscope-reorder --durations=15 -rs $(ARGS)

lint: ready ## style · 代码风格
	.venv/bin/python -m ruff check internlm_course images tests guides labs/src

notebooks: ready ## for authors: labs/*.ipynb again from labs/src, the references executed · 供作者：由脚本重建笔记本
	$(OFFLINE) $(COURSE) notebooks $(ARGS)

labs:
	@echo "'make lab' opens the labs; authors rebuild them with 'make notebooks'. · 'make lab' 打开实验；作者用 'make notebooks' 重建笔记本。"

bench: ready ## for authors: what each link costs, beside peers, as JSON under tests/bench/results · 供作者：各环节的开销
	set -e; for bench in $(BENCH); do .venv/bin/python tests/bench/$$bench.py $(ARGS); done

staff: ready ## for authors: the checkpoints that ship, by a full run · 供作者：重做随课程提供的检查点
	$(COURSE) run --scale tiny --root runs
	.venv/bin/python internlm_course/staff/make.py runs

lock: ready ## for authors: resolve again, keeping every locked version that still fits pyproject.toml · 供作者：重新求解依赖
	sh .ci/setup lock

ready:
	@TORCH=$(TORCH) sh .ci/setup venv

clean: ## forget builds and caches; keep .venv, runs and work · 清除构建与缓存，保留 .venv、runs、work
	rm -rf build dist *.egg-info .pytest_cache .ruff_cache && find internlm_course tests -name __pycache__ -type d -prune -exec rm -rf {} +
