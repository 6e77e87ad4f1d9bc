// Keeps an open page current, and sends its forms without leaving it. Everything works without this module too: links
// and forms are real, and the server renders every part. Nothing is made here but requests and swaps.

const page = document.getElementById("page");
const trouble = document.getElementById("trouble");
const REFRESH_GAP_MS = 1500;
const REFRESH_ANYWAY_MS = 5 * 60 * 1000;
const RECONNECT_MS = 15_000;
const OPERATIONS_MS = 3000;
const QUIET = { headers: { "X-Fragment": "1" }, credentials: "same-origin", redirect: "error" };

class Failed extends Error {}

// ---- Asking the server

async function ask(path, options = {}) {
  let response;
  try {
    response = await fetch(path, { ...QUIET, ...options });
  } catch {
    throw new Failed("The server does not answer. Trying again.");
  }
  if (response.status === 401) {
    location.assign("/dashboard/login?reason=expired");
    throw new Failed("Signing in again.");
  }
  return response;
}

function address(path, extra = {}) {
  const query = new URLSearchParams(extra);
  if (page.dataset.user) query.set("user", page.dataset.user);
  const text = query.toString();
  return text ? `${path}?${text}` : path;
}

// ---- Putting an answer into the page: whoever is at work there keeps focus, place and choices

const FOCUSABLE = "a[href], button, input:not([type=hidden]), select, summary, [tabindex]";

function swap(html) {
  const parts = new DOMParser().parseFromString(html, "text/html").querySelectorAll("section[id]");
  for (const part of parts) {
    const old = document.getElementById(part.id);
    if (!old) continue;
    const focused = old.contains(document.activeElement) ? document.activeElement : null;
    const place = [...old.querySelectorAll(FOCUSABLE)].indexOf(focused);
    for (const details of old.querySelectorAll("details[open][id]")) {
      part.querySelector(`#${CSS.escape(details.id)}`)?.setAttribute("open", "");
    }
    const scrolled = [...old.querySelectorAll(".scroll, .alerts")].map((one) => [one.scrollLeft, one.scrollTop]);
    const fresh = document.importNode(part, true);
    old.replaceWith(fresh);
    fresh.querySelectorAll(".scroll, .alerts").forEach((one, index) => {
      if (scrolled[index]) [one.scrollLeft, one.scrollTop] = scrolled[index];
    });
    for (const choice of old.querySelectorAll("form select")) {
      const twin = [...fresh.querySelectorAll("form select")].find((one) => one.form.action === choice.form.action);
      if (twin) twin.value = choice.value;
    }
    if (focused) {
      const same = focused.id ? document.getElementById(focused.id) : fresh.querySelectorAll(FOCUSABLE)[place];
      same?.focus({ preventScroll: true });
    }
  }
  return parts.length;
}

function announce(text) {
  const line = document.getElementById("announce");
  if (line) line.textContent = text;
}

function tell(text) {
  trouble.textContent = text;
  trouble.hidden = !text;
}

// ---- Refreshing

const wanted = new Set();
// Answers may overtake each other: only that of the latest question about a part is shown.
const latest = {};
let running = false;
let retry = 0;

function total() {
  return document.querySelector("#part-summary .lead data");
}

function ticket(name) {
  latest[name] = (latest[name] ?? 0) + 1;
  return latest[name];
}

async function refresh(name) {
  const before = total()?.value;
  const mine = ticket(name);
  const response = await ask(address(`/dashboard/fragments/${name}`, { period: page.dataset.period }));
  if (!response.ok) throw new Failed("The figures cannot be read at the moment. Trying again.");
  const html = await response.text();
  if (latest[name] !== mine) return;
  swap(html);
  const now = total();
  if (now && now.value !== before) {
    now.closest(".lead").classList.add("fresh");
    announce(`Spent so far: ${now.textContent}`);
  }
  if (name === "alerts") {
    const open = document.querySelectorAll("#part-alerts .alert.open").length;
    announce(`Alerts changed: ${open} open`);
  }
}

async function work() {
  if (running) return;
  running = true;
  while (wanted.size) {
    const [name] = wanted;
    wanted.delete(name);
    try {
      await refresh(name);
      retry = 0;
      tell("");
    } catch (error) {
      if (!(error instanceof Failed)) throw error;
      tell(error.message);
      wanted.add(name);
      retry = Math.min(retry + 1, 5);
    }
    await new Promise((done) => setTimeout(done, REFRESH_GAP_MS * 2 ** retry / 2));
  }
  running = false;
}

