// The relation explorer: how strongly a pixel is related to every other one, A = P Pᵀ.

// Dark to light; even steps of lightness, so that equal steps of affinity look equal.
const RAMP = ['#08060f', '#251255', '#51127c', '#822681', '#b63679', '#e65164', '#fb8861', '#fec488', '#fcfdbf'];
const hex = (text) => [1, 3, 5].map((i) => parseInt(text.slice(i, i + 2), 16));
const STOPS = RAMP.map(hex);

function between(stops, t) {
  const at = Math.max(0, Math.min(1, t)) * (stops.length - 1), i = Math.min(Math.floor(at), stops.length - 2);
  return stops[i].map((v, c) => v + (at - i) * (stops[i + 1][c] - v));
}

function bytes(text) {
  return Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
}

// Rows of N pixels with C probabilities each; they were rounded to bytes, so they are made to add up to 1.
function unpack(text, classes) {
  const raw = bytes(text), n = raw.length / classes, probs = new Float32Array(raw.length);
  for (let i = 0; i < n; i++) {
    let sum = 0;
    for (let c = 0; c < classes; c++) sum += raw[i * classes + c];
    for (let c = 0; c < classes; c++) probs[i * classes + c] = sum ? raw[i * classes + c] / sum : 1 / classes;
  }
  return probs;
}

function unit(probs, classes) {
  const out = new Float32Array(probs.length);
  for (let i = 0; i < probs.length; i += classes) {
    let sum = 0;
    for (let c = 0; c < classes; c++) sum += probs[i + c] ** 2;
    for (let c = 0; c < classes; c++) out[i + c] = probs[i + c] / Math.sqrt(sum);
  }
  return out;
}

function affinities(probs, classes, pixel) {
  const n = probs.length / classes, out = new Float32Array(n), at = pixel * classes;
  for (let j = 0; j < n; j++) {
    let sum = 0;
    for (let c = 0; c < classes; c++) sum += probs[at + c] * probs[j * classes + c];
    out[j] = sum;
  }
  return out;
}

// Σⱼ (Aᵢⱼ − Bᵢⱼ)² of every pixel i, by the C × C products of all pixels: N·C² in place of N²·C.
function disagreement(p, q, classes) {
  const gram = (a, b) => {
    const g = new Float64Array(classes * classes);
    for (let i = 0; i < a.length; i += classes) for (let c = 0; c < classes; c++) {
      if (a[i + c]) for (let d = 0; d < classes; d++) g[c * classes + d] += a[i + c] * b[i + d];
    }
    return g;
  };
  const pp = gram(p, p), pq = gram(p, q), qq = gram(q, q), n = p.length / classes, out = new Float32Array(n);
  for (let i = 0; i < n; i++) {
    let sum = 0;
    for (let c = 0; c < classes; c++) for (let d = 0; d < classes; d++) {
      const a = p[i * classes + c], b = q[i * classes + c], k = c * classes + d;
      sum += a * pp[k] * p[i * classes + d] - 2 * a * pq[k] * q[i * classes + d] + b * qq[k] * q[i * classes + d];
    }
    out[i] = Math.max(0, sum / n);
  }
  return out;
}

// Of every row of C probabilities, the position of the largest.
function likeliest(probs, classes) {
  return Uint8Array.from({ length: probs.length / classes }, (_, i) => {
    const row = probs.subarray(i * classes, (i + 1) * classes);
    return row.indexOf(Math.max(...row));
  });
}

