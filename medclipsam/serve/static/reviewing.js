// The room for pseudo-labels: the least sure first, one key for each decision, which is on the disk before the next item comes.

import { json, picture, post, reading } from "/static/api.js";
import { COLOURS, Mask } from "/static/masks.js";
import { choose, make, part, say, slices, trying, view } from "/static/page.js";
import { Scan, told } from "/static/scan.js";

const STATES = { waiting: "waiting", accepted: "✓ accepted", rejected: "✕ rejected", corrected: "✎ corrected" };
const MOST_STEPS = 30; // of a correction that can be undone
const HINT_TOOLS = ["box", "inside", "outside"];

export class Reviewing {
  /** @param about what the server tells of the folder under review */
  constructor(about) {
    Object.assign(this, { about, items: [], item: null, scan: null, index: 0, edits: null, hints: new Map(), busy: false, opened: new Map() });
    this.undoable = JSON.parse(sessionStorage.getItem("undoable") || "[]");
    fill("by-prompt", [["", "all"], ...about.prompts.map((prompt) => [prompt, prompt])]);
    fill("by-verdict", [["", "anything"], ["done", "done"], ["doubtful", "doubtful"], ["not found", "not found"]]);
    fill("by-state", [["", "anything"], ["waiting", "nothing yet"], ["accepted", "accepted"], ["rejected", "rejected"], ["corrected", "corrected"]]);
    this.restore();
    part("filters").addEventListener("change", () => this.filter());
    for (const state of ["accept", "reject"]) part(state).addEventListener("click", () => this.decide(`${state}ed`));
    part("correct").addEventListener("click", () => this.begin());
    part("undo").addEventListener("click", () => this.undo());
    part("item-on").addEventListener("click", () => this.move(1));
    part("item-back").addEventListener("click", () => this.move(-1));
    part("save").addEventListener("click", () => this.save());
    part("cancel").addEventListener("click", () => this.cancel());
    part("brush").addEventListener("input", (event) => this.width(Number(event.target.value)));
    this.width(Number(part("brush").value));
  }

  async enter() {
    part("review-room").hidden = false;
    document.querySelectorAll(".of-review").forEach((each) => (each.hidden = false));
    part("every-label").hidden = true;
    part("evidence-label").hidden = false;
    part("ask").hidden = true;
    part("correct").disabled = !this.about.images;
    if (!this.about.images) part("correct").title = "Start with --images SCANS to correct masks";
    this.tools();
    await this.load();
    await this.show(this.items.find((item) => item.state === "waiting") || this.items[0]);
  }

  leave() {
    part("review-room").hidden = true;
    part("ask").hidden = false;
    document.querySelectorAll(".of-review").forEach((each) => (each.hidden = true));
    part("layers").replaceChildren();
  }

  // --- the list -----------------------------------------------------------------------------------------------------

  get wanted() {
    const fields = { prompt: "by-prompt", verdict: "by-verdict", state: "by-state", least: "by-least", most: "by-most" };
    return Object.fromEntries(Object.entries(fields).map(([name, id]) => [name, part(id).value]));
  }

  /** The filters of before a reload stand in the address. */
  restore() {
    const known = new URLSearchParams(location.hash.slice(1));
    for (const [name, id] of Object.entries({ prompt: "by-prompt", verdict: "by-verdict", state: "by-state", least: "by-least", most: "by-most" })) {
      if (known.has(name)) part(id).value = known.get(name);
    }
  }

  async filter() {
    history.replaceState(null, "", `#${new URLSearchParams(this.wanted)}`);
    await this.load();
    await this.show(this.items.find((item) => item.state === "waiting") || this.items[0]);
  }

