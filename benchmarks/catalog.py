"""Names to things, in any process: models, methods, hardware and conventions of a run."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from benchmarks.cells import Cell
from coinfer.conventions import convention
from coinfer.method import Method
from coinfer.models import model_spec
from coinfer.plan import Scenario, check_snr
from coinfer.presets import Presets, built_in_presets
from methods.registry import Methods, find_methods


@dataclass(frozen=True)
class Catalog:
    """What a run may name beyond the built-ins. Picklable; every process resolves it anew.

    Attributes:
        method_files: Python files with adapters (`--method-file`).
        preset_files: TOML files with devices, servers and links (`--presets`).
        selections: name of shipped selections, which stand for the answers of methods that learn
            from measured plans; '' asks the methods.
    """

    method_files: tuple[str, ...] = ()
    preset_files: tuple[str, ...] = ()
    selections: str = ""

    @property
    def methods(self) -> Methods:
        """Every method and part known."""
        return _methods(self.method_files)

    @property
    def presets(self) -> Presets:
        """Every device, server and link known."""
        return _presets(self.preset_files)

    def method(self, ref: str) -> Method:
        """Return the method named by a ref."""
        return _method(self, ref)

    def is_bound(self, ref: str) -> bool:
        """Whether a method, by its ref, is a bound that competes with nobody; unknown ones do."""
        found = self.methods.classes.get(ref.partition("[")[0])
        return found is not None and found.card.bound

    def scenario(self, cell: Cell) -> Scenario:
        """Return the scenario of a cell.

        Raises:
            CoinferError: for an unknown name, a missing number or a missing SNR.
        """
        return Scenario(
            device=_hardware(self, "device", cell.device),
            server=_hardware(self, "server", cell.server),
            link=_hardware(self, "link", cell.link),
            convention=convention(cell.convention),
            snr_db=cell.snr_db,
        )

    def canonical(self, cell: Cell) -> Cell:
        """Return the one spelling of a cell: aliases resolved, options ordered, axes collapsed.

        The SNR collapses on links that have their rate, the seed for methods without randomness.

        Raises:
            CoinferError: for an unknown name, with the nearest ones, or an SNR that is no finite
                number of dB, even where it would collapse.
        """
        check_snr(cell.snr_db)
        method = self.method(cell.method)
        link = self.presets.canonical("link", cell.link)
        return replace(
            cell,
            model=model_spec(cell.model).name,
            method=str(method.ref),
            device=self.presets.canonical("device", cell.device),
            server=self.presets.canonical("server", cell.server),
            link=link,
            snr_db=_number(cell.snr_db) if self.presets.link(link).needs_snr else None,
            seed=cell.seed if method.card.stochastic else 0,
            convention=convention(cell.convention).name,
            max_accuracy_loss=float(cell.max_accuracy_loss),
        )


def _number(value: float | None) -> float | None:
    return None if value is None else float(value)


@cache
def _methods(files: tuple[str, ...]) -> Methods:
    return find_methods(files)


@cache
def _method(catalog: Catalog, ref: str) -> Method:
    return catalog.methods.make(ref)


@lru_cache(maxsize=65_536)  # a sweep asks about the same 10,000 links for every device
def _hardware(catalog: Catalog, kind: str, ref: str) -> Any:
    return getattr(catalog.presets, kind)(ref)


@cache
def _presets(files: tuple[str, ...]) -> Presets:
    presets = built_in_presets()
    for file in files:
        presets = presets.with_file(Path(file))
    return presets
