"""Searching the unit cube for the cheapest acceptable point: QHO, and rivals on its budget."""
