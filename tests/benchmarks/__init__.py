"""Ratios against peers measured in the same run; they print and pass no judgement."""
