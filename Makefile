# Everything is set up in .venv of this folder. `make faces CONSTRAINTS=` installs the newest torch.
PYTHON ?= python3
VENV ?= .venv
CONSTRAINTS ?= constraints.txt
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check $(if $(CONSTRAINTS),-c $(CONSTRAINTS))
# The images that the bundle is made from: the official aligned archive, or a part of it.
DATA ?= img_align_celeba.zip

# The labels of these images, as downloaded.
ATTRIBUTES ?= list_attr_celeba.txt

# The fitted strategies that the bundles carry, the recommended one first.
CARRIED := --plugin gaussian-mixture --plugin gaussian-copula --plugin flow
BUNDLES := src/lsampler/bundles
CANCER := --widths 64,64 --held-out 169
HEARTBEATS := --unit mV --names I,II --filters 8,16,32 --latent-dim 20 --epochs 80 --held-out 500
NAMED := 'MIT; name the data set, which is CC BY 4.0; see LICENSE-weights.txt'

.PHONY: faces test coverage lint format bench fuzz bundle digits cancer heartbeats other-data carried-celeba96 carried-digits sharp reproduction clean

faces: $(VENV)/.installed ## 64 new faces from the bundled model, in faces.png
	$(BIN)/lsampler sample --plugin pca-ellipse --out faces.png --force

# Without bytecode, each of the many processes of the tests would compile lsampler anew.
unexport PYTHONDONTWRITEBYTECODE

# Two processes test at once: more threads than one each would wait for each other.
test: lint ## lint, import contracts, types and tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --dist worksteal

coverage: $(VENV)/.installed-dev ## tests with coverage, a quarter slower
	$(BIN)/python -m coverage erase
	COVERAGE_PROCESS_START=$(CURDIR)/pyproject.toml $(BIN)/python -m pytest --numprocesses 2 --dist worksteal --cov --cov-report=term:skip-covered --cov-fail-under=90

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache
	$(BIN)/mypy

format: $(VENV)/.installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.installed-dev ## measure every step beside its peer, for docs/performance.md and docs/scaling.md; an hour, 25 GB
	$(BIN)/python -m benchmarks --images $(DATA)
	$(BIN)/python -m benchmarks.scaling

fuzz: $(VENV)/.installed-dev ## hostile inputs, kills, races and full disks at length, for docs/reliability.md; up to an hour
	$(BIN)/python tests/hostile/fuzz.py --files 10000 --kills 200

bundle: $(VENV)/.installed-dev ## train, encode and bundle celeba96 again; hours without a GPU
	$(BIN)/lsampler train $(DATA) --crop celeba --size 96 --held-out 1000 --held-out-by last --epochs 24 \
		--out runs/celeba96
	$(BIN)/lsampler encode $(DATA) --model runs/celeba96/model.safetensors --out runs/celeba96/latents.h5 --force
	$(BIN)/lsampler bundle --out $(BUNDLES)/celeba96.safetensors --model runs/celeba96/model.safetensors \
		--store runs/celeba96/latents.h5 --evaluator core-membership --evaluator faces --force
	$(MAKE) carried-celeba96

digits: $(VENV)/.installed-dev ## train the bundled digits again; a few minutes
	test -d runs/digits || $(BIN)/lsampler example --out runs/digits
	$(BIN)/lsampler train runs/digits/images.npy --size 8 --crop none --grey --no-flip --filters 32,64 --latent-dim 10 \
		--epochs 120 --learning-rate 0.004 --held-out 597 --held-out-by last --out runs/digits/training
	$(BIN)/lsampler encode runs/digits/images.npy --model runs/digits/training/model.safetensors \
		--held-out 597 --held-out-by last --out runs/digits/training/latents.h5 --force
	$(BIN)/lsampler bundle --out $(BUNDLES)/digits.safetensors --model runs/digits/training/model.safetensors \
		--store runs/digits/training/latents.h5 --force
	$(MAKE) carried-digits

# Data of an example as a file, which needs no bundle.
define example-data
	mkdir -p $(dir $(2))
	$(BIN)/python -c "from pathlib import Path; from lsampler.bundles.examples import EXAMPLES; \
		EXAMPLES['$(1)'].write(Path('$(2)'))"
endef
# Train, encode and bundle an example: its folder, its file, its licence, and options of the training.
define example-bundle
	$(BIN)/lsampler train $(1)/$(2) $(4) --out $(1)/training
	$(BIN)/lsampler encode $(1)/$(2) --model $(1)/training/model.safetensors --out $(1)/training/latents.h5 --force
	$(BIN)/lsampler bundle --out $(BUNDLES)/$(notdir $(1)).safetensors --model $(1)/training/model.safetensors \
		--store $(1)/training/latents.h5 --force
	$(BIN)/lsampler encode $(1)/$(2) --model $(notdir $(1)) --out $(1)/carried.h5 --force
	$(BIN)/lsampler bundle --out $(BUNDLES)/$(notdir $(1)).safetensors --model $(notdir $(1)) --store $(1)/carried.h5 --add \
		--plugin gaussian-mixture --plugin gaussian-copula --device cpu --force --licence $(3)