  /** The list as it stands on the disk, other windows' decisions too. */
  async load() {
    const turn = (this.turn = (this.turn || 0) + 1);
    const list = await trying("", () => json(`/v1/review/items${reading(this.wanted)}`));
    if (!list || turn !== this.turn) return;
    this.items = list.items;
    part("progress").textContent = `${list.decided} of ${list.total}`;
    part("progress-told").textContent = `decided${list.items.length < list.total ? `; ${list.items.length} shown` : ""}`;
    Object.assign(part("progress-bar"), { max: Math.max(1, list.total), value: list.decided });
  }

  move(by) {
    if (this.edits) return;
    const at = this.items.findIndex((item) => item.id === this.item?.id);
    const next = this.items[Math.min(this.items.length - 1, Math.max(0, at + by))];
    if (next) this.show(next);
  }

  // --- one item -----------------------------------------------------------------------------------------------------

  async show(item) {
    part("evidence").checked = false;
    Object.assign(this, { item: item || null, edits: null, hints: new Map() });
    this.tools();
    part("item").replaceChildren(...(item ? describe(item) : [make("p", { textContent: "No item fits the filters." })]));
    Object.assign(view, { layers: [], evidence: null, boxes: [], points: [] });
    if (!item) {
      view.show(null);
      slices(1, 0);
      return;
    }
    if (this.about.images) await this.open(item);
    else {
      slices(1, 0);
      const overlay = await trying("", () => picture(`/v1/review/items/${item.id}/overlay.jpg`));
      if (overlay && this.item === item) view.show(overlay);
    }
    part("view").dataset.item = item.id;
  }

  /** Open the item's scan, at the image that most needs a look; the next one is read meanwhile. */
  async open(item) {
    const opened = await trying("", () => this.ahead(item));
    if (!opened || this.item !== item) return;
    Object.assign(this, opened);
    await this.go(item.first);
    const next = this.after(item);
    if (next) this.ahead(next).catch(() => {});
  }

  /** {scan, readAs} of an item, with its first image on the way; the last two are kept. */
  ahead(item) {
    if (!this.opened.has(item.id)) {
      const coming = post(`/v1/review/items/${item.id}/scan`, {}).then((told) => {
        const scan = new Scan(told.scan, told.reading);
        scan.image(item.first).catch(() => {});
        return { scan, readAs: told.reading.window };
      });
      coming.catch(() => this.opened.delete(item.id));
      this.opened.set(item.id, coming);
      if (this.opened.size > 2) this.opened.delete(this.opened.keys().next().value);
    }
    return this.opened.get(item.id);
  }

  /** The picture that the run drew, with the evidence of the words; or the image again. */
  async evidence() {
    const { item } = this;
    if (!item || this.edits || !this.about.images) return;
    if (!part("evidence").checked) {
      await this.go(this.index);
      return;
    }
    const overlay = await trying("", () => picture(`/v1/review/items/${item.id}/overlay.jpg`));
    if (!overlay || this.item !== item) return;
    Object.assign(view, { layers: [], boxes: [], points: [] });
    view.show(overlay);
  }

  async go(index) {
    const { item, scan } = this;
    if (!item || !scan) return;
    this.index = Math.min(scan.count - 1, Math.max(0, index));
    const at = this.index;
    slices(scan.count, at, scan.info.unit);
    const parts = await trying("", () => Promise.all([scan.image(at), this.mask(item, at)]));
    if (!parts || this.item !== item || this.index !== at) return;
    view.show(parts[0], scan.tall);
    this.values();
    this.draw(this.edits?.get(at) || parts[1]);
  }

  step(by) {
    this.go(this.index + by);
  }

  async mask(item, index) {
    return Mask.of(await picture(`/v1/review/items/${item.id}/masks/${index}.png`));
  }

  draw(mask) {
    this.shown = mask;
    view.layers = [{ mask, colour: COLOURS[this.edits ? 1 : 0], tag: this.edits ? "✎" : "" }];
    Object.assign(view, this.hints.get(this.index) || { boxes: [], points: [] });
    view.draw();
  }

