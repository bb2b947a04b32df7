// The room for one scan: words become layers, boxes and points change the one that is chosen.

import { save } from "/static/api.js";
import { COLOURS } from "/static/masks.js";
import { choose, make, part, say, slices, trying, view } from "/static/page.js";
import { Scan, told } from "/static/scan.js";

export class Looking {
  constructor() {
    // `taught` says whether words name something that the model was taught; null where any words go
    Object.assign(this, { taught: null, scan: null, index: 0, layers: [], chosen: null });
    for (const button of document.querySelectorAll("[data-format]")) {
      button.addEventListener("click", () => this.download(button.dataset.format));
    }
    part("plane").addEventListener("change", (event) => this.plane(event.target.value));
  }

  enter() {
    part("scan-room").hidden = false;
    part("downloads").hidden = false;
    part("evidence-label").hidden = false;
    part("every-label").hidden = !(this.scan?.count > 1);
    part("plane-label").hidden = !(this.scan?.info.is_volume && this.scan.info.format !== "dicom");
    part("drop-hint").hidden = Boolean(this.scan);
    this.list();
    this.go(this.index);
  }

  leave() {
    part("scan-room").hidden = true;
    part("plane-label").hidden = true;
    part("downloads").hidden = true;
    part("drop-hint").hidden = true;
    part("layers").replaceChildren();
  }

  /** Take files as a scan. */
  async take(files, how = {}) {
    if (!files.length) return;
    const told = files.length === 1 ? files[0].file.name : `${files.length} files`;
    const scan = await trying(`Reading ${told} ...`, () => Scan.of(files, how).catch((error) => this.choice(error, files)));
    if (!scan) return;
    part("series-label").hidden = !how.series;
    part("plane").value = "";
    this.open(scan);
    say("Type what to segment.");
    part("words").focus();
  }

  open(scan) {
    Object.assign(this, { scan, index: Math.floor((scan.count - 1) / 2), layers: [], chosen: null });
    view.level = null;
    part("window").value = scan.how.window || "";
    const { info } = scan;
    const size = `${info.size.width} x ${info.size.height}`;
    const images = info.count > 1 ? `${info.count} ${info.unit}s of ${size}` : size;
    part("scan-told").textContent = [`${info.case}: ${images} pixels`, ...info.warnings].join("; ");
    this.enter();
  }

