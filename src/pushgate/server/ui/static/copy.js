// Puts texts on the clipboard, and says so.

export function say(text) {
  document.getElementById("said").textContent = text;
}

export async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // Without https there is no such clipboard, but the old way works.
    const area = document.createElement("textarea");
    area.value = text;
    area.className = "unseen";
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  say("Copied.");
}

export function startCopying() {
  document.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-copy], [data-copy-text]");
    if (!button) return;
    const { copy, copyText: text } = button.dataset;
    const source = copy === "next" ? button.closest("figure").querySelector("pre") : copy && document.querySelector(copy);
    await copyText(text ?? source.textContent);
    const label = (button.dataset.label ??= button.textContent);
    button.textContent = "Copied";
    setTimeout(() => (button.textContent = label), 1500);
    button.focus();
  });
  // Selecting a number that is rounded for people copies the number that was pushed.
  document.addEventListener("copy", (event) => {
    const selection = document.getSelection();
    const anchor = selection.anchorNode;
    const node = (anchor instanceof Element ? anchor : anchor?.parentElement)?.closest("[data-raw]");
    if (!node?.dataset.raw || !node.contains(selection.focusNode) || selection.isCollapsed) return;
    event.clipboardData.setData("text/plain", node.dataset.raw);
    event.preventDefault();
  });
}
