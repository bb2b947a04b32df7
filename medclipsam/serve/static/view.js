// Draws an image with its masks, and hears mouse, touch and keys: pixels of the image in, boxes, points and strokes out.

const STEP = 1.25;
const FAST = 10;
const PAINTS = ["brush", "eraser"];

export class View extends EventTarget {
  /**
   * @param {HTMLCanvasElement} canvas the place
   * What is drawn: `layers` ({mask, colour, tag}), `evidence`, `boxes`, `points`; see `show`.
   */
  constructor(canvas) {
    super();
    Object.assign(this, { canvas, image: null, layers: [], evidence: null, boxes: [], points: [], opacity: 0.35, masks: true });
    Object.assign(this, { tool: "window", zoom: 1, shift: [0, 0], tall: 1, values: null, level: null, drag: null, cross: null, radius: 3 });
    new ResizeObserver(() => this.draw()).observe(canvas);
    for (const name of ["pointerdown", "pointermove", "pointerup", "pointercancel"]) canvas.addEventListener(name, (event) => this[name](event));
    canvas.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    canvas.addEventListener("keydown", (event) => this.key(event));
    canvas.addEventListener("blur", () => this.draw());
    canvas.addEventListener("contextmenu", (event) => event.preventDefault());
  }

  /** A new image; `tall` is the height of a pixel in its widths. The place is kept where the size stays. */
  show(image, tall = 1) {
    const isOther = !this.image || this.image.width !== image?.width || this.image.height !== image?.height || this.tall !== tall;
    Object.assign(this, { image, tall, values: null });
    if (isOther) this.reset();
    this.draw();
  }

  reset() {
    Object.assign(this, { zoom: 1, shift: [0, 0], cross: null, drag: null });
    this.draw();
  }

  /** The values of the image, for windows of a person's own; null: grey levels of the picture instead. */
  windowed(values) {
    this.values = values;
    if (values && this.level && !this.level.ofValues) {
      const { centre, width } = values.window;
      const unit = width / 255;
      this.level = { centre: centre - width / 2 + this.level.centre * unit, width: this.level.width * unit, ofValues: true };
      if (this.drag) Object.assign(this.drag, { level: this.level, at: this.drag.last });
      this.say("level", this.level);
    }
    this.draw();
  }

  say(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }

  // --- places -------------------------------------------------------------------------------------------------------

  get frame() {
    const { clientWidth, clientHeight } = this.canvas;
    const whole = Math.min(clientWidth / this.image.width, clientHeight / (this.image.height * this.tall));
    const scale = whole * this.zoom;
    return {
      scale,
      left: (clientWidth - this.image.width * scale) / 2 + this.shift[0],
      top: (clientHeight - this.image.height * this.tall * scale) / 2 + this.shift[1],
    };
  }

  /** Where an event lies, in pixels of the image: the first pixel reaches from 0 to 1. */
  place(event) {
    const { scale, left, top } = this.frame;
    const place = this.canvas.getBoundingClientRect();
    return [(event.clientX - place.left - left) / scale, (event.clientY - place.top - top) / (scale * this.tall)];
  }

  // --- drawing ------------------------------------------------------------------------------------------------------

  draw() {
    if (this.asked) return;
    this.asked = requestAnimationFrame(() => {
      this.asked = 0;
      this.paint();
    });
  }

  paint() {
    const ratio = devicePixelRatio || 1;
    const { clientWidth, clientHeight } = this.canvas;
    this.canvas.width = Math.round(clientWidth * ratio);
    this.canvas.height = Math.round(clientHeight * ratio);
    const pen = this.canvas.getContext("2d");
    if (!this.image) return;
    const { scale, left, top } = this.frame;
    pen.setTransform(ratio * scale, 0, 0, ratio * scale * this.tall, ratio * left, ratio * top);
    pen.imageSmoothingEnabled = false;
    pen.drawImage(this.shown(), 0, 0);
    pen.globalAlpha = 0.6;
    if (this.evidence) pen.drawImage(this.evidence, 0, 0, this.image.width, this.image.height);
    pen.globalAlpha = 1;
    if (this.masks) this.paintMasks(pen, 1 / scale);
    this.paintHints(pen, 1 / scale);
  }

  /** The image in the window that the person chose; drawn anew where one of them changed. */
  shown() {
    if (!this.level || (this.level.ofValues && !this.values)) return this.image;
    const { image, level, values } = this;
    const isKnown = this.turned && this.turned.image === image && this.turned.level === level && this.turned.values === values;
    if (!isKnown) this.turned = { image, level, values, canvas: this.windowedImage() };
    return this.turned.canvas;
  }

