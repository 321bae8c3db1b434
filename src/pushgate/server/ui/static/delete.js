// Asks, naming what goes, and deletes; stays open with the reason if that fails.

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

async function remove({ path, method = "DELETE" }) {
  const url = new URL(path, location.href);
  url.username = url.password = "";
  const answer = await fetch(url, { method });
  if (!answer.ok) throw new Error(`${answer.status} ${(await answer.text()) || answer.statusText}`);
}

// Several at a time. What could not be deleted stays in the list.
async function removeAll(groups) {
  const waiting = [...groups];
  const failures = [];
  const worker = async () => {
    for (let group; (group = waiting.shift()); ) {
      try {
        await remove(group);
        groups.splice(groups.indexOf(group), 1);
      } catch (failure) {
        failures.push(failure.message);
      }
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
  return failures;
}

export async function askAndDelete(question, load, done) {
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
    busy(false);
    if (failures.length) {
      what.replaceChildren(...groups.map(named));
      error.textContent = `Not deleted: ${failures[0]}`;
      return;
    }
    dialog.close();
    await done();
  };
  dialog.showModal();
  try {
    groups = await load();
    if (groups.length > 1) title.textContent = `Delete these ${groups.length.toLocaleString("en")} groups?`;
    what.replaceChildren(...groups.map(named));
    busy(false);
  } catch (failure) {
    buttons[0].disabled = false;
    error.textContent = `The groups could not be listed: ${failure.message}`;
  }
}
