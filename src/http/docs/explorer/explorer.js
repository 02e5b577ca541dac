// Swagger UI is dark where its root has this class; here the chat page's own choice says so, else the system.
const dark = matchMedia('(prefers-color-scheme: dark)');
const chosen = () => {
  try {
    return localStorage.getItem('pgchat.theme');
  } catch {
    return undefined; // storage is off
  }
};
const follow = () => document.documentElement.classList.toggle('dark-mode', { light: false, dark: true }[chosen()] ?? dark.matches);
dark.addEventListener('change', follow);
addEventListener('storage', follow);
follow();
