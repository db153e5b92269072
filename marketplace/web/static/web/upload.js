// Files a workflow reads go to the API one by one; the list beside the field is then fetched anew.
import { refresh } from "./live.js";
import { fill } from "./numbers.js";

async function send(form, file) {
  const said = form.querySelector("[data-said]");
  const say = (sentence) => { said.textContent = fill(sentence, { name: file.name }); };
  if (file.size > Number(form.dataset.limit)) return say(form.dataset.tooBig);
  say(form.dataset.sending);
  const body = new FormData();
  body.append("workshop", form.elements.workshop.value);
  body.append("file", file);
  const headers = { "X-CSRFToken": form.elements.csrfmiddlewaretoken.value };
  try {
    const answer = await fetch(form.action, { method: "POST", body, headers });
    if (!answer.ok) {
      const told = await answer.json().catch(() => ({}));
      return say(told.message ?? form.dataset.failed);
    }
    say(form.dataset.sentText);
    await refresh(document.getElementById(form.dataset.list));
  } catch (fault) {
    if (!(fault instanceof TypeError)) throw fault; // fetch's word for "no network"
    say(form.dataset.failed);
  }
}

for (const form of document.querySelectorAll("[data-upload]")) {
  const input = form.querySelector("input[type=file]");
  const sendAll = async (files) => { for (const file of files) await send(form, file); };
  input.addEventListener("change", async () => { await sendAll([...input.files]); input.value = ""; });
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("dragover", (event) => { event.preventDefault(); form.dataset.over = "true"; });
  form.addEventListener("dragleave", () => { delete form.dataset.over; });
  form.addEventListener("drop", (event) => {
    event.preventDefault();
    delete form.dataset.over;
    sendAll([...event.dataTransfer.files]);
  });
}
