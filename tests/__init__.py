"""Tests; a package so that `python -m tests.benchmarks.<name>` finds this folder and no installed one."""
