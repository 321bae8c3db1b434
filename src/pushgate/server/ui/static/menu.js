// The menu of a row: one menu, which opens beside the button that was pressed.

import { copyText } from "./copy.js";
import { deleteOne } from "./delete.js";

const menu = document.getElementById("menu");
let opener = null;

function open(button) {
  const row = button.closest("tr");
  opener = button;
  const [link, , remove] = menu.children;
  link.href = row.querySelector("a").href;
  remove.hidden = !row.dataset.delete;
  menu.showPopover();
  const at = button.getBoundingClientRect();
  // Set by the object model, which the security policy allows.
  menu.style.top = `${Math.min(at.bottom + 2, innerHeight - menu.offsetHeight - 8)}px`;
  menu.style.left = `${at.right - menu.offsetWidth}px`;
  link.focus();
}

function move(event) {
  const items = [...menu.children].filter((item) => !item.hidden);
  const at = items.indexOf(document.activeElement);
  const next = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: -1 }[event.key];
  if (event.key === "Tab") menu.hidePopover();
  if (next === undefined) return;
  event.preventDefault();
  items.at(next % items.length).focus();
}

export function startMenu() {
  if (!menu) return;
  menu.addEventListener("keydown", move);
  menu.addEventListener("toggle", (event) => {
    if (event.newState === "closed" && menu.contains(document.activeElement)) opener?.focus();
  });
  document.addEventListener("click", ({ target }) => {
    const button = target.closest("[data-menu]");
    if (button) open(button);
  });
  const [, copy, remove] = menu.children;
  const chosen = (act) => () => {
    menu.hidePopover();
    act(opener.closest("tr"));
  };
  copy.addEventListener(
    "click",
    chosen((row) => copyText(row.dataset.selector)),
  );
  remove.addEventListener("click", chosen(deleteOne));
}