  async values() {
    const { scan, index } = this;
    if (!view.level || view.values || !scan || this.fetching === index) return;
    this.fetching = index;
    const values = await scan.values(index).catch(() => null);
    this.fetching = null;
    if (scan === this.scan && index === this.index) view.windowed(values);
  }

  window(window) {
    this.scan?.window(window || this.readAs);
    this.go(this.index);
  }

  // --- decisions ----------------------------------------------------------------------------------------------------

  async decide(state, masks = new Map()) {
    const { item } = this;
    if (!item || this.busy || (this.edits && state !== "corrected")) return;
    this.busy = true;
    const form = new FormData();
    form.append("request", JSON.stringify({ state, seen: item.decision?.id ?? null }));
    for (const [index, mask] of masks) form.append("masks", await mask.blob(), `${index}.png`);
    const done = await trying("", () => json(`/v1/review/items/${item.id}/decision`, { method: "POST", body: form }));
    this.busy = false;
    if (!done) {
      await this.again(item);
      return;
    }
    this.remember([...this.undoable, done.decision.id]);
    const next = this.after(item);
    await this.load();
    await this.show(this.items.find((each) => each.id === next?.id) || this.items.find((each) => each.state === "waiting") || done);
    say(`${item.spoken}, ${item.prompt}: ${STATES[state]}`);
  }

  /** Show what another window decided meanwhile; a correction that is under way stays. */
  async again(item) {
    await this.load();
    const now = this.items.find((each) => each.id === item.id);
    if (this.edits) this.item = now || item;
    else if (now) await this.show(now);
  }

  /** The next item that waits, from this one on and round. */
  after(item) {
    const at = this.items.findIndex((each) => each.id === item.id);
    const others = [...this.items.slice(at + 1), ...this.items.slice(0, at)];
    return others.find((each) => each.state === "waiting");
  }

  /** Take back what this window decided last; else what was decided on this item. */
  async undo() {
    if (this.edits) {
      this.unstroke();
      return;
    }
    const last = this.undoable.at(-1) ?? this.item?.decision?.id;
    if (!last) {
      say("There is nothing to undo.");
      return;
    }
    const undone = await trying("", () => post("/v1/review/undo", { decision: last }));
    if (!undone) return;
    this.remember(this.undoable.filter((id) => id !== last));
    await this.load();
    const item = this.items.find((each) => each.id === undone.item);
    say(undone.item ? "Undone." : "Another decision counts meanwhile; nothing was undone.");
    if (item) await this.show(item);
  }

  remember(ids) {
    this.undoable = ids;
    sessionStorage.setItem("undoable", JSON.stringify(ids));
  }

  // --- correcting ---------------------------------------------------------------------------------------------------

  begin() {
    if (part("evidence").checked) part("evidence").click();
    if (!this.scan || !this.item || this.edits || !this.shown) return;
    this.edits = new Map();
    this.past = [];
    part("words").value = this.item.prompt;
    this.tools();
    this.draw(this.shown);
    paint("brush");
    say("Paint or erase, draw a box, click points, or give other words; s saves.");
  }

  tools() {
    const isOn = Boolean(this.edits);
    part("correcting").hidden = !isOn;
    part("decide").hidden = isOn;
    part("ask").hidden = !isOn;
    for (const tool of ["brush", "eraser", ...HINT_TOOLS]) {
      const button = document.querySelector(`[data-tool=${tool}]`);
      button.disabled = !isOn || button.dataset.never !== undefined;
    }
    if (!isOn) choose("window");
  }

  /** The mask of this image under correction. */
  edited() {
    if (!this.edits.has(this.index)) this.edits.set(this.index, this.shown.copy());
    return this.edits.get(this.index);
  }

  /** Keep the mask as it is, for undo. */
  keep() {
    this.past = [...this.past, [this.index, this.edited().copy()]].slice(-MOST_STEPS);
  }

