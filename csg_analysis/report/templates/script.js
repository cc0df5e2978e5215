
"use strict";
(() => {
  const key = (row, column) => row.children[column].dataset.sort ?? row.children[column].textContent.trim();
  const compare = (a, b, numeric) => {
    if (!numeric) return a.localeCompare(b, undefined, { numeric: true });
    const [x, y] = [parseFloat(a), parseFloat(b)];
    if (Number.isNaN(x) || Number.isNaN(y)) return Number.isNaN(x) - Number.isNaN(y);
    return x - y;
  };
  for (const table of document.querySelectorAll("table.sortable")) {
    const body = table.tBodies[0];
    const original = [...body.rows];
    const groups = original.filter((row) => row.className === "group");
    const own = original.filter((row) => row.className !== "group");
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.className = "sort";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const next = { none: "ascending", ascending: "descending", descending: "none" }[head.ariaSort ?? "none"];
        heads.forEach((other) => other.removeAttribute("aria-sort"));
        groups.forEach((row) => { row.hidden = next !== "none"; });
        if (next === "none") return body.append(...original);
        head.ariaSort = next;
        const numeric = "numeric" in head.dataset;
        const missing = (row) => numeric && Number.isNaN(parseFloat(key(row, column)));
        const sign = next === "ascending" ? 1 : -1;
        const sorted = [...own].sort((a, b) =>
          missing(a) - missing(b) || sign * compare(key(a, column), key(b, column), numeric));
        body.append(...sorted);
      });
    });
  }

  const dialog = document.querySelector("dialog");
  const stage = dialog.querySelector(".body");
  const zooms = [...document.querySelectorAll("button.zoom")];
  let shown = 0;
  const show = (index) => {
    shown = (index + zooms.length) % zooms.length;
    const button = zooms[shown];
    dialog.querySelector("p").textContent = button.dataset.caption;
    stage.replaceChildren(...[...button.childNodes].map((node) => node.cloneNode(true)));
    if (!dialog.open) dialog.showModal();
  };
  zooms.forEach((button, index) => button.addEventListener("click", () => show(index)));
  dialog.querySelector(".previous").addEventListener("click", () => show(shown - 1));
  dialog.querySelector(".next").addEventListener("click", () => show(shown + 1));
  dialog.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (step) show(shown + step);
  });
  dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });

  window.addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((part) => { part.open = true; }));

  const links = new Map([...document.querySelectorAll("nav.toc a")].map((link) => [link.hash.slice(1), link]));
  const seen = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      links.forEach((link) => link.removeAttribute("aria-current"));
      links.get(entry.target.id)?.setAttribute("aria-current", "true");
    }
  }, { rootMargin: "-15% 0px -75% 0px" });
  links.forEach((_, id) => { const section = document.getElementById(id); if (section) seen.observe(section); });
})();
