"""Measures the contenders: plan, child processes, tables."""
