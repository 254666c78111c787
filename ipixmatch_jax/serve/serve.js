// Sends a photo to the server and shows the predictions of the networks.

const byId = (id) => document.getElementById(id);
const pixels = ([height, width]) => `${width} × ${height}`;
let about = null, sending = false, strength = 55;

async function answerOf(request) {
  let response;
  try {
    response = await request;
  } catch {
    throw new Error('The server does not answer. Is it still running?');
  }
  const found = await response.json().catch(() => ({ error: `The server answers with status ${response.status}.` }));
  if (!response.ok) throw new Error(found.error);
  return found;
}

function tell(text, kind = '') {
  byId('status').className = kind;
  byId('said').textContent = text;
  byId('clock').textContent = '';
}

async function send(file) {
  if (!file || sending || !about) return;
  if (file.size > about.limits.bytes) {
    tell(`The file has ${(file.size / 1e6).toFixed(1)} MB; at most ${about.limits.bytes / 1e6} are accepted.`, 'note');
    return;
  }
  sending = true;
  tell('predicting; the first photo of a size waits for the compiler', 'busy');
  const start = Date.now();
  const clock = setInterval(() => { byId('clock').textContent = ` – ${Math.round((Date.now() - start) / 1000)} s`; }, 500);
  try {
    // A type that no page of another origin may send without asking.
    const headers = { 'content-type': 'application/octet-stream' };
    show(await answerOf(fetch('/predict', { method: 'POST', body: file, headers })));
  } catch (error) {
    tell(error.message, 'note');
  } finally {
    clearInterval(clock);
    sending = false;
  }
}

function show(found) {
  const same = String(found.size) === String(found.predicted_at);
  tell(`${pixels(found.size)} pixels${same ? '' : `, predicted at ${pixels(found.predicted_at)}`}; ${found.seconds.toFixed(1)}\u00a0s`
    + (found.compiled ? ', compilation included' : ''));
  const view = el('div'), names = [about.network, ...Object.keys(found.networks).filter((n) => n !== about.network)];
  const open = (i) => view.replaceChildren(...networkView(found, names[i]));
  byId('found').replaceChildren(el('h2', {}, 'Class map'), choice(names, open, { name: 'network' }), view);
  open(0);
  const explorer = new Explorer(about, { explorer: [found.explorer] });
  byId('explorer').replaceChildren(el('h2', {}, 'Relation explorer'), el('p', { class: 'lead' },
    'Choose a pixel: bright pixels are those that the network relates to it, because it gives them the same classes. '
    + 'Click or tap; with the keyboard, focus a panel and use the arrow keys.'), explorer.node);
  byId('classes').hidden = true;
  byId('found').hidden = byId('explorer').hidden = false;
}

function networkView(found, name) {
  const said = found.networks[name];
  const [height, width] = found.predicted_at;  // known before the images are decoded: nothing jumps
  const mask = el('img', { src: said.mask, alt: '', width, height, style: `opacity:${strength / 100}` });
  const slider = el('input', { type: 'range', min: 0, max: 100, value: strength, 'aria-label': 'strength of the classes over the photo',
    oninput: (event) => { strength = event.target.value; mask.style.opacity = strength / 100; } });
  const classes = said.classes.map((c) => about.classes[c.id].name).join(', ');
  return [el('div', { class: 'main-view' },
    el('div', { class: 'card' }, el('div', { class: 'stack' }, el('img', { src: found.photo, width, height, alt: `the photo, and over it the ${name}’s classes: ${classes}` }), mask),
      el('div', { class: 'slide' }, el('span', {}, 'photo'), slider, el('span', {}, 'classes'))),
    el('div', { class: 'card' }, el('h3', {}, 'Share of the photo, and how sure'), el('ul', { class: 'shares' }, ...said.classes.map(share)))),
  el('div', { class: 'card three' }, plain(found, found.photo, 'photo'),
    plain(found, said.mask, 'class map ', el('a', { href: said.mask, download: `${name}-classes.png` }, 'save')),
    confidence(said))];
}

function share(found) {
  const { name, color } = about.classes[found.id];
  return el('li', {}, el('span', { class: 'name' }, swatch(color), name),
    el('span', { class: 'value' }, `${percent(found.share)} %, ${percent(found.confidence, 0)} % sure`),
    el('span', { class: 'track' }, el('b', { style: `width:${100 * found.share}%;background:${color}` })));
}

function plain(found, source, ...caption) {
  const [height, width] = found.predicted_at;
  return el('figure', {}, el('img', { src: source, alt: '', width, height }), el('figcaption', {}, ...caption));
}

function confidence(said) {
  const canvas = el('canvas', { role: 'img', id: 'confidence', 'aria-label': `confidence, ${percent(said.mean_confidence)} % on average` });
  const levels = new Image();
  levels.onload = () => paintLevels(canvas, levels);
  levels.src = said.confidence;
  const ramp = `background:linear-gradient(90deg, ${RAMP.join()})`;
  return el('figure', {}, canvas, el('div', { class: 'ramp', style: ramp }),
    el('div', { class: 'ends' }, el('span', {}, '0'), el('span', {}, '1')),
    el('figcaption', {}, `confidence: ${percent(said.mean_confidence)} % on average`));
}

// Gray levels 0 to 255 in the colors of the ramp.
function paintLevels(canvas, levels) {
  [canvas.width, canvas.height] = [levels.naturalWidth, levels.naturalHeight];
  const context = canvas.getContext('2d');
  context.drawImage(levels, 0, 0);
  const image = context.getImageData(0, 0, canvas.width, canvas.height);
  const colors = Array.from({ length: 256 }, (_, level) => between(STOPS, level / 255));
  for (let i = 0; i < image.data.length; i += 4) image.data.set(colors[image.data[i]], i);
  context.putImageData(image, 0, 0);
}

function describe({ limits, classes, own_size: own, rounded }) {
  const sizes = own ? `The network predicts every photo at ${pixels(own)}.`
    : rounded ? 'Sides are rounded to multiples of 32 or 64 pixels, because every size is compiled once.' : '';
  byId('limits').textContent = `PNG, JPEG, TIFF or WebP; at most ${limits.bytes / 1e6} MB and ${limits.pixels / 1e6} megapixels. `
    + `Photos with a side of more than ${limits.side} pixels are shrunk to it. ${sizes}`;
  byId('classes').replaceChildren(...classes.map((c) => el('span', {}, swatch(c.color), c.name)));
}

function listen() {
  const file = byId('file'), drop = byId('drop');
  file.addEventListener('change', () => { send(file.files[0]); file.value = ''; });
  document.addEventListener('dragover', (event) => { event.preventDefault(); drop.classList.add('over'); });
  document.addEventListener('dragleave', (event) => { if (!event.relatedTarget) drop.classList.remove('over'); });
  document.addEventListener('drop', (event) => {
    event.preventDefault();
    drop.classList.remove('over');
    send(event.dataTransfer.files[0]);
  });
  document.addEventListener('paste', (event) => send(event.clipboardData.files[0]));
}

async function start() {
  themeButton(byId('theme'));
  listen();
  try {
    about = await answerOf(fetch('/about'));
  } catch (error) {
    tell(error.message, 'note');
    return;
  }
  document.title = `${about.title} – try a photo`;
  byId('title').textContent = about.title;
  byId('facts').textContent = `${about.model}, step ${about.step}, ${about.classes.length} classes`;
  describe(about);
}

start();
