"""Preset data: devices, servers, links and conventions, each with its source."""
