// What scripts add to the pages, which can be read without.

import { startCopying } from "./copy.js";
import { startDeleting } from "./delete.js";
import { startRefreshing } from "./live.js";
import { startMenu } from "./menu.js";
import { recall, remember } from "./session.js";
import { countOn, startCounting } from "./times.js";

const OPEN = "pushgate-open";

const remembered = () => new Set(recall(OPEN) ?? []);

// "toggle" does not bubble, so it is caught on its way down.
document.addEventListener(
  "toggle",
  ({ target }) => {
    if (!target.dataset?.key) return;
    const open = remembered();
    open[target.open ? "add" : "delete"](target.dataset.key);
    remember(OPEN, [...open]);
  },
  true,
);

// A slash goes to the search.
document.addEventListener("keydown", (event) => {
  const search = document.getElementById("q");
  if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey || !search) return;
  if (event.target.closest("input, textarea, [contenteditable]")) return;
  event.preventDefault();
  search.select();
});

// Shows what needs a script, and opens what was open. After every refresh.
function enhance() {
  for (const button of document.querySelectorAll("main button[hidden]")) button.hidden = false;
  const open = remembered();
  for (const details of document.querySelectorAll("details[data-key]")) {
    if (open.has(details.dataset.key)) details.open = true;
  }
  countOn();
}

startCounting();
enhance();
startCopying();
startDeleting();
startMenu();
startRefreshing(enhance);
