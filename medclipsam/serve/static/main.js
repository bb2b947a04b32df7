// Starts the page: which rooms there are, files that are dropped, and keys.

import { json } from "/static/api.js";
import { Looking } from "/static/looking.js";
import { choose, make, part, room, say, trying, view } from "/static/page.js";
import { Reviewing } from "/static/reviewing.js";

async function start() {
  const version = json("/v1/version"), targets = json("/v1/targets");
  const about = await json("/v1/review");
  const looking = new Looking();
  const reviewing = about.folder === null ? null : new Reviewing(about);
  hear(looking);
  part("rooms").hidden = !reviewing;
  part("to-scan").addEventListener("click", () => go(looking));
  part("to-review").addEventListener("click", () => go(reviewing));
  say(reviewing ? "" : "Open a scan to begin.");
  await go(reviewing || looking);
  document.body.dataset.ready = "yes";
  // the method may still be loading: nothing but its own questions waits for it
  teach(looking, await version, await targets);
  document.body.dataset.model = "loaded";
}

/** Offer what the model was taught; one that names nothing takes any words. */
function teach(looking, version, targets) {
  limit(version);
  if (!targets.length) return;
  const known = new Set(targets.map(({ target }) => target.toLowerCase()));
  part("targets").replaceChildren(...targets.map(({ target, images }) => make("option", { value: target, label: images.join(", ") })));
  looking.taught = (words) => words.split("|").some((word) => known.has(word.trim().toLowerCase()));
}

/** Tools that the method does not take say so. */
function limit(version) {
  const lacking = [["box", version.takes_hints], ["inside", version.takes_points], ["outside", version.takes_points]].filter(([, takes]) => !takes);
  for (const [tool] of lacking) {
    const button = document.querySelector(`[data-tool=${tool}]`);
    Object.assign(button, { disabled: true, title: `The preset ${version.preset} takes no ${tool === "box" ? "boxes" : "points"}` });
    button.dataset.never = "";
  }
}

async function go(next) {
  room.open?.leave();
  room.open = next;
  for (const [id, Kind] of [["to-scan", Looking], ["to-review", Reviewing]]) part(id).setAttribute("aria-pressed", String(next instanceof Kind));
  for (const button of document.querySelectorAll("[data-tool]")) button.disabled = button.dataset.never !== undefined;
  Object.assign(view, { layers: [], evidence: null, boxes: [], points: [] });
  choose("window");
  await next.enter();
}

/** Everything that a person can do. */
function hear(looking) {
  for (const id of ["file", "folder"]) {
    part(id).addEventListener("change", (event) => {
      looking.take([...event.target.files].map((file) => ({ file, path: file.webkitRelativePath || file.name })));
      event.target.value = "";
    });
  }
  addEventListener("dragover", (event) => {
    event.preventDefault();
    document.body.classList.add("dropping");
  });
  addEventListener("dragleave", () => document.body.classList.remove("dropping"));
  addEventListener("drop", async (event) => {
    event.preventDefault();
    document.body.classList.remove("dropping");
    const files = await trying("", () => dropped(event.dataTransfer));
    if (room.open !== looking) await go(looking);
    looking.take(files || []);
  });
  part("ask").addEventListener("submit", (event) => {
    event.preventDefault();
    const words = part("words").value.trim();
    if (words) room.open.ask(words);
  });
  for (const button of document.querySelectorAll("[data-tool]")) button.addEventListener("click", () => choose(button.dataset.tool));
  part("clear").addEventListener("click", () => room.open.clear());
  part("fit").addEventListener("click", reset);
  part("slice").addEventListener("input", (event) => room.open.go(Number(event.target.value)));
  part("slice-back").addEventListener("click", () => room.open.step(-1));
  part("slice-on").addEventListener("click", () => room.open.step(1));
  part("opacity").addEventListener("input", (event) => opaque(Number(event.target.value)));
  part("evidence").addEventListener("change", () => room.open.evidence());
  part("window").addEventListener("change", (event) => {
    view.level = null;
    part("window-told").textContent = "";
    room.open.window(event.target.value);
  });
  part("help-button").addEventListener("click", () => part("help").showModal());
  for (const name of ["box", "point", "stroke"]) view.addEventListener(name, ({ detail }) => room.open[name]?.(detail));
  view.addEventListener("slice", ({ detail }) => room.open.step(detail));
  view.addEventListener("level", ({ detail }) => {
    room.open.values();
    const unit = detail.ofValues ? view.values?.unit || "" : "of 255";
    part("window-told").textContent = `centre ${detail.centre.toPrecision(4)}, width ${Math.abs(detail.width).toPrecision(4)} ${unit} (display only)`;
  });
  addEventListener("keydown", key);
  addEventListener("beforeunload", (event) => {
    if (room.open.edits) event.preventDefault();
  });
}

function reset() {
  view.level = null;
  part("window-told").textContent = "";
  view.reset();
}

function opaque(percent) {
  part("opacity").value = percent;
  view.opacity = percent / 100;
  view.draw();
}

/** Single keys, where nothing is being typed. */
function key(event) {
  if (event.ctrlKey || event.altKey || event.metaKey || part("help").open) return;
  if (event.target.matches("input:not([type=range], [type=checkbox]), select, textarea")) {
    if (event.key === "Escape") part("view").focus();
    return;
  }
  const pressed = event.target.matches("button") && (event.key === "Enter" || event.key === " ");
  if (pressed || (event.target.matches("[type=range]") && event.key.startsWith("Arrow"))) return;
  const doing = {
    w: () => choose("window"), b: () => tool("box"), p: () => tool("inside"), o: () => tool("outside"),
    "/": () => (part("ask").hidden ? null : part("words").focus()), "?": () => part("help").showModal(),
    PageUp: () => room.open.step(-1), PageDown: () => room.open.step(1), Delete: () => room.open.clear(), 0: reset,
    "+": () => view.magnify(1.25), "-": () => view.magnify(0.8), v: () => Object.assign(view, { masks: !view.masks }).draw(),
    e: () => part("evidence").click(), "[": () => opaque(Math.max(0, 100 * view.opacity - 10)), "]": () => opaque(Math.min(100, 100 * view.opacity + 10)),
  };
  if (room.open.key(event)) event.preventDefault();
  else if (doing[event.key]) {
    event.preventDefault();
    doing[event.key]();
  }
}

/** A tool by its key goes to the image, where arrows move the cross. */
function tool(name) {
  choose(name);
  part("view").focus();
}

/** The files that were dropped, those of folders with their place. */
async function dropped(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.length) return [...transfer.files].map((file) => ({ file, path: file.name }));
  return (await Promise.all(entries.map((entry) => below(entry)))).flat();
}

async function below(entry) {
  if (entry.isFile) {
    const file = await new Promise((take, fail) => entry.file(take, fail));
    return entry.name.startsWith(".") ? [] : [{ file, path: entry.fullPath.replace(/^\//, "") }];
  }
  const reader = entry.createReader();
  const found = [];
  for (;;) {
    // a reader gives some entries at a time, and none at the end
    const some = await new Promise((take, fail) => reader.readEntries(take, fail));
    if (!some.length) break;
    found.push(...some);
  }
  return (await Promise.all(found.map((each) => below(each)))).flat();
}

start().catch((error) => say(error.message, true));
