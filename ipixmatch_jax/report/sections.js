// The sections of the page; each returns its elements, or null if there is nothing to show.

const color = (i) => `var(--s${i % 6})`;
const NETWORKS = ['student', 'teacher'];
// The methods of which one run was evaluated on validation images.
const measured = (report) => report.results.filter((result) => !result.missing);
const lastOf = (series) => (series[1].length ? series[1][series[1].length - 1] : null);
const signed = (value) => {
  const text = Math.abs(100 * value).toFixed(1);
  if (!Number(text)) return text;
  return (value > 0 ? '+' : '−') + text;
};

// A section that can be seen for one method at a time.
function perMethod(report, build) {
  const results = measured(report), box = el('div');
  const show = (i) => box.replaceChildren(...build(results[i]).filter(Boolean));
  show(0);
  return results.length > 1 ? [choice(results.map((r) => r.name), show, { name: 'method' }), box] : [box];
}

function summary(report) {
  const out = [];
  if (report.runs.length === 1) {
    const run = report.runs[0];
    const tile = (value, name) => el('div', { class: 'card tile' }, el('b', {}, value), el('span', {}, name));
    const tiles = [];
    for (const network of NETWORKS) {
      const [steps, values] = run.miou[network];
      if (!values.length) continue;
      const best = values.indexOf(Math.max(...values));
      tiles.push(tile(percent(lastOf(run.miou[network])), `${network} mIoU, last, in %`));
      tiles.push(tile(percent(values[best]), `${network}, best, at step ${steps[best]}`));
    }
    for (const result of measured(report)) {
      tiles.push(tile(percent(result.calibration[result.network].ece), `calibration error of the ${result.network}, in %`));
    }
    out.push(el('h2', {}, run.name), el('div', { class: 'tiles' }, ...tiles));
    out.push(el('p', { class: 'dim' }, run.facts.map(([name, value]) => `${name}: ${value}`).join(' · ')));
  } else {
    out.push(el('h2', {}, report.title));
    const rows = report.runs.map((run) => [
      el('span', {}, swatch(color(run.group)), run.name), report.groups[run.group].name, String(run.seed),
      ...NETWORKS.map((n) => percent(lastOf(run.miou[n]))),
      ...NETWORKS.map((n) => percent(run.miou[n][1].length ? Math.max(...run.miou[n][1]) : null)),
    ]);
    out.push(el('div', { class: 'card' }, table(
      ['run', 'method', 'seed', 'student mIoU', 'teacher mIoU', 'student, best', 'teacher, best'], rows)));
  }
  out.push(...evaluatedLater(report), ...advice(report));
  for (const result of report.results) {
    if (result.missing) out.push(el('p', { class: 'note' }, `${result.run}: no images, confusion or relations: ${result.missing}`));
  }
  return out;
}

// Evaluations by --mode eval: on other images or in another way, so none is the last or the best.
function evaluatedLater(report) {
  return report.runs.filter((run) => run.later.length).map((run) => el('details', {},
    el('summary', {}, `${run.name}: evaluated later in other ways (${run.later.length})`),
    table(['step', 'split', 'differs from the run’s own', ...NETWORKS.map((n) => `${n} mIoU`)],
      run.later.map((r) => [String(r.step), r.split, r.differs, ...NETWORKS.map((n) => percent(r.miou[n] ?? null))]))));
}

// What the numbers of each run suggest to change.
function advice(report) {
  return report.runs.filter((run) => run.advice.length).map((run) => el('div', { class: 'card advice' },
    el('h3', {}, report.runs.length > 1 ? `Advice for ${run.name}` : 'Advice'),
    el('ul', {}, ...run.advice.map((one) => el('li', {}, one.symptom, ' Try ', el('b', {}, one.change), `; see ${one.page}.`)))));
}