// report: {classes: [{name, color}]}
// result: {explorer: [{id, height, width, photo, teacher, student, truth}]}; where no truth is known, the
// classes that the teacher predicts stand in its place.
class Explorer {
  constructor(report, result) {
    this.classes = report.classes;
    this.images = result.explorer;
    this.cosine = false;
    this.outlines = true;
    this.panels = {};
    const captions = { photo: 'photo: choose a pixel', teacher: 'teacher', student: 'student', difference: 'student − teacher' };
    for (const [name, caption] of Object.entries(captions)) this.panels[name] = this.panel(name, caption);
    this.text = el('p', { 'aria-live': 'polite', id: 'readout' });
    this.table = el('div');
    const check = (name, label) => el('label', {}, el('input', { type: 'checkbox', ...(this[name] ? { checked: '' } : {}),
      onchange: (event) => { this[name] = event.target.checked; this.measure(); } }), label);
    const regions = `outlines of the ${this.images[0].truth ? 'true' : 'predicted'} classes`;
    this.node = el('div', { class: 'card', id: 'explorer-card' },
      this.images.length < 2 ? null : choice(this.images.map((image) => `image ${image.id}`), (i) => this.open(i), { thumbs: this.images.map((i) => i.photo), name: 'image' }),
      el('div', { class: 'controls' }, el('button', { type: 'button', onclick: () => this.farthest() }, 'Where they differ most'),
        check('cosine', 'cosine'), check('outlines', regions)),
      el('div', { class: 'panels' }, ...Object.values(this.panels).map((p) => p.node)),
      el('div', { class: 'readout' }, el('div', {}, this.text), this.table));
    this.open(0);
    document.addEventListener('themechange', () => this.draw());
  }

  panel(name, caption) {
    const canvas = el('canvas', { tabindex: 0, role: 'img', 'data-panel': name });
    canvas.addEventListener('click', (event) => {
      const box = canvas.getBoundingClientRect();
      this.select(Math.floor((event.clientY - box.top) / box.height * this.height),
        Math.floor((event.clientX - box.left) / box.width * this.width));
    });
    canvas.addEventListener('keydown', (event) => {
      const step = event.shiftKey ? 5 : 1;
      const move = { ArrowUp: [-step, 0], ArrowDown: [step, 0], ArrowLeft: [0, -step], ArrowRight: [0, step] }[event.key];
      if (!move) return;
      event.preventDefault();
      this.select(this.row + move[0], this.column + move[1]);
    });
    const low = el('span'), high = el('span'), ramp = el('div', { class: 'ramp' });
    const scale = name === 'photo' ? [] : [ramp, el('div', { class: 'ends' }, low, high)];
    const node = el('figure', {}, canvas, ...scale, el('figcaption', {}, caption));
    return { canvas, low, high, ramp, node };
  }

  open(index) {
    const image = this.images[index], C = this.classes.length;
    this.image = image;
    [this.height, this.width] = [image.height, image.width];
    this.probs = { teacher: unpack(image.teacher, C), student: unpack(image.student, C) };
    this.regions = image.truth ? bytes(image.truth) : likeliest(this.probs.teacher, C);
    this.photo = new Image();
    this.photo.onload = () => this.draw();
    this.photo.src = image.photo;
    this.row = null;
    this.measure();
  }

  measure() {
    const C = this.classes.length;
    const rows = (name) => (this.cosine ? unit(this.probs[name], C) : this.probs[name]);
    this.rows = { teacher: rows('teacher'), student: rows('student') };
    this.gaps = disagreement(this.rows.teacher, this.rows.student, C);
    if (this.row === null) this.farthest();
    else this.select(this.row, this.column);
  }

  farthest() {
    let best = 0;
    this.gaps.forEach((gap, i) => { if (gap > this.gaps[best]) best = i; });
    this.select(Math.floor(best / this.width), best % this.width);
  }

  select(row, column) {
    this.row = Math.max(0, Math.min(this.height - 1, row));
    this.column = Math.max(0, Math.min(this.width - 1, column));
    const pixel = this.row * this.width + this.column, C = this.classes.length;
    this.maps = { teacher: affinities(this.rows.teacher, C, pixel), student: affinities(this.rows.student, C, pixel) };
    this.maps.difference = this.maps.student.map((v, i) => v - this.maps.teacher[i]);
    this.draw();
    this.tell(pixel);
  }

  draw() {
    if (!this.maps) return;
    const style = getComputedStyle(document.documentElement), theme = (name) => hex(style.getPropertyValue(name).trim());
    const diverging = [theme('--s1'), theme('--card'), theme('--s0')];
    const reach = Math.max(0.05, ...this.maps.difference.map(Math.abs));
    this.paint('teacher', (i) => between(STOPS, this.maps.teacher[i]), STOPS, '0', '1');
    this.paint('student', (i) => between(STOPS, this.maps.student[i]), STOPS, '0', '1');
    this.paint('difference', (i) => between(diverging, 0.5 + this.maps.difference[i] / reach / 2), diverging,
      `−${reach.toFixed(2)}`, `+${reach.toFixed(2)}`);
    this.paint('photo', null, null, '', '');
  }

