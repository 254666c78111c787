// Assembles the page.

const report = JSON.parse(document.getElementById('data').textContent);

function start() {
  document.getElementById('title').textContent = report.title;
  const main = document.getElementById('main'), nav = document.getElementById('nav');
  const sections = [
    ['summary', 'Summary', summary], ['comparison', 'Comparison', comparison], ['curves', 'Curves', curves],
    ['classes', 'Classes', classes], ['explorer', 'Relations', explorerSection], ['confusion', 'Confusion', confusion],
    ['calibration', 'Calibration', calibrationSection], ['images', 'Images', images], ['pseudo', 'Pseudo-labels', pseudo],
    ['gradients', 'Gradients', diagnosis],
  ];
  for (const [id, name, make] of sections) {
    const content = make(report);
    if (!content) continue;
    main.append(el('section', { id }, ...content));
    nav.append(el('a', { href: `#${id}` }, name));
  }
  document.getElementById('footer').textContent =
    `Written ${report.written} by ipixmatch_jax ${report.version}. The page is one file and makes no external requests.`;
  themeButton(document.getElementById('theme'));
}

start();
