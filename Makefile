# A cover over make.py, which does the same without make: python make.py run
PYTHON ?= python3
.PHONY: help run test site check view
help: ; @$(PYTHON) make.py help
run: ; @$(PYTHON) make.py run
test: ; @$(PYTHON) make.py test
site: ; @$(PYTHON) make.py site
check: ; @$(PYTHON) make.py check
view: ; @$(PYTHON) make.py view