  windowedImage() {
    const { width, height } = this.image;
    const context = new OffscreenCanvas(width, height).getContext("2d");
    const [low, span] = [this.level.centre - this.level.width / 2, this.level.width || 1];
    const pixels = context.createImageData(width, height);
    const { data } = pixels;
    if (this.level.ofValues) {
      const { samples } = this.values;
      for (let i = 0, at = 0; i < samples.length; i++, at += 4) {
        data[at] = data[at + 1] = data[at + 2] = (255 * (samples[i] - low)) / span;
        data[at + 3] = 255;
      }
    } else {
      context.drawImage(this.image, 0, 0);
      const levels = context.getImageData(0, 0, width, height).data;
      for (let i = 0; i < levels.length; i++) data[i] = i % 4 === 3 ? 255 : (255 * (levels[i] - low)) / span;
    }
    context.putImageData(pixels, 0, 0);
    return context.canvas;
  }

  paintMasks(pen, pixel) {
    for (const { mask, colour, tag } of this.layers) {
      pen.globalAlpha = this.opacity;
      pen.drawImage(mask.picture(colour), 0, 0);
      pen.globalAlpha = 1;
      // the outline of a large mask takes a while: it comes when the stroke ends
      if (!PAINTS.includes(this.drag?.tool)) for (const [width, ink] of [[3.5, "#000"], [2, colour]]) stroke(pen, mask.outline(), width * pixel, ink);
      const top = mask.top();
      if (top && tag) this.write(pen, pixel, tag, top, colour);
    }
  }

  write(pen, pixel, tag, [x, y], colour) {
    pen.save();
    pen.translate(x, y);
    pen.scale(pixel, pixel / this.tall);
    pen.font = "bold 14px system-ui, sans-serif";
    pen.lineWidth = 4;
    pen.strokeStyle = "#000";
    pen.fillStyle = colour;
    pen.strokeText(tag, 2, -5);
    pen.fillText(tag, 2, -5);
    pen.restore();
  }

  paintHints(pen, pixel) {
    const boxes = this.drag?.box ? [...this.boxes, this.drag.box] : this.boxes;
    for (const [x0, y0, x1, y1] of boxes) {
      const path = new Path2D();
      path.rect(x0, y0, x1 - x0, y1 - y0);
      stroke(pen, path, 4 * pixel, "#000");
      stroke(pen, path, 2 * pixel, "#fff", [6 * pixel, 4 * pixel]);
    }
    for (const { x, y, inside } of this.points) this.sign(pen, pixel, x + 0.5, y + 0.5, inside);
    if (this.cross && document.activeElement === this.canvas) this.paintCross(pen, pixel);
  }

  /** A point: a disc with a plus inside the object, a square with a minus outside of it. */
  sign(pen, pixel, x, y, inside) {
    pen.save();
    pen.translate(x, y);
    pen.scale(pixel, pixel / this.tall);
    const path = new Path2D();
    if (inside) path.arc(0, 0, 7, 0, 2 * Math.PI);
    else path.rect(-6, -6, 12, 12);
    pen.fillStyle = inside ? "#009e73" : "#d55e00";
    pen.fill(path);
    stroke(pen, path, 1.5, "#fff");
    stroke(pen, new Path2D(inside ? "M-4 0H4M0 -4V4" : "M-4 0H4"), 2, "#fff");
    pen.restore();
  }

  paintCross(pen, pixel) {
    const [x, y] = this.cross;
    const path = new Path2D();
    const reach = 14 * pixel;
    path.moveTo(x - reach, y);
    path.lineTo(x + reach, y);
    path.moveTo(x, y - reach / this.tall);
    path.lineTo(x, y + reach / this.tall);
    if (PAINTS.includes(this.tool)) path.ellipse(x, y, this.radius, this.radius, 0, 0, 2 * Math.PI);
    stroke(pen, path, 3 * pixel, "#000");
    stroke(pen, path, 1.2 * pixel, "#fff");
  }

  // --- mouse and touch ----------------------------------------------------------------------------------------------

  pointerdown(event) {
    if (!this.image) return;
    this.canvas.focus();
    this.canvas.setPointerCapture(event.pointerId);
    const place = this.place(event);
    const tool = event.button === 1 ? "move" : event.button === 2 ? "window" : this.tool;
    const at = [event.clientX, event.clientY];
    this.drag = { tool, from: place, at, last: at, level: this.level, more: event.shiftKey };
    if (tool === "inside" || tool === "outside") this.point(place, tool === "inside");
    if (PAINTS.includes(tool)) this.say("stroke", { from: place, to: place, value: tool === "brush" ? 1 : 0 });
  }

