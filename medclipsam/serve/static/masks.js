// Masks as arrays of 0 and 1, (height x width) row by row, exactly as their files have them.

/** Colours that people with any colour vision tell apart (Okabe and Ito, 2008); each has a number besides. */
export const COLOURS = ["#56b4e9", "#e69f00", "#009e73", "#cc79a7", "#f0e442", "#d55e00", "#7f9cff"];

export class Mask {
  constructor(width, height, bits = new Uint8Array(width * height)) {
    Object.assign(this, { width, height, bits });
    this.changed();
  }

  /** From a picture that is white inside. */
  static of(bitmap) {
    const context = scratch(bitmap.width, bitmap.height);
    context.drawImage(bitmap, 0, 0);
    const { data } = context.getImageData(0, 0, bitmap.width, bitmap.height);
    const mask = new Mask(bitmap.width, bitmap.height);
    for (let i = 0; i < mask.bits.length; i++) mask.bits[i] = data[4 * i] > 127 ? 1 : 0;
    return mask;
  }

  copy() {
    return new Mask(this.width, this.height, this.bits.slice());
  }

  get area() {
    return this.bits.reduce((sum, bit) => sum + bit, 0);
  }

  /** Forget what was drawn of it. */
  changed() {
    this.path = null;
    this.filled = new Map();
  }

  /** Set a disc of pixels whose centres lie within the radius of a place; what was drawn is changed there alone. */
  paint(x, y, radius, value) {
    const reach = Math.ceil(radius);
    const [left, top] = [Math.max(0, Math.floor(x) - reach), Math.max(0, Math.floor(y) - reach)];
    const [right, bottom] = [Math.min(this.width - 1, Math.floor(x) + reach), Math.min(this.height - 1, Math.floor(y) + reach)];
    for (let row = top; row <= bottom; row++) {
      for (let column = left; column <= right; column++) {
        const isNear = (column + 0.5 - x) ** 2 + (row + 0.5 - y) ** 2 <= radius ** 2;
        const isUnder = column === Math.floor(x) && row === Math.floor(y);
        if (isNear || isUnder) this.bits[row * this.width + column] = value;
      }
    }
    this.path = null;
    if (right < left || bottom < top) return;
    for (const [colour, canvas] of this.filled) this.fill(canvas.getContext("2d"), colour, left, top, right + 1 - left, bottom + 1 - top);
  }

  /** Lines along the edges of its pixels, in pixels of the image. */
  outline() {
    if (this.path) return this.path;
    this.path = new Path2D();
    const at = (x, y) => (x < 0 || y < 0 || x >= this.width || y >= this.height ? 0 : this.bits[y * this.width + x]);
    runs(this.height + 1, this.width, (y, x) => at(x, y - 1) !== at(x, y), (y, from, to) => {
      this.path.moveTo(from, y);
      this.path.lineTo(to, y);
    });
    runs(this.width + 1, this.height, (x, y) => at(x - 1, y) !== at(x, y), (x, from, to) => {
      this.path.moveTo(x, from);
      this.path.lineTo(x, to);
    });
    return this.path;
  }

  /** A picture of it in one colour. */
  picture(colour) {
    if (!this.filled.has(colour)) {
      const context = scratch(this.width, this.height);
      this.fill(context, colour, 0, 0, this.width, this.height);
      this.filled.set(colour, context.canvas);
    }
    return this.filled.get(colour);
  }

  fill(context, colour, left, top, width, height) {
    const image = context.createImageData(width, height);
    // four bytes at once, in the order of every processor that browsers run on: red is the lowest
    const pixels = new Uint32Array(image.data.buffer);
    const [red, green, blue] = [1, 3, 5].map((from) => parseInt(colour.slice(from, from + 2), 16));
    const ink = ((255 << 24) | (blue << 16) | (green << 8) | red) >>> 0;
    for (let row = 0; row < height; row++) {
      const from = (top + row) * this.width + left;
      for (let column = 0; column < width; column++) if (this.bits[from + column]) pixels[row * width + column] = ink;
    }
    context.putImageData(image, left, top);
  }

  /** A PNG, white inside. */
  blob() {
    const context = scratch(this.width, this.height);
    const image = context.createImageData(this.width, this.height);
    for (let i = 0; i < this.bits.length; i++) image.data.set(this.bits[i] ? [255, 255, 255, 255] : [0, 0, 0, 255], 4 * i);
    context.putImageData(image, 0, 0);
    return context.canvas.convertToBlob({ type: "image/png" });
  }

  /** The first pixel from above, for a tag. */
  top() {
    const first = this.bits.indexOf(1);
    return first < 0 ? null : [first % this.width, Math.floor(first / this.width)];
  }
}

function runs(lines, length, isEdge, take) {
  for (let line = 0; line < lines; line++) {
    for (let from = 0; from < length; from++) {
      if (!isEdge(line, from)) continue;
      let to = from + 1;
      while (to < length && isEdge(line, to)) to++;
      take(line, from, to);
      from = to;
    }
  }
}

export function scratch(width, height) {
  return new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
}

const STOPS = [[68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 201, 98], [253, 231, 37]];

/** A map of numbers as colours of viridis, clear where it is low. */
export function heat(bitmap) {
  const context = scratch(bitmap.width, bitmap.height);
  context.drawImage(bitmap, 0, 0);
  const image = context.getImageData(0, 0, bitmap.width, bitmap.height);
  for (let i = 0; i < image.data.length; i += 4) {
    const place = (image.data[i] / 255) * (STOPS.length - 1);
    const low = Math.min(Math.floor(place), STOPS.length - 2);
    for (let c = 0; c < 3; c++) image.data[i + c] = STOPS[low][c] + (place - low) * (STOPS[low + 1][c] - STOPS[low][c]);
    image.data[i + 3] = Math.min(255, image.data[i + 3] * (0.15 + 0.85 * (place / (STOPS.length - 1))));
  }
  context.putImageData(image, 0, 0);
  return context.canvas;
}
