# The two commands of a newcomer are `make serve` and `make test`; `make` alone lists them all.
PYTHON ?= python3
STATE_DIR ?= var
export STATE_DIR

RUN := .venv/bin/python
INSTALL := @$(PYTHON) deploy/install.py
# From each import root by itself: api/ and model/ have modules of the same names.
MYPY := $(RUN) -m mypy --explicit-package-bases --config-file $(CURDIR)/pyproject.toml

.PHONY: help install serve test test-faults test-security test-gpu fuzz audit sbom improve evaluate models export doctor clean-uploads reports-index dead-letters api-keys lint bench bench-gpu stress clean docs architecture
.DEFAULT_GOAL := help

help: ## List these commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## /  make \1\t/' | expand -t 22

install: ## Set up alone: .venv, the pinned packages, the default model bundle
	$(INSTALL) serve --bundles $(STATE_DIR)/bundles

serve: install ## Set up if needed, then run the whole service (PORT=8000 HOST=127.0.0.1 MODEL_WORKERS=2)
	@PYTHONPATH=deploy exec $(RUN) -m launcher

test: ## Run every test, or some suites (SUITES="api wire"; launcher, model, system, remote)
	$(INSTALL) serve dev --bundles $(STATE_DIR)/bundles
	@$(RUN) -m sightline_testing.suites $(SUITES)

test-faults: ## Kill, starve and flood the service (FULL=1: for minutes, with times; TWINS=1: broken)
	$(INSTALL) serve dev --bundles $(STATE_DIR)/bundles
	@$(RUN) -m sightline_testing.suites faults

test-security: ## Attack the service: mutants, bombs, broken requests, payloads (FULL=1: for long, with times)
	$(INSTALL) serve dev security --bundles $(STATE_DIR)/bundles
	@$(RUN) -m sightline_testing.suites security

# Not in requirements/: gigabytes with CUDA, and nobody without a GPU wants it.
TORCH := torch==2.13.0 onnxscript==0.7.2
test-gpu: ## Install PyTorch and test its engine and its recipe, on the processor (gigabytes)
	$(INSTALL) serve dev --bundles $(STATE_DIR)/bundles
	@$(RUN) -m pip install --quiet --disable-pip-version-check $(TORCH)
	@$(RUN) -m sightline_testing.suites gpu

fuzz: ## Fuzz decoding, messages and forms, guided by coverage (MINUTES=10 for each)
	$(INSTALL) serve dev fuzz
	@$(RUN) tests/security/fuzz/__main__.py $(or $(MINUTES),10)

audit: ## Look for known weaknesses in the packages and for suspicious lines in our own code
	$(INSTALL) serve dev security
	@$(RUN) deploy/audit.py

sbom: ## List what the two images consist of, as CycloneDX documents in STATE_DIR/sbom
	$(INSTALL) serve dev security
	@mkdir -p $(STATE_DIR)/sbom
	@for part in api model; do $(RUN) -W ignore -m cyclonedx_py requirements requirements/$$part.txt \
	  --output-reproducible -o $(STATE_DIR)/sbom/$$part.cdx.json && echo $(STATE_DIR)/sbom/$$part.cdx.json; done

# The operator's commands work on the folders of `make serve`.
OPERATE := $(RUN) deploy/operate.py

improve: ## Make a better version of the model from reviewed reports (DO="--version NAME")
	@$(OPERATE) improve $(DO)

evaluate: ## Compare two versions of the model (DO="VERSION --labelled FOLDER")
	@$(OPERATE) evaluate $(DO)

models: ## List the versions of the model (DO="import my.onnx --labels labels.txt --preset torchvision", DO="promote VERSION", DO=rollback)
	@$(OPERATE) models $(or $(DO),list)

export: ## Write the reviewed cases as folders by label, CSV and JSONL (TO=folder)
	@$(OPERATE) export $(or $(TO),$(STATE_DIR)/export)

clean-uploads: ## Remove old images that no report refers to (DO=--dry-run)
	@cd api && UPLOAD_FOLDER=$(abspath $(STATE_DIR))/uploads FEEDBACK_FILEPATH=$(abspath $(STATE_DIR))/feedback/feedback \
	  ../$(RUN) -m commands.clean_uploads $(DO)

reports-index: ## Make the index of the reports anew from their CSV files, which it follows by itself otherwise
	@cd api && FEEDBACK_FILEPATH=$(abspath $(STATE_DIR))/feedback/feedback ../$(RUN) -m commands.index_reports

doctor: ## Say what is wrong with this installation and its service, and what to do about it
	@$(if $(shell [ -x .venv/bin/python ] && echo yes),$(RUN),$(PYTHON)) deploy/examine.py

dead-letters: ## List the jobs that workers had to give up (DO="replay ID", DO=drop)
	@$(OPERATE) dead_letters $(or $(DO),list)

api-keys: ## List the keys that requests must bring (DO="add NAME --rate 60/minute", DO="revoke NAME")
	@cd api && ../$(RUN) -m commands.manage_keys --file $(abspath $(STATE_DIR))/api_keys $(or $(DO),list)

architecture: ## Draw the packages and their imports into docs/rooms.svg (needs Graphviz)
	$(INSTALL) serve dev
	@PYTHONPATH=. $(RUN) docs/site/rooms.py

docs: ## Build the documentation site into STATE_DIR/site
	$(INSTALL) serve docs
	@NO_MKDOCS_2_WARNING=1 $(RUN) -m mkdocs build --strict --site-dir $(abspath $(STATE_DIR))/site
	@echo "$(STATE_DIR)/site/index.html"

lint: ## Check style and types (needs npm for JavaScript and CSS)
	$(INSTALL) serve dev
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	cd wire && MYPYPATH=src ../$(MYPY) src tests
	cd client && MYPYPATH=src ../$(MYPY) src tests
	cd testing && MYPYPATH=src ../$(MYPY) src
	cd api && ../$(MYPY) .
	cd model && ../$(MYPY) .
	cd deploy && ../$(MYPY) .
	cd wire && PYTHONPATH=src ../.venv/bin/lint-imports --no-cache
	cd api && ../.venv/bin/lint-imports --no-cache
	cd model && ../.venv/bin/lint-imports --no-cache
	npm ci --silent --prefix requirements/npm && requirements/npm/node_modules/.bin/biome lint --error-on-warnings .
	MYPYPATH=deploy:model $(MYPY) --exclude stress_test/locustfile tests benchmarks stress_test docs  # Locust is not installed

bench: install ## Measure speed beside this machine's limit and other systems (BENCH=--quick: 5 minutes)
	@$(RUN) -m benchmarks $(BENCH)

bench-gpu: ## Measure PyTorch's engine on this GPU: the same answers, images a second (needs PyTorch: make test-gpu)
	@PYTHONPATH=model $(RUN) -m benchmarks.gpu $(BENCH)

stress: ## Put load on the whole service and write stress_test/REPORT.md (STRESS=--quick: 2 minutes, no Docker)
	$(INSTALL) serve dev stress --bundles $(STATE_DIR)/bundles
	@$(RUN) -m stress_test $(STRESS)

clean: ## Remove what set-up and tests made; keeps uploads and feedback
	rm -rf .venv $(STATE_DIR)/bundles $(STATE_DIR)/redis $(STATE_DIR)/run .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