endef

cancer: $(VENV)/.installed-dev ## train the bundled table of breast cancer data again; a minute
	$(call example-data,table,runs/cancer/samples.csv)
	$(call example-bundle,runs/cancer,samples.csv,$(NAMED),$(CANCER))

heartbeats: $(VENV)/.installed-dev ## train the bundled signals, simulated heartbeats, again; some minutes
	$(call example-data,signal,runs/heartbeats/beats.npy)
	$(call example-bundle,runs/heartbeats,beats.npy,'MIT; see LICENSE-weights.txt',$(HEARTBEATS))

other-data: $(VENV)/.installed-dev ## measure and draw docs/other-data.md again, after cancer and heartbeats; some minutes
	test -d runs/example || $(BIN)/lsampler example --what table --out runs/example
	$(BIN)/lsampler sample --plugin gaussian-mixture --store runs/example/latents.h5 -n 2000 --out docs/images/cancer.png --force
	$(BIN)/python -m benchmarks.other_data

# The bundle's own weights, in half precision, encode the latents that its strategies are fitted to.
carried-celeba96: $(VENV)/.installed-dev ## fit the strategies that celeba96 carries again; some minutes
	mkdir -p runs
	$(BIN)/lsampler encode $(DATA) --model celeba96 --held-out-by last --labels $(ATTRIBUTES) \
		--out runs/celeba96-carried.h5 --force
	$(BIN)/lsampler bundle --out $(BUNDLES)/celeba96.safetensors --model celeba96 --store runs/celeba96-carried.h5 \
		--add $(CARRIED) --device cpu --force \
		--licence 'non-commercial research only, as the images of CelebA; see LICENSE-weights.txt'
	$(BIN)/lsampler bundle --out $(BUNDLES)/celeba96.safetensors --model celeba96 --store runs/celeba96-carried.h5 \
		--add --labels --plugin gaussian-mixture --plugin gaussian-copula --device cpu --force

sharp: $(VENV)/.installed-dev ## train, encode and bundle celeba96-sharp again; hours without a GPU
	$(BIN)/lsampler train $(DATA) --crop celeba --size 96 --held-out 1000 --held-out-by last --epochs 24 --loss ms-ssim \
		--out runs/sharp
	$(BIN)/lsampler encode $(DATA) --model runs/sharp/model.safetensors --labels $(ATTRIBUTES) --out runs/sharp/latents.h5 \
		--force
	$(BIN)/lsampler bundle --out $(BUNDLES)/celeba96-sharp.safetensors --model runs/sharp/model.safetensors \
		--store runs/sharp/latents.h5 --evaluator core-membership --evaluator faces --labels --plugin gaussian-mixture \
		--device cpu --force --licence 'non-commercial research only, as the images of CelebA; see LICENSE-weights.txt'

carried-digits: $(VENV)/.installed-dev ## fit the strategies that digits carries again; some seconds
	test -d runs/digits || $(BIN)/lsampler example --out runs/digits
	$(BIN)/lsampler encode runs/digits/images.npy --model digits --held-out-by last --out runs/digits/carried.h5 --force
	$(BIN)/lsampler bundle --out $(BUNDLES)/digits.safetensors --model digits --store runs/digits/carried.h5 \
		--add $(CARRIED) --device cpu --force \
		--licence 'MIT; name the data set, which is CC BY 4.0; see LICENSE-weights.txt'

reproduction: $(VENV)/.installed-dev ## analyse celeba96 on DATA and write docs/reproduction.md; some minutes
	mkdir -p runs/reproduction
	test -f runs/reproduction/latents.h5 || $(BIN)/lsampler encode $(DATA) --held-out-by last \
		--out runs/reproduction/latents.h5
	$(BIN)/lsampler analyze runs/reproduction/latents.h5 --out runs/reproduction/report --tsne 20000
	$(BIN)/python benchmarks/reproduction.py runs/reproduction/report

clean:
	rm -rf $(VENV) dist .coverage* .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(VENV)/.installed: pyproject.toml $(CONSTRAINTS)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "lsampler needs Python 3.11 or newer; run: make PYTHON=python3.11 $(MAKECMDGOALS)"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) -e .
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(INSTALL) -e '.[dev]'
	touch $@
