"""Accuracy of a plan: trained and measured, looked up in a table, or predicted."""