function comparison(report) {
  if (report.groups.length < 2 && report.runs.length < 2) return null;
  const number = (s) => (s ? `${percent(s.mean)}${s.sd === null ? '' : ` ± ${percent(s.sd)}`}` : '–');
  const groups = report.groups.map((g, i) => [
    el('span', {}, swatch(color(i)), g.name), String(g.seeds.length), ...NETWORKS.map((n) => number(g[n]))]);
  const out = [
    el('h2', {}, 'Comparison'),
    el('p', { class: 'lead' }, 'mIoU of the last evaluation in percent: mean ± standard deviation over seeds.'),
    el('div', { class: 'card' }, table(['method', 'seeds', 'student', 'teacher'], groups)),
  ];
  const interval = (d) => (d.low === 0 && d.high === 0 ? 'no difference' : `${signed(d.mean)}  [${signed(d.low)}, ${signed(d.high)}]`);
  const rows = report.pairs.map((pair) => [
    report.groups[pair.other].name, pair.network,
    pair.seeds ? `${interval(pair.seeds)}, ${pair.seeds.seeds.length} seeds` : 'needs two common seeds',
    pair.images ? `${interval(pair.images)}, ${pair.images.images} images` : '–']);
  if (rows.length) out.push(
    el('h3', {}, `Paired differences from ${report.groups[0].name} in points of mIoU, with 95 % intervals`),
    el('div', { class: 'card' }, table(['method', 'network', 'over seeds', 'over images, first seed'], rows)),
    el('p', { class: 'dim' }, 'Over seeds: Student’s t over runs of equal seed; it says what another seed would do. Over images: '
      + 'bootstrap of the measured images for one trained pair; it says nothing of other seeds. An interval that holds 0 shows no difference.'));
  if (report.differing.length) out.push(el('details', {}, el('summary', {}, `${report.differing.length} config key(s) that differ`),
    table(['key', ...report.runs.map((r) => r.name)], report.differing.map(([key, values]) => [key, ...values]))));
  return out;
}

