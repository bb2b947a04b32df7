// One scan that the server holds: its images, their values, and what is asked of it.

import { ask, json, picture, post, reading, sendScan } from "/static/api.js";
import { Mask, heat } from "/static/masks.js";

const KEPT = 12;

export class Scan {
  /**
   * @param info what the server tells of a scan
   * @param how plane, series and window to read it with
   */
  constructor(info, how = {}) {
    Object.assign(this, { info, how, pictures: new Map() });
  }

  /** Send files; `how` may choose a series. */
  static async of(files, how = {}) {
    return new Scan(await sendScan(files, how), how);
  }

  /** The same scan, sliced in another plane. */
  async inPlane(axis) {
    const how = { ...this.how, axis };
    return new Scan(await json(`/v1/scans/${this.info.id}${reading(how)}`), how);
  }

  get count() {
    return this.info.count;
  }

  /** Height of a pixel in its widths. */
  get tall() {
    const steps = this.info.spacing_mm;
    return steps ? steps[0] / steps[1] : 1;
  }

  /** Read it in another window; what was drawn of it goes. */
  window(window) {
    this.how = { ...this.how, window };
    this.pictures.clear();
    this.valued = null;
  }

  /** One image as the model sees it; the last ones are kept. */
  image(index) {
    if (!this.pictures.has(index)) {
      const coming = picture(`/v1/scans/${this.info.id}/slices/${index}.png${reading(this.how)}`);
      coming.catch(() => this.pictures.delete(index));
      this.pictures.set(index, coming);
      if (this.pictures.size > KEPT) this.pictures.delete(this.pictures.keys().next().value);
    }
    return this.pictures.get(index);
  }

  /** The stored values of an image, and the window that the model sees it in; null of colours. The last are kept. */
  values(index) {
    if (this.valued?.index !== index) this.valued = { index, coming: this.fetchValues(index) };
    return this.valued.coming;
  }

  async fetchValues(index) {
    const answer = await ask(`/v1/scans/${this.info.id}/slices/${index}/values${reading(this.how)}`);
    if (answer.status === 204) return null;
    const samples = new Float32Array(await answer.arrayBuffer());
    const [centre, width] = answer.headers.get("X-Window").split(",").map(Number);
    return { samples, unit: answer.headers.get("X-Unit") || "", window: { centre, width } };
  }

  /** What prompts find; `more` as `/v1/segment` takes it. */
  segment(prompts, more, options) {
    return post("/v1/segment", { scan: this.info.id, prompts, ...this.how, ...more }, options);
  }

  /** What a prompt finds on one image, with its mask and evidence. */
  async look(prompt, index, hints, options) {
    const answer = await this.segment([prompt], { image: index, ...hints, ...FOR_THE_PAGE }, options);
    return found(answer, answer.report.images[0].results[0]);
  }

  /** The same for all images: by their number. */
  async lookAtAll(prompt, options) {
    const answer = await this.segment([prompt], { every: true, ...FOR_THE_PAGE }, options);
    return answer.report.images.map((image) => found(answer, image.results[0]));
  }
}

const FOR_THE_PAGE = { formats: ["png"], overlays: false, save_stages: true };

/** A result whose pictures are fetched when they are first looked at. */
function found(answer, result) {
  const url = (role) => answer.files.find((file) => file.name === result.files[role])?.url;
  let mask;
  let evidence;
  return {
    ...result,
    maskUrl: url("mask"),
    mask: () => (mask ??= picture(url("mask")).then(Mask.of)),
    evidence: () => (evidence ??= picture(url("saliency") || url("probability")).then(heat)),
  };
}

const WHY = {
  below_threshold: "presence is below the threshold",
  absent: "the model knows it and does not see it here",
  wrong_body: "the image shows another part of the body",
  never_taught: "the model was never taught it",
  no_region: "the evidence marks no region",
  sam_empty: "Segment Anything drew no mask where it was asked",
  neighbours: "the other slices speak against it",
  other_side: "it lies on the patient's other side alone",
};

/** [class of the mark, words] of an answer; null: not asked. */
export function told(result, taught) {
  if (!result) return ["unasked", "not asked on this slice"];
  const presence = result.presence === null ? "" : `presence ${result.presence.toFixed(2)}`;
  if (!result.found) {
    const stranger = taught && !taught(result.prompt) ? "no name that the model was taught, so it may be absent or unknown to it" : "";
    return ["nothing", ["not found", WHY[result.reason] || "", presence, stranger].filter(Boolean).join("; ")];
  }
  const area = `${result.area_px.toLocaleString("en")} px`;
  const size = result.area_mm2 === null ? area : `${area} = ${(result.area_mm2 / 100).toPrecision(3)} cm²`;
  return ["found", ["found", size, presence].filter(Boolean).join("; ")];
}
