// Elements, numbers and charts, independent of the data that they show.

const SVG = 'http://www.w3.org/2000/svg';

function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) {
    if (key === 'style') node.style.cssText = value;
    else if (key.startsWith('on')) node.addEventListener(key.slice(2), value);
    else if (value !== null && value !== undefined && value !== false) node.setAttribute(key, value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

function svg(tag, attributes, ...children) {
  const node = document.createElementNS(SVG, tag);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children);
  return node;
}

const known = (value) => value !== null && value !== undefined;
const percent = (value, digits = 1) => (known(value) ? (100 * value).toFixed(digits) : '–');

// A number in few characters; 'more' digits than usual where neighbors would read alike.
function short(value, more = 0) {
  if (!known(value)) return '–';
  const size = Math.abs(value);
  if (size >= 1e6) return `${+(value / 1e6).toPrecision(3 + more)}M`;
  if (size >= 1e4) return `${+(value / 1e3).toPrecision(3 + more)}k`;
  if (size && size < 1e-3) return value.toExponential(1 + more);
  return String(+value.toPrecision(3 + more));
}

function ticks(low, high, about = 4) {
  const span = high - low || 1;
  const base = 10 ** Math.floor(Math.log10(span / about));
  const step = [1, 2, 5, 10].map((m) => m * base).find((s) => span / s <= about + 0.5) || 10 * base;
  const found = [];
  for (let t = Math.ceil(low / step - 1e-9) * step; t <= high + step * 1e-9; t += step) found.push(t);
  return found;
}

// The texts of an axis, no two of them alike.
function labels(values, format) {
  for (let more = 0; ; more++) {
    const texts = values.map((value) => format(value, more));
    if (more > 8 || new Set(texts).size === values.length) return texts;
  }
}

// series: [{name, color, points: [[x, y], …], dash, faint, mute}]
// options: {x: [low, high], y: [low, high], format, xFormat, diagonal}
function lineChart(title, series, options = {}) {
  const W = 420, H = 220, L = 44, R = 20, T = 10, B = 26;
  const format = options.format || short, xFormat = options.xFormat || short;
  const points = series.flatMap((s) => s.points);
  const range = (at) => {
    let low = Infinity, high = -Infinity;
    for (const p of points) { low = Math.min(low, p[at]); high = Math.max(high, p[at]); }
    return low < high ? [low, high] : [low - 0.5, low + 0.5];
  };
  const [x0, x1] = options.x || range(0);
  let [y0, y1] = options.y || range(1);
  if (!options.y) { const pad = 0.06 * (y1 - y0); y1 += pad; y0 = y0 >= 0 && y0 < 0.4 * y1 ? 0 : y0 - pad; }
  const X = (x) => L + ((x - x0) / (x1 - x0)) * (W - L - R);
  const Y = (y) => H - B - ((y - y0) / (y1 - y0)) * (H - T - B);
  const plot = svg('svg', { viewBox: `0 0 ${W} ${H}`, tabindex: 0, role: 'img' });
  const rows = ticks(y0, y1), rowTexts = labels(rows, format);
  for (const [i, t] of rows.entries()) {
    plot.append(svg('line', { class: 'rule', x1: L, x2: W - R, y1: Y(t), y2: Y(t) }));
    plot.append(svg('text', { x: L - 6, y: Y(t) + 4, 'text-anchor': 'end' }, rowTexts[i]));
  }
  const columns = ticks(x0, x1, 5), columnTexts = labels(columns, xFormat);
  for (const [i, t] of columns.entries()) {
    plot.append(svg('text', { x: X(t), y: H - 8, 'text-anchor': 'middle' }, columnTexts[i]));
  }
  if (options.diagonal) {
    const ends = { x1: X(x0), y1: Y(x0), x2: X(x1), y2: Y(x1) };
    plot.append(svg('line', { ...ends, class: 'rule', 'stroke-dasharray': '4 4', 'stroke-width': 1.5 }));
  }
  for (const s of series) {
    const d = s.points.map((p, i) => `${i ? 'L' : 'M'}${X(p[0]).toFixed(1)} ${Y(p[1]).toFixed(1)}`);
    plot.append(svg('path', {
      d: d.join(''), fill: 'none', stroke: s.color, 'stroke-width': s.faint ? 1 : 2,
      'stroke-dasharray': s.dash ? '5 4' : 'none', opacity: s.faint ? 0.4 : 1, 'stroke-linejoin': 'round',
    }));
    if (s.points.length < 40 && !s.faint) {
      for (const p of s.points) plot.append(svg('circle', { cx: X(p[0]), cy: Y(p[1]), r: 2.5, fill: s.color }));
    }
  }
  const named = series.filter((s) => s.points.length && !s.mute);
  const last = named.map((s) => `${s.name} ${format(s.points[s.points.length - 1][1])}`).join(', ');
  plot.setAttribute('aria-label', `${title}. At the end: ${last}. Arrow keys read the values.`);
  const line = svg('line', { class: 'rule', y1: T, y2: H - B, visibility: 'hidden' });
  plot.append(line);
  const now = el('div', { class: 'now', 'aria-live': 'polite' });
  const stops = [...new Set(named.flatMap((s) => s.points.map((p) => p[0])))].sort((a, b) => a - b);
  let at = -1;
  const nearest = (list, x) => list.reduce((a, b) => (Math.abs(b[0] - x) < Math.abs(a[0] - x) ? b : a));
  const show = (index) => {
    at = Math.max(0, Math.min(stops.length - 1, index));
    const x = stops[at];
    line.setAttribute('x1', X(x)); line.setAttribute('x2', X(x)); line.setAttribute('visibility', 'visible');
    now.textContent = `${xFormat(x)}: ` + named.map((s) => `${s.name} ${format(nearest(s.points, x)[1])}`).join(' · ');
  };
  const hide = () => { line.setAttribute('visibility', 'hidden'); now.textContent = ''; };
  plot.addEventListener('pointermove', (event) => {
    const box = plot.getBoundingClientRect();
    const x = x0 + (((event.clientX - box.left) / box.width) * W - L) / (W - L - R) * (x1 - x0);
    show(stops.indexOf(nearest(stops.map((s) => [s]), x)[0]));
  });
  plot.addEventListener('pointerleave', hide);
  plot.addEventListener('blur', hide);
  plot.addEventListener('keydown', (event) => {
    const move = { ArrowLeft: -1, ArrowRight: 1, PageUp: -10, PageDown: 10 }[event.key];
    if (!move) return;
    event.preventDefault();
    show(at < 0 ? stops.length - 1 : at + move);
  });
  const legend = el('div', { class: 'legend' }, ...named.map((s) => el('span', {},
    el('i', { style: `border-color:${s.color};border-top-style:${s.dash ? 'dashed' : 'solid'}` }), s.name)));
  return el('div', { class: 'card chart' }, el('h3', {}, title), legend, plot, now);
}

// Columns of words are aligned at the left, those of numbers at the right.
function table(head, rows) {
  const words = (cell) => typeof cell !== 'string' || !/^([\d+\-−–.]|no |needs |$)/.test(cell);
  const left = head.map((_, i) => rows.length > 0 && rows.every((row) => words(row[i])));
  const line = (cells, tag) => el('tr', {}, ...cells.map((cell, i) => el(tag, { class: left[i] ? 'name' : null }, cell)));
  return el('div', { class: 'scroll', tabindex: 0, role: 'group', 'aria-label': 'table' }, el('table', {},
    el('thead', {}, line(head, 'th')), el('tbody', {}, ...rows.map((row) => line(row, 'td')))));
}

function swatch(color) {
  return el('span', { class: 'swatch', style: `background:${color}` });
}

// A group of buttons, one of them pressed; `pick` gets its position.
function choice(labels, pick, { thumbs, name } = {}) {
  const buttons = labels.map((label, i) => el('button', {
    type: 'button', 'aria-pressed': i === 0, class: thumbs ? 'thumb' : '', 'aria-label': thumbs ? label : null,
    onclick: () => { buttons.forEach((b, j) => b.setAttribute('aria-pressed', i === j)); pick(i); },
  }, thumbs ? el('img', { src: thumbs[i], alt: '', width: 54, height: 54 }) : label));
  return el('div', { class: 'controls', role: 'group', 'aria-label': name }, ...buttons);
}
