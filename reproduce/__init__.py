"""Figures and claims of the papers: one file per figure, every claim held against rows."""
