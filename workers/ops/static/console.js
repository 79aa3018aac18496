// Live values, ages, keys and copying. Every page is whole without it.
"use strict";

const live = document.getElementById("live");
const page = document.body.dataset.livePage;
const LATE = 15000; // ms without a message
let held = false;
let heard = Date.now();
let source = null;

function setState(dot, text, warn) {
  const [circle, line] = live.children;
  circle.className = `dot ${dot}`;
  if (line.textContent !== text) line.textContent = text;
  line.classList.toggle("warn", Boolean(warn));
}

function show(values) {
  for (const [key, text] of Object.entries(values)) {
    const name = CSS.escape(key);
    for (const element of document.querySelectorAll(`[data-live="${name}"]`)) {
      if (element.textContent !== text) element.textContent = text;
    }
    for (const element of document.querySelectorAll(`[data-live-state="${name}"]`)) {
      element.dataset.state = text;
    }
    for (const attribute of ["points", "d", "y"]) {
      for (const element of document.querySelectorAll(`[data-live-${attribute}="${name}"]`)) {
        element.setAttribute(attribute, text);
      }
    }
  }
}

function open() {
  if (source || held || document.hidden) return;
  source = new EventSource(`/live?page=${encodeURIComponent(page)}`);
  source.onmessage = (event) => {
    heard = Date.now();
    const values = JSON.parse(event.data);
    show(values);
    setState("", `Live, ${values["frame.at"]}`);
  };
}

function close() {
  if (source) source.close();
  source = null;
}

function addHold() {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "btn quiet sm";
  button.textContent = "Hold";
  button.addEventListener("click", () => {
    held = !held;
    button.textContent = held ? "Go on" : "Hold";
    if (held) {
      close();
      setState("off", `Held at ${new Date().toISOString().slice(11, 19)} UTC`);
    } else {
      heard = Date.now();
      open();
    }
  });
  live.lastElementChild.replaceWith(button);
}

function duration(seconds) {
  if (seconds < 60) return `${Math.floor(seconds)} s`;
  const units = [[86400, "d", 3600, "h"], [3600, "h", 60, "min"]];
  for (const [size, unit, smaller, name] of units) {
    if (seconds >= size) {
      const rest = Math.floor((seconds % size) / smaller);
      return `${Math.floor(seconds / size)} ${unit}${rest ? ` ${rest} ${name}` : ""}`;
    }
  }
  return `${Math.floor(seconds / 60)} min`;
}

function age() {
  for (const element of document.querySelectorAll("time[data-ago]")) {
    const seconds = (Date.now() - Date.parse(element.dateTime)) / 1000;
    const text = seconds < 0 ? `in ${duration(-seconds)}` : `${duration(seconds)} ago`;
    if (!held && element.textContent !== text) element.textContent = text;
  }
}

function tick() {
  age();
  const silent = Date.now() - heard;
  if (source && silent > LATE) {
    setState("late", `No news for ${Math.floor(silent / 1000)} s, trying again`, true);
    if (source.readyState === EventSource.CLOSED) {
      close();
      open();
    }
  }
}

if (live && page !== undefined) {
  addHold();
  open();
  document.addEventListener("visibilitychange", () => (document.hidden ? close() : open()));
  setInterval(tick, 1000);
}

const PAGES = { o: "/", e: "/events", d: "/dead-letters", q: "/queues", w: "/webhooks", p: "/platforms", s: "/system" };
const off = document.getElementById("keys-off");
let going = false;
if (off) {
  off.checked = localStorage.getItem("keys") === "off";
  off.addEventListener("change", () => localStorage.setItem("keys", off.checked ? "off" : "on"));
}

for (const part of document.querySelectorAll("[data-fragment]")) {
  fetch(part.dataset.fragment).then((answer) => (answer.ok ? answer.text() : Promise.reject(answer.status)))
    .then((text) => { part.outerHTML = text; })
    .catch(() => { part.textContent = "Not known: the console does not answer. Reload the page."; });
}

function moveRow(step) {
  const links = [...document.querySelectorAll("main tbody tr th a, main tbody tr td a")].filter(
    (link, index, all) => index === all.findIndex((other) => other.closest("tr") === link.closest("tr")));
  const at = links.findIndex((link) => link.closest("tr").contains(document.activeElement));
  const next = links[at === -1 ? 0 : at + step];
  if (next) next.focus();
}

document.addEventListener("keydown", (event) => {
  const busy = event.target.closest("input, textarea, select, dialog, [contenteditable]");
  if (busy || event.ctrlKey || event.metaKey || event.altKey || !off || off.checked) return;
  if (going && PAGES[event.key]) location.assign(PAGES[event.key]);
  going = event.key === "g";
  if (event.key === "/") { event.preventDefault(); document.getElementById("q").focus(); }
  if (event.key === "?") document.getElementById("keys").showModal();
  if (event.key === "j" || event.key === "k") moveRow(event.key === "j" ? 1 : -1);
  const act = event.key.length === 1 && document.querySelector(`main [data-key="${CSS.escape(event.key)}"]`);
  if (act) act.click();
});

document.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  if (button.dataset.copy) navigator.clipboard.writeText(button.dataset.copy);
  if ("command" in HTMLButtonElement.prototype || !button.getAttribute("commandfor")) return;
  const dialog = document.getElementById(button.getAttribute("commandfor"));
  button.getAttribute("command") === "close" ? dialog.close() : dialog.showModal();
});