  paint(name, shade, stops, low, high) {
    const { canvas, ...rest } = this.panels[name], size = Math.max(4, Math.floor(384 / Math.max(this.width, this.height)));
    [canvas.width, canvas.height] = [this.width * size, this.height * size];
    const context = canvas.getContext('2d');
    if (!shade) {
      if (this.photo.complete && this.photo.naturalWidth) context.drawImage(this.photo, 0, 0, canvas.width, canvas.height);
    } else {
      for (let i = 0; i < this.regions.length; i++) {
        context.fillStyle = `rgb(${shade(i).map(Math.round).join()})`;
        context.fillRect((i % this.width) * size, Math.floor(i / this.width) * size, size, size);
      }
      rest.ramp.style.background = `linear-gradient(90deg, ${stops.map((s) => `rgb(${s.join()})`).join()})`;
      rest.low.textContent = low;
      rest.high.textContent = high;
    }
    if (this.outlines) this.outline(context, size, name);
    this.cross(context, size);
  }

  outline(context, size, name) {
    context.fillStyle = name === 'difference' ? 'rgba(128,128,128,.8)' : 'rgba(255,255,255,.55)';
    for (let i = 0; i < this.regions.length; i++) {
      const x = i % this.width, y = Math.floor(i / this.width);
      if (x + 1 < this.width && this.regions[i] !== this.regions[i + 1]) context.fillRect((x + 1) * size - 1, y * size, 2, size);
      if (y + 1 < this.height && this.regions[i] !== this.regions[i + this.width]) context.fillRect(x * size, (y + 1) * size - 1, size, 2);
    }
  }

  cross(context, size) {
    const x = this.column * size, y = this.row * size;
    for (const [color, width, grow] of [['#000', 4, 3], ['#fff', 2, 3]]) {
      context.strokeStyle = color;
      context.lineWidth = width;
      context.strokeRect(x - grow, y - grow, size + 2 * grow, size + 2 * grow);
    }
  }

  tell(pixel) {
    const C = this.classes.length, region = this.regions[pixel];
    const top = (name) => {
      const row = [...this.probs[name].slice(pixel * C, pixel * C + C)];
      const best = row.indexOf(Math.max(...row));
      return `${this.classes[best].name} (${(100 * row[best]).toFixed(0)} %)`;
    };
    const means = (name) => {
      const sums = { same: [0, 0], other: [0, 0] };
      this.regions.forEach((t, j) => {
        if (t === 255) return;
        const part = t === region ? sums.same : sums.other;
        part[0] += this.maps[name][j];
        part[1] += 1;
      });
      return [sums.same, sums.other].map(([sum, n]) => (n ? (sum / n).toFixed(3) : '–'));
    };
    const what = region < C ? this.classes[region].name : 'ignored';
    const truth = this.image.truth ? ` Truth: ${what}.` : '';
    const gap = Math.sqrt(this.gaps[pixel]);
    this.text.textContent = `Row ${this.row}, column ${this.column}.${truth} The teacher says ${top('teacher')}, the student `
      + `${top('student')}. Over all pixels their relations to this one differ by ${gap.toFixed(3)} (root mean square).`;
    const rows = ['teacher', 'student'].map((name) => [name, ...means(name)]);
    this.table.replaceChildren(region < C ? table(['mean affinity', `to ${what}`, 'to other classes'], rows) : '');
    const spoken = `pixel at row ${this.row}, column ${this.column}; arrow keys move it, with Shift five at a time`;
    for (const [name, { canvas }] of Object.entries(this.panels)) canvas.setAttribute('aria-label', `${name}: ${spoken}`);
  }
}

function explorerSection(report) {
  if (!measured(report).length) return null;
  return [el('h2', {}, 'Relation explorer'), el('p', { class: 'lead' },
    'Choose a pixel: bright pixels are those that the network relates to it, because it gives them the same classes. The '
    + 'student learns the teacher’s relations; the last panel shows where it does not have them yet. Click or tap; with the '
    + 'keyboard, focus a panel and use the arrow keys.'),
  ...perMethod(report, (result) => [new Explorer(report, result).node])];
}
