# Short names for `python3 -m lib`, which does everything and needs Python 3.11, 3.12 or 3.13 and nothing else.

PROFILE ?= openmoji
JOBS ?= 2
ONLY ?=
CORPUS ?= openmoji
TESTS ?= tests
PYTHON ?= python3
LIB := $(PYTHON) -m lib

.PHONY: help run search lab test check lint record

help:
	@$(LIB)
	@echo
	@echo "make COMMAND calls it with PROFILE=$(PROFILE) JOBS=$(JOBS) ONLY=\"03 04\" CORPUS=$(CORPUS) TESTS=$(TESTS)"

run:
	@$(LIB) run --profile $(PROFILE) --jobs $(JOBS) $(if $(ONLY),--only $(ONLY))

search:
	@$(LIB) search --corpus $(CORPUS)

record:
	@$(LIB) record runs/$(PROFILE)

test check:
	@$(LIB) $@ $(TESTS)

lab lint:
	@$(LIB) $@
