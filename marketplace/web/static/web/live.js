// Live pages. One socket a page; an event makes the page fetch the fragment that also served its first load,
// so live always equals reload. Only progress and previews carry data and are patched in place.
// Without a socket the same fragments are polled.
import { credits, fill, secondsRange } from "./numbers.js";

const POLL_MS = 2500;
const NOT_LIVE_MS = 10_000;
const RETRY_FIRST_MS = 500;
const RETRY_MOST_MS = 15_000;
const SAY_EVERY_MS = 5000;
const CLOSE_NOT_SIGNED_IN = 4401;
const QUEUE_SPREAD_MS = 1500; // the line moved: forty pages must not ask in the same instant

const regions = () => [...document.querySelectorAll("[data-live]")];
const words = (text) => (text ?? "").split(" ").filter(Boolean);
const seqs = new Map(); // topic → last event number seen
const frames = new Map(); // job → latest progress frame
let socket = null;
let retryMs = RETRY_FIRST_MS;
let lastContact = Date.now();

export function start() {
  if (!regions().length) return;
  for (const region of regions()) {
    const topics = words(region.dataset.liveTopics);
    for (const topic of topics) seqs.set(topic, Math.max(seqs.get(topic) ?? 0, Number(region.dataset.liveSeq) || 0));
  }
  connect();
  setInterval(poll, POLL_MS);
  setInterval(showWhetherLive, 1000);
  // A socket without a network looks open for minutes.
  window.addEventListener("offline", () => socket?.close());
  window.addEventListener("online", () => { retryMs = RETRY_FIRST_MS; if (!socket) connect(); });
  window.addEventListener("pageshow", (event) => { if (event.persisted) refreshAll(); });
}

// --- the socket ---------------------------------------------------------------------------------

function connect() {
  const url = new URL("/ws/live", location.href);
  url.protocol = location.protocol === "https:" ? "wss:" : "ws:";
  const mine = (socket = new WebSocket(url));
  mine.addEventListener("open", () => {
    retryMs = RETRY_FIRST_MS;
    lastContact = Date.now();
    for (const [topic, seq] of seqs) mine.send(JSON.stringify({ type: "subscribe", topic, last_seq: seq }));
  });
  mine.addEventListener("message", (event) => {
    lastContact = Date.now();
    hear(JSON.parse(event.data));
  });
  mine.addEventListener("close", (event) => {
    if (socket !== mine) return;
    socket = null;
    if (event.code === CLOSE_NOT_SIGNED_IN) { refreshAll(); return; } // its 401 leads to the door
    // Forty browsers must not come back in the same instant.
    setTimeout(() => { if (!socket) connect(); }, retryMs * (0.5 + Math.random()));
    retryMs = Math.min(retryMs * 2, RETRY_MOST_MS);
  });
}

function hear(message) {
  if (message.type === "progress") return showFrame(message);
  if (message.type === "event") {
    // Numbers count within a job: a topic that carries many jobs has no last one.
    if (message.topic.startsWith("job:")) seqs.set(message.topic, Math.max(seqs.get(message.topic) ?? 0, message.seq));
    return refreshFor(message.topic, "event");
  }
  if (["balance", "workshop", "notice"].includes(message.type)) return refreshFor(message.topic, message.type);
  // What a topic of many jobs said before we listened has no number to compare: ask once.
  if (message.type === "subscribed" && (!message.topic.startsWith("job:") || message.seq !== seqs.get(message.topic))) {
    refreshFor(message.topic, null);
  }
}

// --- fragments ----------------------------------------------------------------------------------

function refreshFor(topic, kind) {
  for (const region of regions()) {
    if (topic && !words(region.dataset.liveTopics).includes(topic)) continue;
    if (kind && !words(region.dataset.liveKinds).includes(kind)) continue;
    if (kind === "workshop") refreshSoon(region);
    else refresh(region);
  }
}

const refreshAll = () => Promise.all(regions().map(refresh));

function refreshSoon(region) {
  if (region.soon) return;
  region.soon = setTimeout(() => { region.soon = 0; refresh(region); }, 300 + Math.random() * QUEUE_SPREAD_MS);
}

// One request at a time for a region; what comes meanwhile is answered by one more.
export async function refresh(region) {
  if (region.fetching) { region.again = true; return; }
  region.fetching = true;
  try {
    do {
      region.again = false;
      await fetchInto(region);
    } while (region.again);
  } catch (fault) {
    if (!(fault instanceof TypeError)) throw fault; // fetch's word for "no network": the poll tries again
  } finally {
    region.fetching = false;
  }
}

async function fetchInto(region) {
  const headers = { "HX-Request": "true" };
  if (region.dataset.liveEtag) headers["If-None-Match"] = region.dataset.liveEtag;
  const answer = await fetch(region.dataset.live, { headers, cache: "no-store", redirect: "manual" });
  if (answer.status === 401) { location.assign(location.href); return; } // signed out elsewhere: ask anew
  if (answer.status === 304 || answer.ok) lastContact = Date.now();
  if (!answer.ok) return;
  region.dataset.liveEtag = answer.headers.get("ETag") ?? "";
  replace(region, await answer.text());
}

