// Light or dark, as the system says until the button is pressed.

function themeButton(button) {
  const root = document.documentElement;
  const dark = () => root.dataset.theme ? root.dataset.theme === 'dark'
    : window.matchMedia('(prefers-color-scheme: dark)').matches;
  const label = () => { button.textContent = dark() ? '☀ light' : '☾ dark'; };
  button.addEventListener('click', () => {
    root.dataset.theme = dark() ? 'light' : 'dark';
    label();
    document.dispatchEvent(new Event('themechange'));
  });
  window.matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => {
    label();
    document.dispatchEvent(new Event('themechange'));
  });
  label();
}
