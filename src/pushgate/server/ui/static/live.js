// Keeps the page up to date: asks for it again, and changes only what is different.

import { recall, remember } from "./session.js";
import { setClock } from "./times.js";

const EVERY_MS = 5000;
const NO_ANSWER_MS = 30_000;
const STORED = "pushgate-paused";
const live = document.getElementById("live");
const toggle = document.getElementById("live-toggle");
const bar = document.getElementById("bar");
let etag = "";
let updated = Date.now();
let trouble = "";
let timer = 0;
let changed = () => {};

const isPaused = () => live.classList.contains("paused");
const isBusy = () => document.querySelector("dialog[open], [popover]:popover-open") !== null;

// Asks for the page; *isPoll* says that one from a moment ago will do. Returns nothing if it is the same.
async function fetched(isPoll) {
  const url = new URL(location.href);
  url.username = url.password = url.hash = "";
  const headers = { Accept: "text/html", "If-None-Match": etag };
  if (isPoll) headers["Cache-Control"] = "max-stale";
  const silent = new Error("The gateway does not answer");
  const patience = new AbortController();
  setTimeout(() => patience.abort(silent), NO_ANSWER_MS);
  let answer;
  try {
    answer = await fetch(url, { headers, cache: "no-store", signal: patience.signal });
  } catch {
    throw silent;
  }
  // 404 is the page of a group that is gone.
  if (!answer.ok && answer.status !== 304 && answer.status !== 404) throw new Error(`The gateway answers ${answer.status}`);
  setClock(Date.parse(answer.headers.get("Date")));
  if (answer.status === 304) return null;
  etag = answer.headers.get("ETag") ?? "";
  return new DOMParser().parseFromString(await answer.text(), "text/html");
}

export async function refresh(isPoll = false) {
  const page = await fetched(isPoll);
  updated = Date.now();
  if (!page) return;
  document.title = page.title;
  const focused = document.activeElement;
  morph(document.getElementById("main"), page.getElementById("main"));
  if (focused !== document.activeElement) focused.focus({ preventScroll: true }); // its row was moved
  changed();
}

async function tick() {
  clearTimeout(timer);
  if (!document.hidden && !isPaused() && !isBusy() && document.getSelection().isCollapsed) {
    try {
      await refresh(true);
      if (trouble) {
        trouble = "";
        say("The gateway answers again.");
      }
    } catch (failure) {
      trouble = failure.message;
    }
    show();
  }
  timer = setTimeout(tick, EVERY_MS);
}

// What the bar says stays until something else is to be said, or for some seconds.
function say(text) {
  if (bar.textContent === text) return;
  bar.textContent = text;
  if (text && !trouble && !isPaused()) setTimeout(() => bar.textContent === text && say(""), 4000);
}

function show() {
  const state = isPaused() ? "paused" : trouble ? "no answer" : "live";
  const seconds = Math.round((Date.now() - updated) / 1000);
  document.getElementById("live-text").textContent = `${state} · updated ${seconds < 120 ? `${seconds} s` : `${Math.floor(seconds / 60)} min`} ago ·`;
  live.classList.toggle("broken", trouble !== "");
  bar.classList.toggle("broken", trouble !== "" && !isPaused());
  toggle.textContent = isPaused() ? "resume" : "pause";
  const since = new Date(updated).toLocaleTimeString("en-GB");
  if (isPaused()) say(`Paused. This is how it was at ${since}.`);
  else if (trouble) say(`${trouble}. This is how it was at ${since}; trying again every ${EVERY_MS / 1000} s.`);
}

export function startRefreshing(whenChanged) {
  if (!live) return;
  changed = whenChanged;
  live.hidden = false;
  live.classList.toggle("paused", recall(STORED) === true);
  toggle.addEventListener("click", () => {
    live.classList.toggle("paused");
    remember(STORED, isPaused());
    if (!isPaused()) {
      say("");
      tick();
    }
    show();
  });
  // A tab in the background asks nothing, and catches up when it is seen again.
  document.addEventListener("visibilitychange", () => document.hidden || tick());
  setInterval(() => document.hidden || show(), 1000);
  show();
  timer = setTimeout(tick, EVERY_MS);
}

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