function replace(region, html) {
  const focused = region.contains(document.activeElement) ? document.activeElement.id : "";
  const open = [...region.querySelectorAll("details[open][id]")].map((details) => details.id);
  const said = region.querySelector("[data-say]")?.dataset.say;
  region.innerHTML = html;
  window.htmx?.process(region);
  region.dispatchEvent(new Event("live:changed", { bubbles: true }));
  for (const id of open) document.getElementById(id)?.setAttribute("open", "");
  if (focused) document.getElementById(focused)?.focus({ preventScroll: true });
  const saying = region.querySelector("[data-say]")?.dataset.say;
  if (saying && saying !== said) say(saying);
  for (const [job, frame] of frames) patch(job, frame);
}

// --- progress -----------------------------------------------------------------------------------

function showFrame({ topic, job, frame }) {
  const id = job ?? topic.slice("job:".length);
  // Lists get frames without pictures; the job's own topic brings them. Keep the last picture there was.
  frames.set(id, { ...frame, preview: frame.preview ?? frames.get(id)?.preview });
  patch(id, frames.get(id));
}

function patch(job, frame) {
  for (const box of document.querySelectorAll(`[data-job="${CSS.escape(job)}"]`)) patchBox(box, frame);
}

function patchBox(box, frame) {
  const percent = Math.max(0, Math.min(100, Math.round(frame.percent)));
  const put = (name, text) => {
    for (const place of box.querySelectorAll(`[data-p="${name}"]`)) if (place.textContent !== text) place.textContent = text;
  };
  const filled = (name, values) => {
    for (const place of box.querySelectorAll(`[data-p="${name}"]`)) {
      const text = fill(place.dataset.text, values);
      if (place.textContent !== text) place.textContent = text;
    }
  };
  for (const bar of box.querySelectorAll("progress[data-p]")) {
    bar.value = percent;
    bar.setAttribute("aria-valuetext", `${percent}\u00a0%`);
  }
  put("percent", `${percent}\u00a0%`);
  put("node", frame.node_title || frame.node || "");
  put("note", frame.note ?? "");
  if (frame.step != null && frame.steps) filled("step", { step: frame.step, steps: frame.steps });
  else put("step", "");
  if (frame.stage != null && frame.stages) filled("stage", { stage: frame.stage, stages: frame.stages });
  if (frame.remaining_ms != null) filled("left", { time: secondsRange((frame.remaining_ms / 1000) * 0.9, (frame.remaining_ms / 1000) * 1.15) });
  if (frame.charged_ms != null && box.dataset.rate) patchMoney(box, frame.charged_ms, put, filled);
  if (frame.preview) patchPreview(box, frame);
}

// The same rule as the settlement's: time up to the ceiling's, to the nearest ten milli-credits, never above what
// was set aside.
function patchMoney(box, chargedMs, put, filled) {
  const held = Number(box.dataset.held);
  const exact = (Math.min(chargedMs, Number(box.dataset.mostMs)) * Number(box.dataset.rate)) / 1000;
  const used = Math.min(Math.round(exact / 10) * 10, held);
  const values = { paid: credits(used), back: credits(held - used) };
  put("used", values.paid);
  filled("cancel", values);
  filled("cancelhint", values);
  for (const bar of box.querySelectorAll("[data-p=usedbar]")) bar.setAttribute("width", `${held ? (100 * used) / held : 0}%`);
}

function patchPreview(box, frame) {
  for (const picture of box.querySelectorAll("img[data-p=preview]")) {
    picture.src = frame.preview;
    picture.hidden = false;
    picture.parentElement.querySelector("[data-p=nopreview]")?.setAttribute("hidden", "");
  }
}

// --- without a socket ---------------------------------------------------------------------------

function poll() {
  const open = socket?.readyState === WebSocket.OPEN;
  if (!open && !document.hidden) refreshAll();
}

function showWhetherLive() {
  const banner = document.getElementById("not-live");
  const stale = socket?.readyState !== WebSocket.OPEN && Date.now() - lastContact > NOT_LIVE_MS;
  if (stale && banner.hidden) {
    const time = new Date(lastContact).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false });
    banner.querySelector("span").textContent = fill(navigator.onLine ? banner.dataset.liveText : banner.dataset.offlineText, { time });
  }
  banner.hidden = !stale;
}

// --- spoken words -------------------------------------------------------------------------------

let sayTimer = 0;
let saidAt = 0;
function say(text) {
  clearTimeout(sayTimer);
  sayTimer = setTimeout(() => {
    saidAt = Date.now();
    document.getElementById("said").textContent = text;
  }, Math.max(0, saidAt + SAY_EVERY_MS - Date.now()));
}
