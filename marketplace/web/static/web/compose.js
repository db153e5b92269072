// A template's form: sliders beside numbers, and pictures sent while one fills it in. The price itself is fetched by
// htmx attributes in the page; without scripts the Price button does the same.
import { fill } from "./numbers.js";

const tell = (element) => element.dispatchEvent(new Event("input", { bubbles: true }));

// A slider is shown where scripts run: the number beside it is what is sent.
for (const slider of document.querySelectorAll("[data-slides]")) {
  const number = document.getElementById(slider.dataset.slides);
  slider.hidden = false;
  slider.value = number.value;
  slider.addEventListener("input", (event) => { event.stopPropagation(); number.value = slider.value; tell(number); });
  number.addEventListener("input", () => { if (number.value !== "") slider.value = number.value; });
}

async function send(picker, file) {
  const said = document.getElementById(picker.dataset.said);
  const say = (sentence) => { said.textContent = fill(sentence, { name: file.name }); };
  const form = picker.closest("form");
  if (file.size > Number(picker.dataset.limit)) return say(picker.dataset.tooBig);
  say(picker.dataset.sending);
  const body = new FormData();
  body.append("workshop", picker.dataset.workshop);
  body.append("file", file);
  try {
    const headers = { "X-CSRFToken": form.elements.csrfmiddlewaretoken.value };
    const answer = await fetch(picker.dataset.sendTo, { method: "POST", body, headers });
    const told = await answer.json().catch(() => ({}));
    if (!answer.ok) return say(told.message ?? picker.dataset.failed);
    const select = document.getElementById(picker.dataset.picks);
    if (![...select.options].some((option) => option.value === told.name)) select.add(new Option(told.name, told.name));
    select.value = told.name;
    say(picker.dataset.sentText);
    tell(select);
  } catch (fault) {
    if (!(fault instanceof TypeError)) throw fault; // fetch's word for "no network"
    say(picker.dataset.failed);
  }
}

for (const picker of document.querySelectorAll("[data-picks]")) {
  picker.closest("[data-picker]").hidden = false;
  picker.addEventListener("change", async () => {
    if (picker.files.length) await send(picker, picker.files[0]);
    picker.value = "";
  });
}

// Choosing a model in a missing one's place is no change of the form yet: its button makes it one.
for (const form of document.querySelectorAll("#compose")) {
  form.addEventListener("input", (event) => {
    if (event.target.name?.startsWith("swap:")) event.stopPropagation();
  }, { capture: true });
}

// What was unfolded stays so; what the fetched price found wrong is marked at its field too.
let unfolded = [];
document.addEventListener("htmx:beforeSwap", () => {
  unfolded = [...document.querySelectorAll("details[open][id]")].map((details) => details.id);
});
document.addEventListener("htmx:afterSwap", () => {
  for (const id of unfolded) document.getElementById(id)?.setAttribute("open", "");
  for (const input of document.querySelectorAll("[data-field][aria-invalid]")) input.removeAttribute("aria-invalid");
  for (const problem of document.querySelectorAll("[data-mends]")) {
    document.getElementById(problem.dataset.mends)?.setAttribute("aria-invalid", "true");
  }
});
