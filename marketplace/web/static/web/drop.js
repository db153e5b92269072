// A workflow file dropped or chosen is read here and shown in the text field: what is priced is what is seen.
const FALLBACK_LIMIT_BYTES = 2 * 1024 * 1024;

async function take(zone, file) {
  const text = document.getElementById(zone.dataset.text);
  const said = document.getElementById(zone.dataset.said);
  const limit = Number(zone.dataset.limit) || FALLBACK_LIMIT_BYTES;
  if (file.size > limit) { said.textContent = zone.dataset.tooBig; return; }
  text.value = await file.text();
  said.textContent = zone.dataset.taken.replace("%name", file.name);
  const title = document.getElementById(zone.dataset.title);
  if (title && !title.value) title.value = file.name.replace(/\.json$/i, "").replaceAll("_", " ");
  text.focus();
}

for (const zone of document.querySelectorAll("[data-drop]")) {
  const input = zone.querySelector("input[type=file]");
  input.addEventListener("change", async () => {
    if (!input.files.length) return;
    await take(zone, input.files[0]);
    input.value = ""; // the text field is now the one source; the file is not sent a second time
  });
  zone.addEventListener("dragover", (event) => { event.preventDefault(); zone.dataset.over = "true"; });
  zone.addEventListener("dragleave", () => { delete zone.dataset.over; });
  zone.addEventListener("drop", (event) => {
    event.preventDefault();
    delete zone.dataset.over;
    if (event.dataTransfer.files.length) take(zone, event.dataTransfer.files[0]);
  });
}
