"""Plots, tables, measured and published numbers. Import the file you need: `from lib.report import plots`."""