  /** Offer the series that a refusal lists, and say it. */
  choice(error, files) {
    const listed = [...(error.remedy || "").matchAll(/(\d+) \(([^)]*)\)/g)];
    if (/series/.test(error.message) && listed.length > 1) {
      const options = listed.map(([, value, text]) => make("option", { value, textContent: `${value}: ${text}` }));
      part("series").replaceChildren(make("option", { value: "", textContent: "choose one" }), ...options);
      part("series").onchange = () => part("series").value && this.take(files, { series: part("series").value });
      part("series-label").hidden = false;
      part("series").focus();
    }
    throw error;
  }

  /** Slice the volume in another plane; what was found in the one before goes. */
  async plane(axis) {
    const scan = await trying("", () => this.scan.inPlane(axis || null));
    if (scan) this.open(scan);
  }

  async go(index) {
    if (!this.scan) {
      view.show(null);
      slices(1, 0);
      return;
    }
    this.index = Math.min(this.scan.count - 1, Math.max(0, index));
    slices(this.scan.count, this.index, this.scan.info.unit);
    const { scan } = this;
    const at = this.index;
    const image = await trying("", () => scan.image(at));
    if (!image || scan !== this.scan || at !== this.index) return;
    view.show(image, scan.tall);
    this.values();
    this.draw();
  }

  step(by) {
    this.go(this.index + by);
  }

  /** Values for a window of the person's own. */
  async values() {
    const { scan, index } = this;
    if (!view.level || view.values || this.fetching === index) return;
    this.fetching = index;
    const values = await scan.values(index).catch(() => null);
    this.fetching = null;
    if (scan === this.scan && index === this.index) view.windowed(values);
  }

  window(window) {
    this.scan?.window(window || null);
    this.go(this.index);
  }

  // --- layers -------------------------------------------------------------------------------------------------------

  /** Segment words: a new layer, or the one that has them. */
  async ask(words) {
    if (!this.scan) {
      say("Open a scan first.", true);
      return;
    }
    let layer = this.layers.find((each) => each.prompt === words);
    if (!layer) {
      const number = this.layers.length;
      layer = { prompt: words, number: number + 1, colour: COLOURS[number % COLOURS.length], visible: true, answers: new Map(), hints: new Map(), all: false };
      this.layers.push(layer);
    }
    this.chosen = layer;
    await this.look(layer, part("every").checked && this.scan.count > 1);
  }

  /** Ask a layer's words of this image, or of all. */
  async look(layer, all = false) {
    const { scan, index } = this;
    layer.coming?.abort();
    const coming = (layer.coming = new AbortController());
    this.list();
    const began = performance.now();
    await trying(`Segmenting "${layer.prompt}" ...`, async () => {
      const options = { signal: coming.signal };
      if (all) {
        const results = await scan.lookAtAll(layer.prompt, options);
        layer.hints.clear();
        results.forEach((result, at) => layer.answers.set(at, result));
      }
      else layer.answers.set(index, await scan.look(layer.prompt, index, hintsOf(layer, index), options));
      layer.all = all;
      await Promise.all([layer.answers.get(index).mask(), layer.answers.get(index).evidence()]);
      const [, words] = told(layer.answers.get(index), this.taught);
      say(`${layer.prompt}: ${words} (${((performance.now() - began) / 1000).toFixed(2)} s)`);
    });
    if (layer.coming === coming) layer.coming = null;
    if (!layer.answers.size && !layer.coming) this.layers = this.layers.filter((each) => each !== layer);
    this.list();
    await this.draw();
  }

  list() {
    const items = this.layers.map((layer) => this.item(layer));
    part("layers").replaceChildren(...items);
  }

  item(layer) {
    const [mark, words] = layer.coming ? ["waiting", "segmenting ..."] : told(layer.answers.get(this.index), this.taught);
    const tag = make("span", { className: "tag", textContent: layer.number });
    tag.style.background = layer.colour;
    const name = make("button", { type: "button", className: "name", textContent: layer.prompt, title: "Boxes and points change this one" });
    name.addEventListener("click", () => this.choose(layer));
    const eye = make("button", { type: "button", className: "small", textContent: layer.visible ? "hide" : "show" });
    eye.addEventListener("click", () => this.toggle(layer));
    const away = make("button", { type: "button", className: "small", textContent: "remove" });
    away.addEventListener("click", () => this.remove(layer));
    const answer = make("span", { className: "answer" }, make("span", { className: `mark ${mark}` }), words);
    const item = make("li", {}, tag, name, eye, away, answer);
    item.dataset.answer = mark;
    item.setAttribute("aria-current", String(layer === this.chosen));
    return item;
  }

  choose(layer) {
    this.chosen = layer;
    this.list();
    this.draw();
    if (!layer.answers.has(this.index) && !layer.coming) this.look(layer);
  }

  toggle(layer) {
    layer.visible = !layer.visible;
    this.list();
    this.draw();
  }

  remove(layer) {
    layer.coming?.abort();
    this.layers = this.layers.filter((each) => each !== layer);
    if (this.chosen === layer) this.chosen = this.layers.at(-1) || null;
    this.list();
    this.draw();
  }

  /** Bring the view to what the layers say of this image. */
  async draw() {
    const { index, chosen } = this;
    const shown = this.layers.filter((layer) => layer.visible && layer.answers.has(index));
    const masks = await Promise.all(shown.map((layer) => layer.answers.get(index).mask().catch(() => null)));
    const wanted = part("evidence").checked ? chosen?.answers.get(index) : null;
    const evidence = wanted ? await wanted.evidence().catch(() => null) : null;
    if (index !== this.index) return;
    view.layers = shown.map((layer, at) => ({ mask: masks[at], colour: layer.colour, tag: String(layer.number) })).filter(({ mask }) => mask);
    view.evidence = evidence;
    const hints = hintsOf(chosen, index);
    Object.assign(view, { boxes: hints.boxes, points: hints.points });
    this.list();
    view.draw();
  }

  evidence() {
    this.draw();
  }

  // --- boxes and points ---------------------------------------------------------------------------------------------

  hint(change) {
    const layer = this.chosen;
    if (!layer) {
      say("Type words first: a box or a point changes what they found.", true);
      part("words").focus();
      return;
    }
    layer.hints.set(this.index, change(hintsOf(layer, this.index)));
    Object.assign(view, hintsOf(layer, this.index));
    view.draw();
    this.look(layer);
  }

  box({ box, more }) {
    this.hint(({ boxes, points }) => ({ boxes: more ? [...boxes, box] : [box], points }));
  }

  point(point) {
    this.hint(({ boxes, points }) => ({ boxes, points: [...points, point] }));
  }

  clear() {
    const { boxes, points } = hintsOf(this.chosen, this.index);
    if (boxes.length || points.length) this.hint(() => ({ boxes: [], points: [] }));
  }

  // --- downloads ----------------------------------------------------------------------------------------------------

  /** Ask for files of all layers that are shown, in one file where all of them were asked alike. */
  async download(format) {
    const shown = this.layers.filter((layer) => layer.visible && layer.answers.size);
    if (!shown.length) {
      say("There is nothing to download yet: type words first.", true);
      return;
    }
    await trying("Writing files ...", async () => {
      const names = [];
      for (const layers of this.alike(shown)) names.push(...(await this.files(layers, format)));
      say(`Downloaded ${names.join(", ")}`);
    });
  }

  /** Layers of which one request can ask. */
  alike(layers) {
    const groups = new Map();
    for (const layer of layers) {
      const key = JSON.stringify([this.isWhole(layer), hintsOf(layer, this.index)]);
      groups.set(key, [...(groups.get(key) || []), layer]);
    }
    return groups.values();
  }

  isWhole(layer) {
    return layer.all || this.scan.count === 1;
  }

  async files(layers, format) {
    const whole = this.isWhole(layers[0]);
    const answer = await this.scan.segment(layers.map((layer) => layer.prompt), {
      ...(whole && this.scan.count > 1 ? { every: true } : { image: this.index }),
      ...hintsOf(layers[0], this.index),
      formats: [format === "report" ? "auto" : format],
      overlays: false,
    });
    const files = answer.files.filter(({ name }) => (name === "report.json") === (format === "report"));
    files.forEach(({ url, name }) => save(url, name));
    return files.map(({ name }) => name);
  }

  /** Keys of this room; whether it was one. */
  key(event) {
    if (event.key !== "Escape") return false;
    choose("window");
    return true;
  }
}

function hintsOf(layer, index) {
  return layer?.hints.get(index) || { boxes: [], points: [] };
}
