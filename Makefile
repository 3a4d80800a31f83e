# `make` lists all commands, by group: the first word of each help text.
PYTHON ?= python3
# As it was written, "$" and blanks included; recipes read it from their environment, as "$$STATE_DIR".
override STATE_DIR := $(or $(value STATE_DIR),var)
export STATE_DIR

RUN := .venv/bin/python
INSTALL := @$(PYTHON) deploy/install.py
# What settings ask for, and others do not need.
WITH_S3 := $(if $(findstring s3://,$(IMAGE_STORE)$(MODEL_STORE)),s3)
# From each import root by itself: api/ and model/ have modules of the same names. What others share is analysed once.
MYPY := $(RUN) -m mypy --explicit-package-bases --config-file $(CURDIR)/pyproject.toml --cache-dir $(CURDIR)/.mypy_cache

.PHONY: help install serve test test-faults test-security test-clients test-gpu test-chart fuzz audit sbom base-images arm-wheels improve evaluate models labels export erase suggest feedback migrate doctor clean-uploads image-expiry reports-index dead-letters api-keys lint bench bench-gpu stress clean docs architecture
.DEFAULT_GOAL := help

help: ## Run: List these commands
	@for group in Run Models Feedback Develop; do printf '\n%s\n' "$$group"; \
	  sed -nE "s/^([a-z-]+):[^#]*## $$group: /  make \1\t/p" $(MAKEFILE_LIST) | expand -t 22; done

install: ## Run: Install dependencies and the default model without starting the service (MODEL=lite0, lite1 or lite2)
	$(INSTALL) serve $(WITH_S3) --bundles "$$STATE_DIR/bundles" --model "$$MODEL"

serve: install ## Run: Install if needed, then run the service (PORT=8000 HOST=127.0.0.1 MODEL_WORKERS=2 MODEL=lite0)
	@PYTHONPATH=deploy exec $(RUN) -m launcher

test: ## Develop: Run all tests, or some suites (SUITES="api wire"; launcher, model, system, remote)
	$(INSTALL) serve dev --bundles "$$STATE_DIR/bundles"
	@$(RUN) -m sightline_testing.suites $(SUITES)

test-faults: ## Develop: Test with killed processes, full disks and overload (FULL=1: longer, with times; TWINS=1: broken copies)
	$(INSTALL) serve dev --bundles "$$STATE_DIR/bundles"
	@$(RUN) -m sightline_testing.suites faults

test-security: ## Develop: Test with damaged images, invalid requests and payloads (FULL=1: longer, with times)
	$(INSTALL) serve dev security --bundles "$$STATE_DIR/bundles"
	@$(RUN) -m sightline_testing.suites security

# Environments of their own: the requirements of these clients conflict.
CLIENTS := $(CURDIR)/var/clients
test-clients: ## Develop: Test with clients of other projects (needs npm and curl; downloads them)
	$(INSTALL) serve dev --bundles $(STATE_DIR)/bundles
	@for name in kserve mlserver; do \
	  [ -x $(CLIENTS)/$$name/bin/python ] || $(PYTHON) -m venv --without-pip $(CLIENTS)/$$name || exit; \
	  .venv/bin/uv pip install --quiet --require-hashes --no-deps --only-binary :all: \
	    --python $(CLIENTS)/$$name/bin/python --requirement tests/clients/requirements/$$name.txt || exit; done
	@npm ci --silent --prefix tests/clients
	@$(RUN) -m sightline_testing.suites clients

# Not in requirements/: gigabytes with CUDA, of use only with a GPU.
TORCH := torch==2.13.0 onnxscript==0.7.2
test-gpu: ## Develop: Install PyTorch and test its engine on the processor (downloads gigabytes)
	$(INSTALL) serve dev --bundles "$$STATE_DIR/bundles"
	@$(RUN) -m pip install --quiet --disable-pip-version-check $(TORCH)
	@$(RUN) -m sightline_testing.suites gpu

test-chart: ## Develop: Validate the Helm chart against the schemas of Kubernetes and KEDA, without a cluster
	$(INSTALL) serve dev chart
	@$(RUN) -m sightline_testing.suites chart

fuzz: ## Develop: Fuzz decoding, messages and forms, guided by coverage (MINUTES=10 for each)
	$(INSTALL) serve dev fuzz
	@$(RUN) tests/security/fuzz/__main__.py $(or $(MINUTES),10)

audit: ## Develop: Check packages for known vulnerabilities, and our code for suspicious lines
	$(INSTALL) serve dev security
	@$(RUN) deploy/audit.py

sbom: ## Develop: Write a CycloneDX bill of materials for each list in requirements/ to STATE_DIR/sbom
	$(INSTALL) serve dev security
	@mkdir -p "$$STATE_DIR/sbom"
	@for list in $(basename $(notdir $(wildcard requirements/*.txt))); do $(RUN) -W ignore -m cyclonedx_py requirements \
	  "requirements/$$list.txt" --output-reproducible -o "$$STATE_DIR/sbom/$$list.cdx.json" \
	  && echo "$$STATE_DIR/sbom/$$list.cdx.json" || exit; done

base-images: ## Develop: Pin the base images by digest in deploy/base-images.env (needs Docker)
	@$(PYTHON) deploy/base_images.py

arm-wheels: ## Develop: List which pinned packages have wheels for 64-bit Arm
	$(INSTALL) serve dev
	@$(RUN) deploy/arm_wheels.py

# The operator's commands work on the folders of `make serve`.
OPERATE := $(RUN) deploy/operate.py

improve: ## Feedback: Train a new version of the model from reviewed reports (DO="--new-version NAME")
	@$(OPERATE) improve $(DO)

evaluate: ## Models: Compare two versions of the model (DO="VERSION --labelled FOLDER")
	@$(OPERATE) evaluate $(DO)

models: ## Models: List versions of the model (DO="import my.onnx --labels labels.txt --preset torchvision", DO="promote VERSION", DO=rollback)
	@$(OPERATE) models $(or $(DO),list)

labels: ## Models: Rename and merge classes (DO="rename 'bar chart' 'column chart'", DO="merge 'bar graph' 'bar chart'")
	@$(OPERATE) labels $(or $(DO),list)

export: ## Feedback: Export reviewed cases as folders by label, CSV and JSONL (TO=folder)
	@$(OPERATE) export "$${TO:-$$STATE_DIR/export}"

erase: ## Run: Erase an image with its reports, answers and training records (DO=NAME, as in its address)
	@$(OPERATE) erase $(DO)

suggest: ## Feedback: Find unreported images to review (DO="--max-images 2000")
	@$(OPERATE) suggest $(DO)

clean-uploads: ## Run: Remove old images without a report (DO=--dry-run)
	@$(OPERATE) clean_uploads $(DO)

image-expiry: ## Run: Let the bucket of IMAGE_STORE expire images after KEEP_UPLOADS_DAYS (DO=--show, DO=--json)
	@$(OPERATE) image_expiry $(DO)

reports-index: ## Feedback: Rebuild the index of the reports from their CSV files (normally automatic)
	@$(OPERATE) index_reports

feedback: ## Feedback: Move reports between files and DATABASE_URL (DO=import, DO="export FOLDER"), or decisions (DO="label-studio FILE")
	@$(OPERATE) feedback $(DO)

migrate: ## Run: Update the tables of DATABASE_URL to this version
	@$(OPERATE) migrate

doctor: ## Run: List problems of the installation and the service, with remedies
	@$(if $(shell [ -x .venv/bin/python ] && echo yes),$(RUN),$(PYTHON)) deploy/examine.py

dead-letters: ## Run: List jobs that were given up (DO="replay ID", DO=drop)
	@$(OPERATE) dead_letters $(or $(DO),list)

api-keys: ## Run: List API keys (DO="add NAME --rate 60/minute", DO="revoke NAME")
	@$(OPERATE) manage_keys $(or $(DO),list)

architecture: ## Develop: Draw the packages and their imports into docs/rooms.svg (needs Graphviz)
	$(INSTALL) serve dev
	@PYTHONPATH=. $(RUN) docs/site/rooms.py

docs: ## Develop: Build the documentation site in STATE_DIR/site
	$(INSTALL) serve docs
	@NO_MKDOCS_2_WARNING=1 $(RUN) -m mkdocs build --strict --site-dir "$$STATE_DIR/site"
	@echo "$$STATE_DIR/site/index.html"

lint: ## Develop: Check style, types and prose (needs Node.js 20 or newer)
	$(INSTALL) serve dev
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	cd wire && MYPYPATH=src ../$(MYPY) src tests
	cd storage && MYPYPATH=src ../$(MYPY) src tests
	cd client && MYPYPATH=src ../$(MYPY) src tests
	cd client && MYPYPATH=src ../$(MYPY) --python-version 3.10 src # the oldest that mypy knows; 3.9 is tested
	cd testing && MYPYPATH=src ../$(MYPY) src
	cd api && ../$(MYPY) .
	cd model && ../$(MYPY) .
	cd deploy && ../$(MYPY) .
	cd wire && PYTHONPATH=src ../.venv/bin/lint-imports --no-cache
	cd storage && PYTHONPATH=src ../.venv/bin/lint-imports --no-cache
	cd api && ../.venv/bin/lint-imports --no-cache
	cd model && ../.venv/bin/lint-imports --no-cache
	npm ci --silent --prefix requirements/npm && requirements/npm/node_modules/.bin/biome lint --error-on-warnings .
	$(RUN) docs/prose
	cd api && ../$(RUN) -c "from app import app; print(app.test_client().get('/openapi.json').text)" | node ../requirements/npm/validate_openapi.mjs
	MYPYPATH=deploy:model:docs/prose $(MYPY) --exclude stress_test/locustfile tests benchmarks stress_test docs  # Locust is not installed

bench: install ## Develop: Measure speed and compare it with other systems (BENCH=--quick: 5 minutes)
	@$(RUN) -m benchmarks $(BENCH)

bench-gpu: ## Develop: Measure the PyTorch engine on this GPU (needs PyTorch: make test-gpu)
	@PYTHONPATH=model $(RUN) -m benchmarks.gpu $(BENCH)

stress: ## Develop: Run load tests and write stress_test/REPORT.md (STRESS=--quick: 2 minutes, without Docker)
	$(INSTALL) serve dev stress --bundles "$$STATE_DIR/bundles"
	@$(RUN) -m stress_test $(STRESS)

clean: ## Run: Remove generated files; keeps uploads and feedback
	rm -rf .venv "$$STATE_DIR/bundles" "$$STATE_DIR/redis" "$$STATE_DIR/run" .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
