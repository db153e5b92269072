// A workflow file dropped or chosen is read here and shown in the text field: what is priced is what is seen.
// A picture stays in the file field; the site reads the workflow inside it.
const FALLBACK_LIMIT_BYTES = 2 * 1024 * 1024;

async function take(zone, input, file) {
  const text = document.getElementById(zone.dataset.text);
  const said = document.getElementById(zone.dataset.said);
  const say = (sentence) => { said.textContent = sentence.replace("%name", file.name); };
  const limit = Number(zone.dataset.limit) || FALLBACK_LIMIT_BYTES;
  const picture = file.type.startsWith("image/");
  if (file.size > (picture ? 1.9 * limit : limit)) { input.value = ""; return say(zone.dataset.tooBig); }
  const title = document.getElementById(zone.dataset.title);
  if (title && !title.value) title.value = file.name.replace(/\.\w+$/, "").replaceAll("_", " ");
  if (picture) {
    const kept = new DataTransfer();
    kept.items.add(file);
    input.files = kept.files;
    return say(zone.dataset.picture);
  }
  text.value = await file.text();
  input.value = ""; // the text field is now the one source; the file is not sent a second time
  say(zone.dataset.taken);
  text.focus();
}

for (const zone of document.querySelectorAll("[data-drop]")) {
  const input = zone.querySelector("input[type=file]");
  input.addEventListener("change", () => { if (input.files.length) take(zone, input, input.files[0]); });
  zone.addEventListener("dragover", (event) => { event.preventDefault(); zone.dataset.over = "true"; });
  zone.addEventListener("dragleave", () => { delete zone.dataset.over; });
  zone.addEventListener("drop", (event) => {
    event.preventDefault();
    delete zone.dataset.over;
    if (event.dataTransfer.files.length) take(zone, input, event.dataTransfer.files[0]);
  });
}
