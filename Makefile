# Every task is one target. `make help` lists them.

PYTHON   ?= python3
CONFIG   ?= small
WORKLOAD ?= single decode decode-mtp
PRELOAD  ?= 1
MEMORY   ?= hbm
MEMORIES  := hbm far ideal
# --no-baseline leaves out the same work without preload
BASELINE  ?=
FULL_SIZE := ds-1x4096 ds-4x4096 ds-1x16384 ds-mtp-4096 ds-16heads ds-ragged
PRODUCTION := ds-16heads ds-fp8-16heads ds-1x4096 ds-fp8-4096 ds-sparse ds-sparse-extra ds-sparse-extra-1 ds-16tokens
VENV     := .venv
BIN      := $(VENV)/bin
STAMP    := $(VENV)/.installed
export PYTHONHASHSEED := 0

.DEFAULT_GOAL := help

help: ## list the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

prerequisites:
	@missing=""; need() { command -v "$$1" >/dev/null 2>&1 || missing="$$missing\n  $$1 (Debian: $$2)"; }; \
	need $(PYTHON) python3; need g++ g++; need perl perl; \
	if command -v $(PYTHON) >/dev/null 2>&1; then \
	  $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || missing="$$missing\n  Python 3.11 or newer (Debian: python3)"; \
	  $(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || missing="$$missing\n  the venv module (Debian: python3-venv)"; \
	  $(PYTHON) -c 'import sysconfig, pathlib, glob; v = sysconfig.get_config_vars(); s = sysconfig.get_config_var; \
lib = s("INSTSONAME") or s("LDLIBRARY") or ""; name = "libpython%d.%d*.so*" % __import__("sys").version_info[:2]; \
folders = [s("LIBDIR") or "", (s("LIBDIR") or "") + "/" + (s("MULTIARCH") or ""), "/usr/lib", "/usr/lib64", "/usr/lib/" + (s("MULTIARCH") or "")]; \
__import__("sys").exit(not any(glob.glob(f + "/" + name) for f in folders))' || missing="$$missing\n  the shared libpython (Debian: libpython3-dev)"; \
	fi; \
	case "$(CURDIR)" in *" "*) missing="$$missing\n  a path without spaces (Verilator cannot build in $(CURDIR))";; esac; \
	if [ -n "$$missing" ]; then printf "Missing:$$missing\n"; exit 1; fi

$(STAMP): pyproject.toml constraints.txt
	@$(MAKE) --no-print-directory prerequisites
	@echo "== installing into $(VENV) (once)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@echo "== compiling the golden model (once)"
	@$(BIN)/amla run tiny --config tiny --device simulator --out build/setup >/dev/null
	@touch $@

setup: $(STAMP) ## create .venv and install everything

sim: $(STAMP) ## regression on tiny, then the main workloads on CONFIG, with the utilisation report, beside MEMORY
	@echo "== regression: random workloads and faults on the core, configuration tiny"
	@$(BIN)/python -m amla.tb.build_core tiny
	@$(BIN)/python -m pytest -q -n 2 tests/rtl/test_core.py
	@echo "== main job: $(WORKLOAD) on $(CONFIG)"
	@$(BIN)/amla run $(WORKLOAD) --config $(CONFIG) --device rtl --preload $(PRELOAD) --memory $(MEMORY)

test: $(STAMP) ## every test: model, software, cocotb benches, core
	@$(BIN)/python -m pytest -n 2 --dist worksteal

lint: $(STAMP) ## ruff, mypy, generated documents
	@$(BIN)/ruff check .
	@$(BIN)/mypy model rtl sw tb flow
	@$(BIN)/python -m amla.rtl.docs --check

docs: $(STAMP) ## regenerate the pages of docs/ that come from the RTL
	@$(BIN)/python -m amla.rtl.docs

verilog: $(STAMP) ## write the core's Verilog to build/CONFIG
	@$(BIN)/python -m amla.rtl --config $(CONFIG) --out build/$(CONFIG)

accuracy: $(STAMP) ## error of every mode against float64: JSON, Markdown and plots in build/accuracy
	@$(BIN)/python -m amla.sw.accuracy --out build/accuracy

sweep: $(STAMP) ## utilisation against memory latency and SRAM, by the cycle model: docs/sweep.md with plots and JSON
	@$(BIN)/python -m amla.sw.run.sweep

machines: $(STAMP) ## GPUs and an Ascend 910, predicted beside recorded and published figures: docs/machine.md with JSON
	@$(BIN)/python -m amla.sw.machine.page

cycle-model: $(STAMP) ## the cycle model against the RTL, on every shipped workload: docs/cycle_model (hours)
	@$(BIN)/python -m amla.sw.run.model_check --rtl

formal: $(STAMP) ## prove rescale, arithmetic, dot unit, semaphores, queue, arbiters; find every planted bug
	@$(BIN)/python -m amla.tb.formal

opensta:
	@{ command -v sta && test -e "$${LIBERTY:-/usr/share/qflow/tech/osu018/osu018_stdcells.lib}"; } >/dev/null || \
	  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
	    opensta qflow-tech-osu018; } >/dev/null 2>&1 || \
	  { echo "this needs OpenSTA and a cell library: Debian's opensta and qflow-tech-osu018, or sta and LIBERTY=FILE" >&2; exit 2; }

price: $(STAMP) opensta ## area, delay, stages and power in a cell library (LIBERTY=FILE for yours; QUICK=1: minutes): build/price
	@$(BIN)/python -m amla.flow $(if $(QUICK),--quick)

energy: $(STAMP) opensta ## energy of a decode in every mode, and what MUL by ADD saves, in a cell library (LIBERTY=FILE): build/price
	@$(BIN)/python -m amla.flow.energy

full-size: $(STAMP) ## the ds-* workloads on the full-size core beside hbm, far and ideal: docs/full_size.md
	@$(BIN)/python -m amla.tb.build_core deepseek
	@for memory in $(MEMORIES); do for load in $(FULL_SIZE); do \
	  $(BIN)/amla run $$load --config deepseek --device rtl --memory $$memory $(BASELINE) --out build/full-size/$$memory \
	    || exit $$?; done; done
	@$(BIN)/python -m amla.sw.report.summary docs/full_size.md \
	  $(foreach memory,$(MEMORIES),$(FULL_SIZE:%=build/full-size/$(memory)/deepseek-%)) \
	  --title "Full size: decode on the 4096-MAC core" --command "make full-size"

production: $(STAMP) ## FP8 caches, lists, sinks, 16 query tokens on the full-size core beside hbm: docs/production.md
	@$(BIN)/python -m amla.tb.build_core deepseek
	@for load in $(PRODUCTION); do \
	  $(BIN)/amla run $$load --config deepseek --device rtl --memory hbm $(BASELINE) --out build/production || exit $$?; done
	@$(BIN)/python -m amla.sw.report.summary docs/production.md $(PRODUCTION:%=build/production/deepseek-%) \
	  --title "Production: FP8 caches, lists, sinks, 16 query tokens on the 4096-MAC core" --command "make production"

nightly: $(STAMP) ## full size on the RTL and every exhaustive test (hours)
	@$(BIN)/python -m pytest -m nightly

clean: ## remove build results (keeps .venv)
	rm -rf build

.PHONY: help prerequisites setup sim test lint docs verilog accuracy sweep machines cycle-model formal opensta price energy full-size production nightly clean