  pointermove(event) {
    if (!this.image) return;
    const place = this.place(event);
    this.cross = this.tool === "window" ? null : place;
    const { drag } = this;
    if (drag) drag.last = [event.clientX, event.clientY];
    if (drag?.tool === "box") drag.box = this.rounded(drag.from, place);
    if (drag?.tool === "window") this.turn(drag.level, event.clientX - drag.at[0], event.clientY - drag.at[1]);
    if (drag?.tool === "move") {
      this.shift = [this.shift[0] + event.movementX, this.shift[1] + event.movementY];
    }
    if (PAINTS.includes(drag?.tool)) {
      this.say("stroke", { from: drag.from, to: place, value: drag.tool === "brush" ? 1 : 0 });
      drag.from = place;
    }
    this.draw();
  }

  pointerup() {
    const { drag } = this;
    this.drag = null;
    if (drag?.box) this.box(drag.box, drag.more);
    this.draw();
  }

  pointercancel() {
    this.drag = null;
    this.draw();
  }

  wheel(event) {
    if (!this.image) return;
    event.preventDefault();
    if (event.ctrlKey || event.metaKey) this.magnify(event.deltaY < 0 ? STEP : 1 / STEP);
    else if (event.deltaY) this.say("slice", Math.sign(event.deltaY));
  }

  magnify(factor) {
    this.zoom = Math.min(32, Math.max(1, this.zoom * factor));
    if (this.zoom === 1) this.shift = [0, 0];
    this.draw();
  }

  // --- what is drawn with -------------------------------------------------------------------------------------------

  /** A box along the edges of pixels, inside the image. */
  rounded([x0, y0], [x1, y1]) {
    const within = (value, most) => Math.min(most, Math.max(0, Math.round(value)));
    const xs = [within(x0, this.image.width), within(x1, this.image.width)].sort((a, b) => a - b);
    const ys = [within(y0, this.image.height), within(y1, this.image.height)].sort((a, b) => a - b);
    return [xs[0], ys[0], xs[1], ys[1]];
  }

  box(box, more) {
    if (box[2] - box[0] > 1 && box[3] - box[1] > 1) this.say("box", { box, more });
  }

  point([x, y], inside) {
    const [column, row] = [Math.floor(x), Math.floor(y)];
    if (column >= 0 && row >= 0 && column < this.image.width && row < this.image.height) this.say("point", { x: column, y: row, inside });
  }

  /** Change the window: right is wider, up is brighter. */
  turn(from, right, up) {
    const start = from || { centre: 127.5, width: 255, ofValues: false };
    const unit = Math.max(Math.abs(start.width), 1e-6) / 200;
    const turned = start.width < 0 ? -1 : 1;
    this.level = { ...start, centre: start.centre + turned * up * unit, width: turned * Math.max(Math.abs(start.width) + right * unit, unit) };
    this.say("level", this.level);
    this.draw();
  }

  // --- keys ---------------------------------------------------------------------------------------------------------

  key(event) {
    const way = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (!this.image || event.ctrlKey || event.altKey || event.metaKey) return;
    if (way) this.step(way, event.shiftKey ? FAST : 1);
    else if (event.key === "Enter" && this.cross && this.tool !== "window") this.set(event);
    else return;
    event.preventDefault();
    event.stopPropagation();
    this.draw();
  }

  step([right, down], by) {
    if (this.tool === "window") {
      this.turn(this.level, 4 * right * by, 4 * down * by);
      return;
    }
    const [x, y] = this.cross || [Math.floor(this.image.width / 2), Math.floor(this.image.height / 2)];
    const moved = [Math.min(this.image.width, Math.max(0, x + right * by)), Math.min(this.image.height, Math.max(0, y + down * by))];
    if (this.drag?.keyed) this.drag.box = this.rounded(this.drag.from, moved);
    this.cross = moved;
  }

  /** Set a corner, a point or a dab where the cross is. */
  set(event) {
    if (this.tool === "inside" || this.tool === "outside") this.point(this.cross, this.tool === "inside");
    else if (PAINTS.includes(this.tool)) {
      this.say("stroke", { from: this.cross, to: this.cross, value: this.tool === "brush" ? 1 : 0 });
    } else if (this.drag?.keyed) {
      const { box } = this.drag;
      this.drag = null;
      if (box) this.box(box, event.shiftKey);
    } else this.drag = { tool: "box", keyed: true, from: this.cross };
  }
}

function stroke(pen, path, width, ink, dashes = []) {
  pen.lineWidth = width;
  pen.strokeStyle = ink;
  pen.setLineDash(dashes);
  pen.stroke(path);
  pen.setLineDash([]);
}
