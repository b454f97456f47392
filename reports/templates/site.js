"use strict";
(() => {
  const root = document.documentElement;
  const remembered = (() => { try { return localStorage.getItem("coinfer-theme"); } catch { return null; } })();
  if (remembered === "light" || remembered === "dark") root.dataset.theme = remembered;

  const themeButton = () => {
    const button = document.querySelector("[data-theme-button]");
    if (!button) return;
    const dark = () => root.dataset.theme ? root.dataset.theme === "dark"
      : matchMedia("(prefers-color-scheme: dark)").matches;
    const tell = () => {
      button.textContent = dark() ? "Light theme" : "Dark theme";
    };
    button.hidden = false;
    button.addEventListener("click", () => {
      root.dataset.theme = dark() ? "light" : "dark";
      try { localStorage.setItem("coinfer-theme", root.dataset.theme); } catch { /* not kept */ }
      tell();
    });
    tell();
  };

  // A cell sorts by its data-v, if it has one; else by its text. Empty cells stay last.
  const valueOf = (row, index) => {
    const cell = row.cells[index];
    if (!cell) return null;
    const text = cell.dataset.v ?? cell.textContent.trim();
    if (text === "") return null;
    const number = Number(text);
    return Number.isNaN(number) ? text : number;
  };
  const compare = (a, b) => typeof a === "number" && typeof b === "number"
    ? a - b : String(a).localeCompare(String(b), "en", { numeric: true });

  const sortable = (table) => {
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, index) => {
      if (head.dataset.nosort !== undefined || !head.textContent.trim()) return;
      const button = document.createElement("button");
      button.type = "button";
      button.className = "sort";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const up = head.getAttribute("aria-sort") !== "ascending";
        heads.forEach((other) => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", up ? "ascending" : "descending");
        for (const body of table.tBodies) {
          const rows = [...body.rows].filter((row) => !row.classList.contains("group"));
          const keyed = rows.map((row, place) => [valueOf(row, index), place, row]);
          keyed.sort((a, b) => {
            if (a[0] === null || b[0] === null) return (a[0] === null) - (b[0] === null) || a[1] - b[1];
            return (up ? 1 : -1) * compare(a[0], b[0]) || a[1] - b[1];
          });
          body.append(...keyed.map((entry) => entry[2]));
        }
      });
    });
  };

  // Filters hide the items of the list they name: by equal data-*, or by text.
  const filter = (form) => {
    const items = [...document.querySelectorAll(form.dataset.filters)];
    const output = form.querySelector("output");
    const controls = [...form.querySelectorAll("[name]")];
    const given = new URLSearchParams(location.hash.slice(1));
    controls.forEach((control) => { if (given.has(control.name)) control.value = given.get(control.name); });
    const apply = () => {
      let shown = 0;
      for (const item of items) {
        const fits = controls.every((control) => {
          const wanted = control.value.trim().toLowerCase();
          if (!wanted) return true;
          if (control.name === "text") return item.textContent.toLowerCase().includes(wanted);
          return (item.dataset[control.name] ?? "").toLowerCase() === wanted;
        });
        item.hidden = !fits;
        shown += fits;
      }
      output.textContent = `${shown} of ${items.length} shown`;
    };
    form.hidden = false;
    form.addEventListener("input", apply);
    form.addEventListener("reset", () => setTimeout(apply));
    form.addEventListener("submit", (event) => event.preventDefault());
    window.addEventListener("hashchange", () => {
      const now = new URLSearchParams(location.hash.slice(1));
      if (![...now.keys()].some((key) => controls.some((control) => control.name === key))) return;
      controls.forEach((control) => { control.value = now.get(control.name) ?? ""; });
      apply();
    });
    apply();
  };

  const copyable = (box) => {
    if (!navigator.clipboard) return;
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = "Copy";
    button.setAttribute("aria-label", `Copy ${box.dataset.copy}`);
    button.addEventListener("click", async () => {
      try {
        await navigator.clipboard.writeText(box.querySelector("pre").textContent);
        button.textContent = "Copied";
      } catch { button.textContent = "Select and copy"; }
    });
    box.append(button);
  };

  // Paper shows what is folded away, whatever the browser makes of it.
  const unfold = () => {
    const folded = [...document.querySelectorAll("details:not([open])")];
    folded.forEach((one) => { one.open = true; });
    window.addEventListener("afterprint", () => folded.forEach((one) => { one.open = false; }), { once: true });
  };

  window.addEventListener("beforeprint", unfold);
  document.addEventListener("DOMContentLoaded", () => {
    themeButton();
    document.querySelectorAll("table[data-sortable]").forEach(sortable);
    document.querySelectorAll("form[data-filters]").forEach(filter);
    document.querySelectorAll("[data-copy]").forEach(copyable);
  });
})();
