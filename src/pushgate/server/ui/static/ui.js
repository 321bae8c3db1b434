// Copies, deletes, refreshes. The pages can be read without it.

import { startCopying, say, copyText } from "./copy.js";
import { askAndDelete } from "./delete.js";
import { startRefreshing, refresh } from "./live.js";

const STORED = "pushgate-open";

// Shows what needs a script, and opens what was open.
function enhance() {
  for (const button of document.querySelectorAll("button[hidden]")) button.hidden = false;
  const open = remembered();
  for (const details of document.querySelectorAll("details[data-key]")) {
    if (open.has(details.dataset.key)) details.open = true;
  }
}

function remembered() {
  try {
    return new Set(JSON.parse(sessionStorage.getItem(STORED)) ?? []);
  } catch {
    return new Set();
  }
}

// "toggle" does not bubble, so it is caught on its way down.
document.addEventListener(
  "toggle",
  ({ target }) => {
    if (!target.dataset?.key) return;
    const open = remembered();
    open[target.open ? "add" : "delete"](target.dataset.key);
    try {
      sessionStorage.setItem(STORED, JSON.stringify([...open]));
    } catch {
      // Storage is full or forbidden: then a reload closes everything.
    }
  },
  true,
);

const menu = document.getElementById("menu");
let opener = null;

function openMenu(button) {
  const row = button.closest("tr");
  opener = button;
  const [link, , remove] = menu.children;
  link.href = row.querySelector("a").href;
  remove.hidden = !row.dataset.delete;
  menu.showPopover();
  const at = button.getBoundingClientRect();
  const top = Math.min(at.bottom + 2, innerHeight - menu.offsetHeight - 8);
  // Set by the object model, which the security policy allows.
  menu.style.top = `${top}px`;
  menu.style.left = `${at.right - menu.offsetWidth}px`;
  link.focus();
}

menu?.addEventListener("keydown", (event) => {
  const items = [...menu.children].filter((item) => !item.hidden);
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (event.key === "Tab") menu.hidePopover();
  if (!step) return;
  event.preventDefault();
  const next = items.indexOf(document.activeElement) + step;
  items[(next + items.length) % items.length].focus();
});

menu?.addEventListener("toggle", (event) => {
  if (event.newState === "closed" && menu.contains(document.activeElement)) opener?.focus();
});

document.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  const { dataset } = button;
  if ("menu" in dataset) openMenu(button);
  if ("menuCopy" in dataset) {
    menu.hidePopover();
    copyText(opener.closest("tr").dataset.selector);
  }
  if ("menuDelete" in dataset) {
    menu.hidePopover();
    deleteOne(opener.closest("tr"));
  }
  if ("deleteOne" in dataset) deleteOne(button.closest("[data-delete]"));
  if (dataset.deleteAll) deleteThese(dataset.deleteAll);
  if (dataset.wipe) wipe(button);
});

function deleteOne(element) {
  const { selector, home } = element.dataset;
  const group = { name: selector, path: element.dataset.delete };
  askAndDelete("Delete this group?", async () => [group], () => {
    if (home) location.assign(home);
    else afterDelete(element);
  });
}

// The focus goes to the row that takes the place of the one that is gone.
async function afterDelete(row) {
  const rows = [...document.querySelectorAll("tr[data-selector]")];
  const at = rows.indexOf(row);
  await refresh();
  const left = [...document.querySelectorAll("tr[data-selector] a")];
  (left[Math.min(at, left.length - 1)] ?? document.getElementById("q")).focus();
  say("Deleted.");
}

function deleteThese(url) {
  const groups = async () => {
    const base = url.slice(0, url.indexOf("/ui/groups"));
    const answer = await (await fetch(plainUrl(url))).json();
    return answer.groups.map(({ name, path }) => ({ name, path: `${base}/${path}` }));
  };
  askAndDelete("Delete these groups?", groups, async () => {
    await refresh();
    document.getElementById("q").focus();
  });
}

function wipe(button) {
  const all = [{ name: "Every group of this gateway. This cannot be undone.", path: button.dataset.wipe, method: "PUT" }];
  askAndDelete(button.textContent.replace("…", "?"), async () => all, () => location.reload());
}

// A page that was opened with credentials in its URL may not pass them on to fetch.
function plainUrl(path) {
  const url = new URL(path, location.href);
  url.username = url.password = "";
  return url;
}

document.addEventListener("keydown", (event) => {
  if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.closest("input, textarea, [contenteditable]")) return;
  const search = document.getElementById("q");
  if (!search) return;
  event.preventDefault();
  search.select();
});

enhance();
startCopying();
startRefreshing(enhance);
