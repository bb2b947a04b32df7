// What both rooms share: the parts of the page, the status line, the view and its controls.

import { View } from "/static/view.js";

export const part = (id) => document.getElementById(id);
export const view = new View(part("view"));

/** Say how it stands; `wrong`: what went wrong, and the way out. */
export function say(text, wrong = false) {
  part("status").textContent = text;
  part("status").classList.toggle("wrong", wrong);
}

/** Do something that may fail, and say why; whatever is given up says nothing. */
export async function trying(text, work) {
  if (text) say(text);
  try {
    return await work();
  } catch (error) {
    if (error.name !== "AbortError") say(error.message, true);
    return undefined;
  }
}

/** An element with properties and children. */
export function make(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children.filter((child) => child !== null));
  return made;
}

/** The tool that the mouse draws with. */
export function choose(tool) {
  const button = document.querySelector(`[data-tool=${tool}]`);
  if (button.disabled || button.hidden) return;
  view.tool = tool;
  for (const each of document.querySelectorAll("[data-tool]")) each.setAttribute("aria-pressed", String(each === button));
  if (tool !== "window" && view.image && !view.cross) view.cross = [Math.floor(view.image.width / 2), Math.floor(view.image.height / 2)];
  view.draw();
}

/** Show the bar of slices for so many images. */
export function slices(count, index, unit = "slice") {
  part("slices").hidden = count < 2;
  Object.assign(part("slice"), { max: count - 1, value: index });
  part("slice").setAttribute("aria-label", unit);
  part("slice-told").textContent = `${unit} ${index} (0 to ${count - 1})`;
}

/** What the room does that is open: slice(step), go(index), ask(words), hint events, keys. */
export const room = { open: null };
