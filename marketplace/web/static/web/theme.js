// Theme switch: system → light → dark. Loaded before the body, so that the first paint has the right colours.
(() => {
  const root = document.documentElement;
  const order = ["", "light", "dark"];
  const read = () => { try { return localStorage.getItem("theme") ?? ""; } catch { return ""; } };
  const keep = (theme) => {
    // Storage can be closed to us (private windows): the choice then lasts for this page.
    try { theme ? localStorage.setItem("theme", theme) : localStorage.removeItem("theme"); } catch { /* page only */ }
  };
  const show = (theme) => { if (theme) root.dataset.theme = theme; else delete root.dataset.theme; };

  show(order.includes(read()) ? read() : "");
  document.addEventListener("click", (event) => {
    const button = event.target.closest?.("[data-theme-switch]");
    if (!button) return;
    const next = order[(order.indexOf(root.dataset.theme ?? "") + 1) % order.length];
    show(next);
    keep(next);
    const said = document.getElementById("said");
    if (said) said.textContent = button.dataset[next || "system"];
  });
})();
