
// Theme and filters; the page is complete without them.
(() => {
  const by = (id) => document.getElementById(id);
  const root = document.documentElement;
  const night = matchMedia("(prefers-color-scheme: dark)").matches;
  const themes = night ? ["auto", "light", "dark"] : ["auto", "dark", "light"];
  const stored = () => { try { return localStorage.getItem("plumbline-theme"); } catch { return null; } };
  const show = (theme) => {
    if (theme === "auto") root.removeAttribute("data-theme");
    else root.setAttribute("data-theme", theme);
    by("theme").lastElementChild.textContent = theme;
  };
  let theme = [stored(), root.dataset.theme].find((name) => themes.includes(name)) ?? "auto";
  show(theme);
  by("theme").hidden = false;
  by("theme").addEventListener("click", () => {
    theme = themes[(themes.indexOf(theme) + 1) % themes.length];
    show(theme);
    try { localStorage.setItem("plumbline-theme", theme); } catch { /* a file may not store */ }
  });

  const questions = [...document.querySelectorAll("details.question")];
  const texts = new Map();
  const text = (node) => {
    if (!texts.has(node)) texts.set(node, node.textContent.toLowerCase());
    return texts.get(node);
  };
  const filter = () => {
    const wanted = by("f-text").value.trim().toLowerCase();
    const category = by("f-category")?.value ?? "";
    const model = by("f-model")?.value ?? "";
    const missing = by("f-missing").checked;
    let shown = 0;
    for (const question of questions) {
      let lacks = false;
      for (const answer of question.querySelectorAll(".answer")) {
        answer.hidden = model !== "" && answer.dataset.model !== model;
        lacks ||= !answer.hidden && "missing" in answer.dataset;
      }
      const fits = (!category || question.dataset.category === category)
        && (!missing || lacks) && (!wanted || text(question).includes(wanted));
      question.hidden = !fits;
      shown += fits;
    }
    by("f-count").textContent = `${shown} of ${questions.length}`;
    label();
  };
  const label = () => { by("f-open").textContent = opened() ? "Close all" : "Open all"; };
  const opened = () => questions.some((question) => !question.hidden && question.open);
  for (const question of questions) question.addEventListener("toggle", label);
  by("filters").hidden = false;
  by("filters").addEventListener("input", filter);
  by("filters").addEventListener("submit", (event) => event.preventDefault());
  by("f-open").addEventListener("click", () => {
    const open = !opened();
    for (const question of questions) if (!question.hidden) question.open = open;
  });
  filter();
})();
