// Asks, naming what goes, and deletes; stays open with the reason if that fails.

import { say } from "./copy.js";
import { refresh } from "./live.js";

const AT_ONCE = 6;
const dialog = document.getElementById("confirm");
const title = document.getElementById("confirm-title");
const what = document.getElementById("confirm-what");
const error = document.getElementById("confirm-error");
const buttons = dialog.querySelectorAll("button");

function busy(is) {
  for (const button of buttons) button.disabled = is;
}

function named(group) {
  const line = document.createElement("p");
  line.textContent = group.name;
  return line;
}

// A page that was opened with credentials in its URL may not pass them on to fetch.
async function asked(path, method = "GET") {
  const url = new URL(path, location.href);
  url.username = url.password = "";
  const answer = await fetch(url, { method });
  if (!answer.ok) throw new Error(`${answer.status} ${(await answer.text()) || answer.statusText}`);
  return answer;
}

// Several at a time. What could not be deleted stays in the list.
async function removeAll(groups) {
  const waiting = [...groups];
  const failures = [];
  const worker = async () => {
    for (let group; (group = waiting.shift()); ) {
      try {
        await asked(group.path, group.method ?? "DELETE");
        groups.splice(groups.indexOf(group), 1);
      } catch (failure) {
        failures.push(failure.message);
      }
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
  return failures;
}

// The question that the dialog shows: Escape may have closed it, and another one opened it anew.
let shown;

async function ask(question, load, done) {
  const self = (shown = {});
  const isShown = () => dialog.open && shown === self;
  let groups = [];
  title.textContent = question;
  error.textContent = "";
  what.replaceChildren();
  busy(true);
  dialog.querySelector("form").onsubmit = async (event) => {
    if (event.submitter?.value !== "confirm") return;
    event.preventDefault();
    busy(true);
    const failures = await removeAll(groups);
    const failure = failures.length ? `Not deleted: ${failures[0]}` : "";
    if (isShown()) {
      busy(false);
      if (failure) {
        what.replaceChildren(...groups.map(named));
        error.textContent = failure;
        return;
      }
      dialog.close();
    }
    if (!failure) await done();
    say(failure || "Deleted.");
  };
  dialog.showModal();
  try {
    groups = await load();
    if (!isShown()) return;
    if (groups.length > 1) title.textContent = `Delete these ${groups.length.toLocaleString("en")} groups?`;
    what.replaceChildren(...groups.map(named));
    busy(false);
  } catch (failure) {
    if (!isShown()) return;
    buttons[0].disabled = false;
    error.textContent = `The groups could not be listed: ${failure.message}`;
  }
}

// *element* is the row of a group, or the actions of its page.
export function deleteOne(element) {
  const { selector: name, delete: path, home } = element.dataset;
  ask(
    "Delete this group?",
    async () => [{ name, path }],
    async () => {
      if (home) location.assign(home);
      else await afterRow(element);
    },
  );
}

// The focus goes to the row that takes the place of the one that is gone.
async function afterRow(row) {
  const at = [...document.querySelectorAll("tr[data-selector]")].indexOf(row);
  await refresh();
  const left = [...document.querySelectorAll("tr[data-selector] a")];
  (left[Math.min(at, left.length - 1)] ?? document.getElementById("q")).focus();
}

function deleteAll(url) {
  const base = url.slice(0, url.indexOf("/ui/groups"));
  const groups = async () => {
    const answer = await (await asked(url)).json();
    return answer.groups.map(({ name, path }) => ({ name, path: `${base}/${path}` }));
  };
  ask("Delete these groups?", groups, afterMany);
}

async function afterMany() {
  await refresh();
  document.getElementById("q").focus();
}

function wipe(button) {
  const all = { name: "Every group of this gateway. This cannot be undone.", path: button.dataset.wipe, method: "PUT" };
  ask(button.textContent.replace("…", "?"), async () => [all], afterMany);
}

export function startDeleting() {
  document.addEventListener("click", ({ target }) => {
    const button = target.closest("button");
    if (!button) return;
    if ("deleteOne" in button.dataset) deleteOne(button.closest("[data-delete]"));
    if (button.dataset.deleteAll) deleteAll(button.dataset.deleteAll);
    if (button.dataset.wipe) wipe(button);
  });
}
