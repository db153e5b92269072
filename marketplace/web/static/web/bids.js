// The button says what the chosen bid sets aside. Parts of the page are fetched again while one chooses, so what was
// chosen is put back whenever the choices are new.
import { fill } from "./numbers.js";

let chosen = "";

function follow() {
  const choices = [...document.querySelectorAll("[data-bid]")];
  const kept = choices.find((one) => one.value === chosen && !one.disabled);
  if (kept && !kept.checked) kept.checked = true;
  const now = choices.find((one) => one.checked);
  const button = document.querySelector("[data-run-text]");
  if (now && button) button.textContent = fill(button.dataset.runText, { most: now.dataset.most });
}

document.addEventListener("change", (event) => {
  if (!event.target.matches?.("[data-bid]")) return;
  chosen = event.target.value;
  follow();
});
document.addEventListener("live:changed", follow);
document.addEventListener("htmx:afterSwap", follow);
follow();
