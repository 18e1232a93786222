// Lines over the last minutes, as SVG.

const namespace = 'http://www.w3.org/2000/svg';
export const spanMs = 120_000;
const height = 104;
const margin = { top: 8, right: 6, bottom: 6, left: 6 };

/** @param {string} tag @param {Record<string, string | number>} attributes */
function svg(tag, attributes = {}) {
  const element = document.createElementNS(namespace, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, String(value));
  return element;
}

/** 1, 2 or 5 times a power of ten, not below `value`. @param {number} value */
function niceAbove(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  for (const factor of [1, 2, 5]) if (factor * power >= value * 0.999999) return factor * power;
  return 10 * power;
}

/**
 * @typedef {{ at: number, values: (number | undefined)[] }} Point Undefined: nothing to draw.
 * @typedef {{ title: string, note: string, names: string[], lowestTop: number,
 *   text: (value: number | undefined) => string }} ChartOptions
 */

export class Chart {
  /** @type {Point[]} */
  #points = [];
  #now = 0;
  /** @type {number | undefined} */
  #looked;
  #width = 0;
  #options;
  #figure = document.createElement('figure');
  #svg = svg('svg', { height, role: 'img' });
  #grid = svg('g', { class: 'grid' });
  #lines = svg('g');
  /** Over the lines. */
  #label = svg('g', { class: 'grid' });
  #cursor = svg('line', { class: 'cursor', y1: margin.top, y2: height - margin.bottom });
  /** @type {HTMLElement[]} */
  #readings = [];

  /** @param {ChartOptions} options @param {(at: number | undefined) => void} onLook */
  constructor(options, onLook) {
    this.#options = options;
    const { title, note, names } = options;
    this.#figure.className = 'card chart';
    const caption = document.createElement('figcaption');
    const heading = document.createElement('h3');
    heading.textContent = title;
    const small = document.createElement('span');
    small.className = 'note';
    small.textContent = note;
    heading.append(small);
    const list = document.createElement('p');
    list.className = 'readings';
    names.forEach((name, i) => {
      const item = document.createElement('span');
      item.className = `reading line-${i}`;
      const value = document.createElement('strong');
      item.append(value);
      if (name !== '') item.append(` ${name}`);
      this.#readings.push(value);
      list.append(item);
    });
    caption.append(heading, list);
    this.#cursor.setAttribute('visibility', 'hidden');
    this.#svg.append(this.#grid, this.#lines, this.#label, this.#cursor);
    this.#figure.append(caption, this.#svg);
    this.#svg.addEventListener('pointermove', ({ offsetX }) => onLook(this.#timeAt(offsetX)));
    this.#svg.addEventListener('pointerleave', () => onLook(undefined));
    new ResizeObserver(([entry]) => {
      this.#width = entry?.contentRect.width ?? 0;
      this.#draw();
    }).observe(this.#svg);
  }

  get element() {
    return this.#figure;
  }

  /** @param {Point[]} points Oldest first. @param {number} now */
  show(points, now) {
    this.#points = points;
    this.#now = now;
    this.#draw();
  }

  /** Reads the values at a time instead of the latest. @param {number | undefined} at */
  look(at) {
    this.#looked = at;
    this.#read();
  }

  get #innerWidth() {
    return Math.max(1, this.#width - margin.left - margin.right);
  }

  /** @param {number} x */
  #timeAt(x) {
    return this.#now - spanMs * (1 - (x - margin.left) / this.#innerWidth);
  }

  /** @param {number} at */
  #xOf(at) {
    return margin.left + this.#innerWidth * (1 - (this.#now - at) / spanMs);
  }

  #draw() {
    if (this.#width === 0) return;
    const { names, lowestTop, text } = this.#options;
    const all = this.#points.flatMap(({ values }) => values.filter((value) => value !== undefined));
    const top = niceAbove(Math.max(lowestTop, ...all));
    const innerHeight = height - margin.top - margin.bottom;
    const y = (/** @type {number} */ value) => margin.top + innerHeight * (1 - value / top);
    this.#svg.setAttribute('viewBox', `0 0 ${this.#width} ${height}`);
    const rule = (/** @type {number} */ value) => {
      const at = Math.round(y(value)) + 0.5;
      return svg('line', { x1: margin.left, x2: this.#width - margin.right, y1: at, y2: at });
    };
    const label = svg('text', { x: margin.left + 2, y: y(top) + 11 });
    label.textContent = text(top);
    this.#grid.replaceChildren(rule(top), rule(top / 2), rule(0));
    this.#label.replaceChildren(label);
    this.#lines.replaceChildren(...names.flatMap((_, i) => this.#line(i, y)));
    this.#read();
  }

  /** One line, in pieces where there is nothing to draw. @param {number} index @param {(value: number) => number} y */
  #line(index, y) {
    /** @type {[number, number][][]} */
    const pieces = [];
    let isOpen = false;
    for (const { at, values } of this.#points) {
      const value = values[index];
      if (value === undefined) {
        isOpen = false;
        continue;
      }
      if (!isOpen) pieces.push([]);
      isOpen = true;
      pieces.at(-1)?.push([this.#xOf(at), y(value)]);
    }
    return pieces.flatMap((piece) => {
      const path = piece.map(([x, top]) => `${x.toFixed(1)} ${top.toFixed(1)}`);
      const [[first] = [0]] = piece;
      const [last] = piece.at(-1) ?? [0];
      // A point by itself is a line of no length with round ends.
      const line = svg('path', {
        class: `line line-${index}`,
        d: `M${path.join('L')}${piece.length === 1 ? 'h0' : ''}`,
      });
      if (index > 0 || piece.length === 1) return [line];
      const area = `M${first.toFixed(1)} ${y(0)}L${path.join('L')}L${last.toFixed(1)} ${y(0)}Z`;
      return [svg('path', { class: `area line-${index}`, d: area }), line];
    });
  }

  #read() {
    const { title, names, text } = this.#options;
    const looked = this.#looked;
    let point = this.#points.at(-1);
    if (looked !== undefined) {
      for (const each of this.#points) {
        if (Math.abs(each.at - looked) < Math.abs((point?.at ?? 0) - looked)) point = each;
      }
    }
    this.#readings.forEach((reading, i) => {
      reading.textContent = point === undefined ? '–' : text(point.values[i]);
    });
    if (looked === undefined || point === undefined) {
      this.#cursor.setAttribute('visibility', 'hidden');
    } else {
      const x = this.#xOf(point.at).toFixed(1);
      this.#cursor.setAttribute('x1', x);
      this.#cursor.setAttribute('x2', x);
      this.#cursor.setAttribute('visibility', 'visible');
    }
    const latest = this.#points.at(-1);
    const values = names.map((name, i) => `${name} ${text(latest?.values[i])}`.trim());
    this.#svg.setAttribute(
      'aria-label',
      `${title} over the last two minutes, now ${values.join(', ')}`,
    );
  }
}