function want(...names) {
  for (const name of names) wanted.add(name);
  work();
}

// ---- Being told of changes

const live = document.getElementById("live");
const liveText = document.getElementById("live-text");
const STATES = { live: "Live", away: "Live updates paused", still: "Connecting" };
let stream = null;
let again = 0;

function show(state) {
  live.hidden = false;
  live.dataset.state = state;
  liveText.textContent = STATES[state];
}

function listen() {
  clearTimeout(again);
  if (stream || document.hidden) return;
  stream = new EventSource(address("/dashboard/events"));
  stream.addEventListener("state", (event) => {
    show(event.data);
    // Whatever happened before this moment is in what is fetched now.
    if (event.data === "live") want("costs", "alerts");
    else tell("The figures cannot be read at the moment. What you see is from before.");
  });
  stream.addEventListener("change", (event) => want(event.data));
  stream.addEventListener("error", () => {
    show("away");
    if (stream?.readyState !== EventSource.CLOSED) return;
    // Refused: too many pages, or signed out. The next question finds out which.
    hush();
    want("costs", "alerts");
    again = setTimeout(listen, RECONNECT_MS);
  });
}

function hush() {
  stream?.close();
  stream = null;
}

// ---- Links and forms

document.addEventListener("click", async (event) => {
  const link = event.target.closest("a[data-period]");
  if (!link || event.button || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  page.dataset.period = link.dataset.period;
  history.replaceState(null, "", link.href);
  const section = link.closest("section");
  section.setAttribute("aria-busy", "true");
  try {
    await refresh("costs");
    announce(`Costs over ${link.textContent.trim()}`);
  } catch (error) {
    if (!(error instanceof Failed)) throw error;
    tell(error.message);
    want("costs");
  } finally {
    section.removeAttribute("aria-busy");
  }
});

document.addEventListener("submit", async (event) => {
  const form = event.target.closest("form[data-part-form]");
  if (!form) return;
  event.preventDefault();
  const part = form.dataset.partForm;
  const section = form.closest("section");
  const buttons = form.querySelectorAll("button");
  const body = new URLSearchParams(new FormData(form));
  const pressed = event.submitter?.id ?? "";
  buttons.forEach((button) => (button.disabled = true));
  section.setAttribute("aria-busy", "true");
  try {
    const response = await ask(form.action, { method: "POST", body });
    const html = await response.text();
    ticket(part);
    const found = swap(html);
    if (!found) throw new Failed("That did not work. Load the page again and try once more.");
    tell("");
    settle(part, response, pressed);
  } catch (error) {
    if (!(error instanceof Failed)) throw error;
    tell(error.message);
    buttons.forEach((button) => (button.disabled = false));
    section.removeAttribute("aria-busy");
  }
});

function settle(part, response, pressed) {
  if (part === "alerts") {
    announce(pressed.startsWith("snooze") ? "Alert snoozed" : "Alert acknowledged");
    document.getElementById("alert-list")?.focus({ preventScroll: true });
    return;
  }
  const message = document.getElementById("budget-message");
  announce(message?.textContent.trim() ?? "");
  const wrong = document.querySelector("#part-budget [aria-invalid]");
  (wrong ?? document.getElementById("budget-save"))?.focus();
  if (response.ok) want("costs", "alerts");
}

// ---- Beginning

async function operations() {
  if (document.hidden) return;
  try {
    const response = await ask("/dashboard/operator/state");
    if (!response.ok) throw new Failed("The state cannot be read at the moment. Trying again.");
    const fresh = new DOMParser().parseFromString(await response.text(), "text/html");
    document.getElementById("system").replaceChildren(...fresh.body.childNodes);
    tell("");
  } catch (error) {
    if (!(error instanceof Failed)) throw error;
    tell(error.message);
  }
}

if (page?.dataset.operator) {
  setInterval(operations, OPERATIONS_MS);
} else if (page) {
  show("still");
  listen();
  document.addEventListener("visibilitychange", () => (document.hidden ? hush() : listen()));
  addEventListener("pagehide", hush);
  addEventListener("pageshow", listen);
  setInterval(() => !document.hidden && want("costs", "alerts"), REFRESH_ANYWAY_MS);
}
