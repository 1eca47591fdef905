// Theme, filters and the choice of two models; the page is complete without them.
(() => {
  const by = (id) => document.getElementById(id);
  const root = document.documentElement;
  const night = matchMedia("(prefers-color-scheme: dark)").matches;
  const themes = night ? ["auto", "light", "dark"] : ["auto", "dark", "light"];
  const stored = () => { try { return localStorage.getItem("plumbline-theme"); } catch { return null; } };
  const show = (theme) => {
    if (theme === "auto") root.removeAttribute("data-theme");
    else root.setAttribute("data-theme", theme);
    by("theme").lastElementChild.textContent = by("theme").dataset[theme];
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
    const chosen = [by("f-model")?.value ?? "", by("f-beside")?.value ?? ""].filter((name) => name !== "");
    const missing = by("f-missing").checked;
    let shown = 0;
    for (const question of questions) {
      let lacks = false;
      for (const answer of question.querySelectorAll(".answer")) {
        const at = chosen.indexOf(answer.dataset.model);
        answer.hidden = chosen.length > 0 && at < 0;
        answer.style.order = at < 0 ? "" : String(at);
        lacks ||= !answer.hidden && "missing" in answer.dataset;
      }
      const fits = (!category || question.dataset.category === category)
        && (!missing || lacks) && (!wanted || text(question).includes(wanted));
      question.hidden = !fits;
      shown += fits;
    }
    const count = by("f-count");
    count.textContent = count.dataset.count.replace("{shown}", shown).replace("{all}", questions.length);
    label();
  };
  const label = () => {
    const button = by("f-open");
    button.textContent = opened() ? button.dataset.close : button.dataset.open;
  };
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

  const pairs = [...document.querySelectorAll("details.pair")];
  if (pairs.length === 0) return;
  const choose = () => {
    const chosen = [by("p-first").value, by("p-second").value];
    for (const pair of pairs) {
      const fits = chosen.includes(pair.dataset.first) && chosen.includes(pair.dataset.second)
        && chosen[0] !== chosen[1];
      pair.hidden = !fits;
      pair.open = fits;
    }
    by("p-show").disabled = chosen[0] === chosen[1];
  };
  by("pairing").hidden = pairs.length < 2;
  if (pairs.length > 1) choose();
  by("pairing").addEventListener("input", choose);
  by("pairing").addEventListener("submit", (event) => event.preventDefault());
  by("p-show").addEventListener("click", () => {
    by("f-model").value = by("p-first").value;
    by("f-beside").value = by("p-second").value;
    filter();
    by("questions").scrollIntoView();
  });
})();
