// Opens groups, remembers what is open, deletes. The pages can be read without it.

const STORED = "pushgate-open";
const dialog = document.getElementById("confirm");

function openKeys() {
  try {
    return new Set(JSON.parse(sessionStorage.getItem(STORED)) ?? []);
  } catch {
    return new Set();
  }
}

function remember(details) {
  const keys = openKeys();
  keys[details.open ? "add" : "delete"](details.dataset.key);
  try {
    sessionStorage.setItem(STORED, JSON.stringify([...keys]));
  } catch {
    // Storage is full or forbidden: then a reload closes everything.
  }
}

function reopen(root) {
  const keys = openKeys();
  for (const details of root.querySelectorAll("details[data-key]")) {
    if (keys.has(details.dataset.key)) details.open = true;
  }
}

async function answered(url, options) {
  const answer = await fetch(url, options);
  const text = await answer.text();
  if (!answer.ok) throw new Error(`${answer.status} ${text || answer.statusText}`);
  return text;
}

async function fill(details) {
  const content = details.querySelector(".content");
  content.setAttribute("aria-busy", "true");
  try {
    const page = await answered(details.dataset.source);
    const parsed = new DOMParser().parseFromString(page, "text/html");
    content.replaceChildren(...parsed.querySelector(".group .content").children);
    reopen(content);
  } catch (error) {
    content.replaceChildren(paragraph(`This group could not be loaded: ${error.message}`));
  }
  content.removeAttribute("aria-busy");
}

function paragraph(text) {
  const element = document.createElement("p");
  element.textContent = text;
  return element;
}

// Asks, acts if the answer is yes, and stays open with the reason if that fails.
function confirm(title, what, act) {
  const error = document.getElementById("confirm-error");
  const buttons = dialog.querySelectorAll("button");
  document.getElementById("confirm-title").textContent = title;
  document.getElementById("confirm-what").replaceChildren(...what);
  error.textContent = "";
  dialog.querySelector("form").onsubmit = async (event) => {
    if (event.submitter?.value !== "confirm") return;
    event.preventDefault();
    buttons.forEach((button) => (button.disabled = true));
    try {
      await act();
      dialog.close();
    } catch (failure) {
      error.textContent = `It was not deleted: ${failure.message}`;
    }
    buttons.forEach((button) => (button.disabled = false));
  };
  dialog.showModal();
}

function deleteGroup(button) {
  const group = button.closest(".group");
  const labels = group.querySelector(".labels").cloneNode(true);
  confirm("Delete this group?", [labels], async () => {
    await answered(button.dataset.delete, { method: "DELETE" });
    if (group.dataset.home) {
      location.assign(group.dataset.home);
      return;
    }
    const next = group.nextElementSibling?.querySelector("summary");
    group.remove();
    (next ?? document.getElementById("q")).focus();
    countDown();
  });
}

function countDown() {
  const count = document.querySelector("[data-count]");
  const left = Number(count.dataset.count) - 1;
  if (left === 0 || !document.querySelector(".group")) location.reload();
  count.dataset.count = left;
  count.textContent = left.toLocaleString("en");
}

function wipe(button) {
  confirm(button.textContent + "?", ["This cannot be undone."], async () => {
    await answered(button.dataset.wipe, { method: "PUT" });
    location.reload();
  });
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (button?.dataset.delete) deleteGroup(button);
  if (button?.dataset.wipe) wipe(button);
});

// "toggle" does not bubble, so it is caught on its way down.
document.addEventListener(
  "toggle",
  (event) => {
    const details = event.target;
    if (!details.dataset.key) return;
    remember(details);
    if (details.open && details.dataset.source) fill(details);
  },
  true,
);

for (const button of document.querySelectorAll("button[hidden]")) button.hidden = false;
reopen(document);
