// Keeps the page up to date: asks for it again, and changes only what is different.

const EVERY_MS = 5000;
const STORED = "pushgate-paused";
const live = document.getElementById("live");
const text = document.getElementById("live-text");
const toggle = document.getElementById("live-toggle");
let updated = Date.now();
let timer = 0;
let changed = () => {};

const isPaused = () => live.classList.contains("paused");

// Makes the children of *old* those of *fresh*, and keeps every element that stays what it is.
function morph(old, fresh) {
  const kept = new Map([...old.children].filter((child) => child.id).map((child) => [child.id, child]));
  let at = old.firstChild;
  for (const wanted of [...fresh.childNodes]) {
    const same = wanted.id ? kept.get(wanted.id) : alike(at, wanted) ? at : null;
    if (!same) {
      old.insertBefore(wanted, at);
      continue;
    }
    if (same !== at) old.insertBefore(same, at);
    else at = at.nextSibling;
    if (same.nodeType === Node.TEXT_NODE) {
      if (same.data !== wanted.data) same.data = wanted.data;
    } else if (!same.isEqualNode(wanted)) {
      copyAttributes(same, wanted);
      morph(same, wanted);
    }
  }
  while (at) {
    const next = at.nextSibling;
    at.remove();
    at = next;
  }
}

function alike(old, wanted) {
  return old?.nodeType === wanted.nodeType && old.nodeName === wanted.nodeName && !old.id;
}

function copyAttributes(old, wanted) {
  for (const { name, value } of wanted.attributes) {
    // What the reader does stays: open details, text in the search, buttons that were shown.
    if (name !== "hidden" && name !== "value" && old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
  for (const { name } of [...old.attributes]) {
    if (!wanted.hasAttribute(name) && name !== "open" && name !== "style") old.removeAttribute(name);
  }
}

export async function refresh() {
  const url = new URL(location.href);
  url.username = url.password = url.hash = "";
  const answer = await fetch(url, { headers: { Accept: "text/html" }, cache: "no-store" });
  // 404 is the page of a group that is gone.
  if (!answer.ok && answer.status !== 404) throw new Error(answer.statusText);
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  document.title = page.title;
  morph(document.getElementById("main"), page.getElementById("main"));
  changed();
  updated = Date.now();
}

const isBusy = () => document.querySelector("dialog[open], [popover]:popover-open") !== null;

async function tick() {
  clearTimeout(timer);
  if (!document.hidden && !isPaused() && !isBusy() && document.getSelection().isCollapsed) {
    try {
      await refresh();
      live.classList.remove("broken");
    } catch {
      live.classList.add("broken");
    }
  }
  timer = setTimeout(tick, EVERY_MS);
}

function show() {
  const seconds = Math.round((Date.now() - updated) / 1000);
  const state = isPaused() ? "paused" : live.classList.contains("broken") ? "no answer" : "live";
  text.textContent = `${state} · updated ${seconds} s ago ·`;
  toggle.textContent = isPaused() ? "resume" : "pause";
}

export function startRefreshing(whenChanged) {
  if (!live) return;
  changed = whenChanged;
  live.hidden = false;
  live.classList.toggle("paused", sessionStorage.getItem(STORED) === "yes");
  toggle.addEventListener("click", () => {
    live.classList.toggle("paused");
    sessionStorage.setItem(STORED, isPaused() ? "yes" : "no");
    show();
    if (!isPaused()) tick();
  });
  // A tab in the background asks nothing, and catches up when it is seen again.
  document.addEventListener("visibilitychange", () => document.hidden || tick());
  setInterval(() => document.hidden || show(), 1000);
  show();
  timer = setTimeout(tick, EVERY_MS);
}
