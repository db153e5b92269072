// Small manners of forms: one submit per click, messages that go away, errors that get the focus.
const TOAST_MS = 8000;

document.addEventListener("submit", (event) => {
  const form = event.target;
  if (!form.matches("[data-once]")) return;
  if (form.dataset.sent) { event.preventDefault(); return; }
  form.dataset.sent = "yes";
  const button = event.submitter;
  if (button) {
    button.setAttribute("aria-disabled", "true");
    if (button.dataset.busy) button.textContent = button.dataset.busy;
  }
});

// Coming back with the back button shows the page as it was left: with its buttons ready again.
window.addEventListener("pageshow", (event) => {
  if (!event.persisted) return;
  for (const form of document.querySelectorAll("[data-sent]")) delete form.dataset.sent;
  for (const button of document.querySelectorAll("[data-busy][aria-disabled]")) button.removeAttribute("aria-disabled");
});

document.addEventListener("click", (event) => {
  event.target.closest?.("[data-dismiss]")?.closest("[data-toast]")?.remove();
  const shown = event.target.closest?.("[data-fill]");
  if (shown) document.getElementById(shown.dataset.fill)?.focus();
});

for (const toast of document.querySelectorAll("[data-toast]")) setTimeout(() => toast.remove(), TOAST_MS);
document.querySelector("[data-focus]")?.focus();
