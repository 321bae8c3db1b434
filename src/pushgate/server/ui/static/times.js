// Counts the ages on the page on, by the clock of the gateway.

const UNITS = [
  [86_400, "d"],
  [3600, "h"],
  [60, "min"],
  [1, "s"],
];
// How many milliseconds the clock of this computer is ahead.
let ahead = 0;

export function setClock(now) {
  if (now) ahead = Date.now() - now;
}

// As the gateway writes them: the largest unit, rounded down.
export function age(milliseconds) {
  const seconds = Math.max(0, Math.floor(milliseconds / 1000));
  const [scale, unit] = UNITS.find(([scale]) => seconds >= scale) ?? [1, "s"];
  return `${Math.floor(seconds / scale)} ${unit}`;
}

export function countOn() {
  const now = Date.now() - ahead;
  for (const time of document.querySelectorAll("time")) {
    const text = `${age(now - Date.parse(time.dateTime))} ago`;
    if (time.textContent !== text) time.textContent = text;
  }
}

export function startCounting() {
  setClock(Number(document.getElementById("main").dataset.now));
  setInterval(() => document.hidden || countOn(), 1000);
}