const SINGLE = [
  ['Losses', /^loss/, {}],
  ['Confidence and pseudo-labels', /^(confident_share|agreement|mean_confidence|pseudo_label_.*)$/, { y: [0, 1] }],
  ['Relations, unweighted', /^relation\//, {}],
  ['Gradient norm', /^grad_norm$/, {}],
  ['Learning rate', /^learning_rate$/, {}],
  ['Throughput, images a second', /^images_per_second$/, {}],
  ['Throughput, steps a second', /^steps_per_second$/, {}],
  ['Share of the time that waits for input', /^input_wait$/, { y: [0, 1] }],
];
const SEVERAL = ['loss', 'loss_supervised', 'loss_pseudo', 'loss_relation', 'confident_share', 'agreement',
  'mean_confidence', 'pseudo_label_share', 'pseudo_label_accuracy', 'images_per_second', 'input_wait'];
// Counted on validation images, where the truth is known; the other curves are of training.
const NAMED = { pseudo_label_share: 'share on validation', pseudo_label_accuracy: 'accuracy on validation' };
const pairsOf = ([steps, values]) => steps.map((step, i) => [step, values[i]]);

function curves(report) {
  const charts = report.runs.length === 1 ? singleCharts(report.runs[0]) : severalCharts(report);
  if (!charts.length) return null;
  return [el('h2', {}, 'Learning curves'), el('p', { class: 'lead' },
    'Point at a chart, or focus it and use the arrow keys, to read its values.'),
  el('div', { class: 'grid' }, ...charts), ...acceptance(report)];
}

function singleCharts(run) {
  const charts = [];
  const scores = NETWORKS.map((n, i) => ({ name: n, color: color(i), points: pairsOf(run.miou[n]) }));
  if (scores.some((s) => s.points.length)) charts.push(lineChart('mIoU in %', scores, { format: (v, more = 0) => percent(v, 1 + more) }));
  for (const [title, pattern, options] of SINGLE) {
    const names = Object.keys(run.curves).filter((name) => pattern.test(name)
      && run.curves[name][1].some((v) => v !== 0));
    if (!names.length) continue;
    const series = names.map((name, i) => ({ name: NAMED[name] || name.replace(/^loss_/, ''), color: color(i), points: pairsOf(run.curves[name]) }));
    charts.push(lineChart(title, series, options));
  }
  return charts;
}

// Runs of a group at the steps that all of them have: the mean thick, each run faint.
function groupSeries(report, get) {
  return report.groups.flatMap((group, g) => {
    const runs = report.runs.filter((r) => r.group === g).map(get).filter((c) => c && c[1].length);
    if (!runs.length) return [];
    const tables = runs.map((c) => new Map(pairsOf(c)));
    const steps = [...tables[0].keys()].filter((s) => tables.every((t) => t.has(s)));
    const mean = steps.map((s) => [s, tables.reduce((sum, t) => sum + t.get(s), 0) / tables.length]);
    const faint = runs.length > 1 ? runs.map((c) => ({ name: '', color: color(g), faint: true, mute: true, points: pairsOf(c) })) : [];
    return [...faint, { name: group.name, color: color(g), points: mean }];
  });
}

function severalCharts(report) {
  const charts = [];
  for (const n of NETWORKS) {
    const series = groupSeries(report, (r) => r.miou[n]);
    if (series.length) charts.push(lineChart(`${n} mIoU in %`, series, { format: (v, more = 0) => percent(v, 1 + more) }));
  }
  for (const name of SEVERAL) {
    const series = groupSeries(report, (r) => r.curves[name]);
    if (series.some((s) => s.points.some((p) => p[1] !== 0))) charts.push(lineChart(name, series, {}));
  }
  return charts;
}

// Share of a class's pixels that became pseudo-labels: classes down, steps across.
function acceptance(report) {
  if (report.runs.length !== 1) return [];
  const run = report.runs[0], prefix = 'class_acceptance/';
  const names = Object.keys(run.curves).filter((n) => n.startsWith(prefix));
  if (!names.length || names.length > 60) return [];
  const rows = names.map((name) => {
    const values = run.curves[name][1];
    const block = Math.ceil(values.length / 24), cells = [];
    for (let i = 0; i < values.length; i += block) {
      const part = values.slice(i, i + block);
      cells.push(part.reduce((a, b) => a + b, 0) / part.length);
    }
    return el('tr', {}, el('th', { scope: 'row' }, name.slice(prefix.length)),
      ...cells.map((v) => shade(v, '', `${name.slice(prefix.length)}: ${percent(v)} %`)));
  });
  const [steps] = run.curves[names[0]];
  return [el('h3', {}, 'Share of each class’s pixels that count as pseudo-labels'), el('div', { class: 'card' },
    el('div', { class: 'scroll', tabindex: 0, role: 'group', 'aria-label': 'classes by steps' },
      el('table', { class: 'matrix' }, ...rows)),
    el('div', { class: 'dim' }, `steps ${steps[0]} to ${steps[steps.length - 1]}, from left to right; full color is 100 %`))];
}

function shade(value, text, title) {
  const strong = value > 0.55;
  return el('td', { title, style: `background:rgba(var(--cell),${value.toFixed(3)});${strong ? 'color:var(--card)' : ''}` }, text);
}

function classes(report) {
  const runs = report.groups.map((g, i) => report.runs.find((r) => r.group === i));
  const bars = runs.length === 1 ? NETWORKS.map((n, i) => [n, color(i), runs[0].iou[n]])
    : runs.map((r, i) => [report.groups[i].name, color(i), r.iou[r.best_network]]);
  const drawn = bars.filter((bar) => bar[2]);
  if (!drawn.length) return null;
  const head = drawn[drawn.length - 1][2];
  const order = [...report.classes].sort((a, b) => (head[b.name] ?? -1) - (head[a.name] ?? -1));
  const rows = order.map((c) => el('div', { class: 'row' },
    el('span', { class: 'name', title: c.name }, swatch(c.color), c.name),
    el('span', { class: 'track' }, ...drawn.map(([name, fill, iou]) => el('i', { title: `${name}: ${percent(iou[c.name])}` },
      el('b', { style: `width:${100 * (iou[c.name] ?? 0)}%;background:${fill}` })))),
    el('span', { class: 'value' }, drawn.map(([, , iou]) => percent(iou[c.name])).slice(-1)[0])));
  const legend = el('div', { class: 'legend' }, ...drawn.map(([name, fill]) => el('span', {}, swatch(fill), name)));
  return [el('h2', {}, 'IoU of every class'), el('p', { class: 'lead' },
    `Last evaluation, in percent, best class first; the number is that of ${runs.length > 1 ? '' : 'the '}${drawn[drawn.length - 1][0]}.`
    + (runs.length > 1 ? ' One run of each method.' : '')),
  el('div', { class: 'card' }, legend, el('div', { class: 'bars' }, ...rows))];
}

function confusion(report) {
  if (!measured(report).length) return null;
  return [el('h2', {}, 'Confusion'), ...perMethod(report, (result) => {
    const box = el('div'), names = Object.keys(result.confusion);
    const start = names.indexOf(result.network);
    const order = [names[start], ...names.filter((_, i) => i !== start)];
    const show = (i) => box.replaceChildren(...matrix(report, result.confusion[order[i]]).filter(Boolean));
    show(0);
    return [el('p', { class: 'lead' }, `Of the pixels of a class (row), the share that was given each class (column), in percent; `
      + `step ${result.step}, ${result.images} of ${result.of} validation images.`), choice(order, show, { name: 'network' }), box];
  })];
}

function matrix(report, counts) {
  const totals = counts.map((row) => row.reduce((a, b) => a + b, 0));
  const wrong = counts.map((row, i) => (totals[i] ? 1 - row[i] / totals[i] : -1));
  let kept = counts.map((_, i) => i).filter((i) => totals[i]);
  const all = kept.length;
  if (all > 40) kept = kept.sort((a, b) => wrong[b] - wrong[a]).slice(0, 40).sort((a, b) => a - b);
  const name = (i) => report.classes[i].name;
  const head = el('tr', {}, el('th'), ...kept.map((j) => el('th', { class: name(j).length > 3 ? 'v' : '', scope: 'col' }, name(j))));
  const rows = kept.map((i) => el('tr', {}, el('th', { scope: 'row' }, swatch(report.classes[i].color), name(i)),
    ...kept.map((j) => {
      const share = counts[i][j] / totals[i];
      const text = share >= 0.005 ? (100 * share).toFixed(0) : '';
      return shade(share, text, `${name(i)} taken for ${name(j)}: ${percent(share)} %`);
    })));
  const mistakes = [];
  for (let i = 0; i < counts.length; i++) for (let j = 0; j < counts.length; j++) {
    if (i !== j && counts[i][j]) mistakes.push([counts[i][j], i, j]);
  }
  mistakes.sort((a, b) => b[0] - a[0]);
  const pixels = totals.reduce((a, b) => a + b, 0);
  const top = mistakes.slice(0, 8).map(([n, i, j]) => [`${name(i)} taken for ${name(j)}`, `${percent(n / pixels, 2)} %`,
    `${percent(n / totals[i])} %`]);
  return [el('div', { class: 'card' }, el('div', { class: 'scroll', tabindex: 0, role: 'group', 'aria-label': 'confusion matrix' },
    el('table', { class: 'matrix' }, head, ...rows)),
  all > kept.length ? el('p', { class: 'dim' }, `The 40 of ${all} classes with the largest share of wrong pixels.`) : null),
  el('h3', {}, 'Most frequent mistakes'), el('div', { class: 'card' }, table(['', 'of all pixels', 'of the class'], top))];
}

function calibrationSection(report) {
  if (!measured(report).length) return null;
  return [el('h2', {}, 'Calibration'), el('p', { class: 'lead' },
    'Pseudo-labels are taken where the teacher is confident, so its confidence should say how often it is right. '
    + 'On the dashed line it does; below, it is too sure of itself.'),
  ...perMethod(report, (result) => {
    const names = Object.keys(result.calibration);
    const reliability = names.map((n, i) => ({ name: `${n}, ECE ${percent(result.calibration[n].ece)} %`, color: color(i),
      points: result.calibration[n].bins.filter((b) => b[0]).map((b) => [b[2], b[1]]) }));
    const teacher = result.calibration.teacher.coverage;
    const coverage = [
      { name: 'share of pixels kept', color: color(2), points: teacher.map((r) => [r[0], r[1]]) },
      { name: 'of these, right', color: color(1), points: teacher.map((r) => [r[0], r[2]]) }];
    const total = (matrix) => matrix.flat().reduce((a, b) => a + b, 0), right = (matrix) => matrix.reduce((sum, row, i) => sum + row[i], 0);
    const all = result.confusion.teacher, kept = result.labels.teacher;
    const unit = { x: [0, 1], y: [0, 1] };
    return [el('div', { class: 'grid' },
      lineChart('How often it is right, by confidence', reliability, { ...unit, diagonal: true }),
      lineChart('Pseudo-labels by confidence threshold (teacher)', coverage, unit)),
    ...(result.uses_labels ? labelTable(report, result) : []),
    total(kept) ? el('p', { class: 'dim' }, `At this run’s threshold of ${result.confidence} the teacher keeps ${percent(total(kept) / total(all), 2)} % of the `
      + `validation pixels, of which ${percent(right(kept) / total(kept))} % are right; of all pixels, ${percent(right(all) / total(all))} % are.`) : null];
  })];
}

// The teacher's pseudo-labels by class: how many, and how many of them are right.
function labelTable(report, result) {
  const all = result.confusion.teacher, labels = result.labels.teacher, sum = (row) => row.reduce((a, b) => a + b, 0);
  const given = labels.map((_, j) => sum(labels.map((row) => row[j])));
  const share = (part, whole) => (whole ? `${percent(part / whole)} %` : '–');
  const rows = report.classes.map((c, i) => [el('span', {}, swatch(c.color), c.name),
    share(sum(labels[i]), sum(all[i])), share(given[i], sum(given)), share(labels[i][i], given[i])])
    .filter((_, i) => sum(all[i]) || given[i]);
  const only = given.filter((n) => n > 0.005 * sum(given)).length === 1 && rows.length > 1
    ? el('p', { class: 'note' }, `All pseudo-labels are of the class ${report.classes[given.indexOf(Math.max(...given))].name}; `
      + 'that most of them are right says nothing of the other classes.') : null;
  return [el('h3', {}, `Pseudo-labels on validation images by class, at the threshold of ${result.confidence}`), only,
    el('div', { class: 'card' }, table(['class', 'of its pixels, labeled', 'of all labels', 'of its labels, right'], rows))];
}

// image: {src, width, height}
function figure(image, caption) {
  return el('figure', {}, el('img', { ...image, alt: caption, loading: 'lazy' }), el('figcaption', {}, caption));
}

function legendOf(report) {
  return el('div', { class: 'legend' }, ...report.classes.map((c) => el('span', {}, swatch(c.color), c.name)));
}

function images(report) {
  if (!measured(report).length) return null;
  const row = (found) => el('div', {}, el('div', { class: 'dim' }, `${found.id}: mIoU of the image ${percent(found.miou)} %`),
    el('div', { class: 'four' }, figure(found.photo, 'photo'), figure(found.truth, 'truth'),
      figure(found.prediction, 'prediction'), figure(found.errors, 'wrong pixels')));
  return [el('h2', {}, 'Best and worst images'), ...perMethod(report, (result) => [
    el('p', { class: 'lead' }, `Of ${result.images} validation images, by the ${result.network}, step ${result.step}. White in the truth is ignored.`),
    legendOf(report), el('div', { class: 'grid' },
      el('div', { class: 'card' }, el('h3', {}, 'Worst'), ...result.worst.map(row)),
      el('div', { class: 'card' }, el('h3', {}, 'Best'), ...result.best.map(row)))])];
}

function pseudo(report) {
  const has = measured(report).filter((l) => l.pseudo.images.length);
  if (!has.length) return null;
  return [el('h2', {}, 'Pseudo-labels over time'), ...perMethod({ results: has }, (result) => [
    el('p', { class: 'lead' }, `The teacher’s labels of unlabeled images at the checkpoints that were kept; pale pixels are below the `
      + `threshold of ${result.confidence} and teach nothing.`),
    el('div', { class: 'grid' }, ...result.pseudo.images.map((image) => el('div', { class: 'card strip' }, figure(image.photo, image.id),
      ...image.labels.map((l, i) => figure(l.image, `step ${result.pseudo.steps[i]}, ${percent(l.share, 0)} % sure`)))))])];
}

// What --mode diagnose measured: gradients of all losses compared with those by the true labels.
const MEASURES = [['norm', 'norm'], ['truth', 'cosine, same views'], ['other', 'cosine, other images'],
  ['extra_truth', 'extra, same views'], ['extra_other', 'extra, other images']];

function diagnosis(report) {
  const has = report.runs.filter((run) => run.diagnosis);
  if (!has.length) return null;
  return [el('h2', {}, 'Gradients'), el('p', { class: 'lead' },
    'Each loss’s gradient by the student’s parameters: its norm over that of the run’s pseudo-labels, and its cosine with the '
    + 'gradient by the true labels. Extra: the same of the parts that the supervised and pseudo-label gradients do not contain. '
    + '±: standard error over batches.'),
  ...has.flatMap((run) => diagnosed(run.diagnosis, has.length > 1 ? run.name : ''))];
}

function diagnosed(found, name) {
  const number = (pair) => (pair ? `${pair[0].toFixed(2)} ± ${pair[1].toFixed(2)}` : '–');
  const rows = found.losses.map((loss) => [el('span', {}, loss.own ? el('b', {}, loss.name) : loss.name),
    ...MEASURES.map(([key]) => number(loss[key]))]);
  const keys = Object.entries(found.recommendation.keys);
  return [name ? el('h3', {}, name) : null,
    el('p', { class: 'dim' }, `Step ${found.step}, ${found.images} images of split ${found.split}, ${found.batches} batches; `
      + 'bold: losses of the run.'),
    el('div', { class: 'card' }, table(['loss', ...MEASURES.map(([, title]) => title)], rows)),
    el('ul', {}, ...found.recommendation.lines.map((line) => el('li', {}, line))),
    keys.length ? el('p', {}, ...keys.map(([key, value]) => el('div', {}, el('code', {}, `--config.${key}=${value}`)))) : null,
  ].filter(Boolean);
}