  change(mask) {
    this.keep();
    this.edits.set(this.index, mask);
    this.draw(mask);
  }

  unstroke() {
    const before = this.past.pop();
    if (!before) return;
    this.edits.set(before[0], before[1]);
    if (before[0] === this.index) this.draw(before[1]);
    else this.go(before[0]);
  }

  stroke({ from, to, value }) {
    if (!this.edits) return;
    if (from === to) this.keep();
    const mask = this.edited();
    const steps = Math.max(1, Math.ceil(Math.hypot(to[0] - from[0], to[1] - from[1])));
    for (let step = 0; step <= steps; step++) {
      const share = step / steps;
      mask.paint(from[0] + share * (to[0] - from[0]), from[1] + share * (to[1] - from[1]), view.radius, value);
    }
    this.draw(mask);
  }

  width(pixels) {
    view.radius = pixels / 2;
    view.draw();
  }

  box({ box, more }) {
    this.hint(({ boxes, points }) => ({ boxes: more ? [...boxes, box] : [box], points }));
  }

  point(point) {
    this.hint(({ boxes, points }) => ({ boxes, points: [...points, point] }));
  }

  clear() {
    this.hints.delete(this.index);
    if (this.shown) this.draw(this.shown);
  }

  hint(change) {
    if (!this.edits) return;
    this.hints.set(this.index, change(this.hints.get(this.index) || { boxes: [], points: [] }));
    Object.assign(view, this.hints.get(this.index));
    view.draw();
    this.ask(part("words").value.trim() || this.item.prompt);
  }

  /** What other words, a box or points find becomes the mask of this image. */
  async ask(words) {
    if (!this.edits) return;
    const { scan, index, item } = this;
    this.coming?.abort();
    this.coming = new AbortController();
    const { signal } = this.coming;
    await trying(`Segmenting "${words}" ...`, async () => {
      const result = await scan.look(words, index, this.hints.get(index) || {}, { signal });
      const mask = await result.mask();
      if (this.item !== item || this.index !== index || !this.edits) return;
      say(`${words}: ${told(result)[1]}`);
      this.change(mask);
    });
  }

  save() {
    if (this.edits) this.decide("corrected", this.edits);
  }

  cancel() {
    if (this.edits) this.show(this.item);
  }

  // --- keys ---------------------------------------------------------------------------------------------------------

  key(event) {
    const doing = this.edits
      ? { d: () => paint("brush"), x: () => paint("eraser"), u: () => this.undo(), s: () => this.save(), Escape: () => this.cancel() }
      : {
          a: () => this.decide("accepted"), r: () => this.decide("rejected"), c: () => this.begin(), u: () => this.undo(),
          j: () => this.move(1), k: () => this.move(-1), ArrowRight: () => this.move(1), ArrowLeft: () => this.move(-1),
        };
    if (!doing[event.key]) return false;
    doing[event.key]();
    return true;
  }
}

/** A tool that the arrows and Enter move and use on the image. */
function paint(tool) {
  choose(tool);
  part("view").focus();
}

function fill(id, pairs) {
  part(id).replaceChildren(...pairs.map(([value, textContent]) => make("option", { value, textContent })));
}

function describe(item) {
  const facts = [
    ["Scan", item.spoken], ["Prompt", item.prompt],
    ["Run said", item.verdict === "not found" ? `not found${item.reason ? `; ${item.reason}` : ""}` : item.verdict],
    ["Confidence", item.confidence === null ? "none" : item.confidence.toFixed(2)],
    ["Presence", item.presence === null ? "unknown" : item.presence.toFixed(2)], ["You said", STATES[item.state]],
  ];
  const list = make("dl", {}, ...facts.flatMap(([name, value]) => [make("dt", { textContent: name }), make("dd", { textContent: value, className: name === "You said" ? "state" : "" })]));
  return [list, ...item.warnings.map((warning) => make("p", { className: "faded", textContent: warning }))];
}
